"""The networks of the laboratory, built of torch's own layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

__all__ = ["Residual", "convolutional", "dense", "normal_batch", "small"]

Layer = Callable[[], nn.Module]


def dense(
    sizes: Sequence[int],
    activation: Layer,
    *,
    bias: bool = True,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Return linear layers of these sizes with an activation between them, the last one linear.

    Args:
        sizes: units from the input to the output.
        activation: makes the activation.
        bias: whether linear layers have biases.
        norm: makes the normalization of so many units, between a linear layer and its activation.

    >>> [type(layer).__name__ for layer in dense((2, 4, 1), nn.Tanh)]
    ['Linear', 'Tanh', 'Linear']
    """
    layers: list[nn.Module] = []
    for at, (into, out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(into, out, bias=bias))
        if at < len(sizes) - 2:
            layers += [norm(out)] if norm else []
            layers.append(activation())
    return nn.Sequential(*layers)


def small(hidden: int, activation: Layer) -> nn.Sequential:
    """Return the tutorials' network of 2 inputs, so many hidden layers of 4 and one output.

    With three hidden layers it is their class3, with four their class4.

    >>> sum(p.numel() for p in small(3, nn.Sigmoid).parameters())
    57
    """
    return dense((2, *[4] * hidden, 1), activation)


def convolutional(channels: Sequence[int], activation: Layer, kernel: int = 3) -> nn.Sequential:
    """Return convolutions without biases and an activation after each.

    Padding is circular, so that every output sums the same number of inputs and nothing is lost at
    borders.

    >>> convolutional((3, 8), nn.ReLU)(torch.zeros(1, 3, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(channels):
        layers += [
            nn.Conv2d(into, out, kernel, padding=kernel // 2, padding_mode="circular", bias=False),
            activation(),
        ]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input with what the branch makes of it added."""
        out: torch.Tensor = x + self.branch(x)
        return out


def normal_batch(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return standard normal values, the same for every call with these arguments.

    >>> bool((normal_batch(2, 3) == normal_batch(2, 3)).all())
    True
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
