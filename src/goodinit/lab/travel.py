"""How signals and gradients travel: second moments layer by layer, over many draws of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from goodinit.lab.drawing import banded
from goodinit.lab.estimates import geometric_mean, mean
from goodinit.plans import Plan
from goodinit.records import Interval, Line
from goodinit.signals import probe

__all__ = ["Travel", "drawn", "travel"]


@dataclass(frozen=True)
class Travel:
    """Second moments of what some layers put out, and of the gradients that came back to them.

    `forward` and `backward` have a row for each draw of the weights and a column for each layer.
    """

    forward: torch.Tensor
    backward: torch.Tensor

    @property
    def forward_factor(self) -> Interval:
        """Mean factor from one layer to the next, forward.

        Of ratios, not of logarithms: where each layer keeps its second moment on average, this mean
        is 1 at any width, while logarithms drift down (Hanin and Nica 2020).
        """
        return mean((self.forward[:, 1:] / self.forward[:, :-1]).mean(1).tolist())

    @property
    def backward_factor(self) -> Interval:
        """The same backward: above 1 gradients grow on their way to the input."""
        return mean((self.backward[:, :-1] / self.backward[:, 1:]).mean(1).tolist())

    @property
    def forward_ratio(self) -> Interval:
        """Typical ratio of the last layer's second moment to the first one's: a geometric mean."""
        return geometric_mean((self.forward[:, -1] / self.forward[:, 0]).tolist())

    @property
    def backward_ratio(self) -> Interval:
        """Typical ratio of the first layer's gradient to the last one's, of second moments."""
        return geometric_mean((self.backward[:, 0] / self.backward[:, -1]).tolist())

    @property
    def hidden(self) -> Travel:
        """The same without the first layer, which reads data, and the last, which has a scale of its own."""
        return Travel(self.forward[:, 1:-1], self.backward[:, 1:-1])

    def lines(self, label: str) -> tuple[Line, Line]:
        """Return forward and backward as curves over layers, numbered from 1, with bands over draws."""
        layers = range(1, self.forward.shape[1] + 1)
        return banded(label, layers, self.forward), banded(label, layers, self.backward)


def drawn(model: nn.Module, plan: Plan, name: str, seeds: Iterable[int]) -> torch.Tensor:
    """Return what a plan puts into one parameter under each seed, as float64 of shape (seeds, ...).

    >>> import goodinit
    >>> layer = nn.Linear(3, 4)
    >>> drawn(layer, goodinit.plan(layer, "xavier_normal"), "weight", range(5)).shape
    torch.Size([5, 4, 3])
    """
    return torch.stack(
        [plan.apply_(model, seed=seed).get_parameter(name).detach().double() for seed in seeds]
    )


def travel(
    model: nn.Module,
    plan: Plan,
    batch: Any,
    seeds: Iterable[int],
    kinds: Sequence[str] = ("Linear", "Conv2d"),
) -> Travel:
    """Apply a plan under each seed and measure every layer of these kinds, in order of execution.

    The gradient is that of a random linear functional of the output, see `goodinit.probe`.

    Args:
        model: filled anew for each seed.
        plan: of the model.
        batch: what the model takes.
        seeds: of the weights and of the functional.
        kinds: types of the layers that count.

    >>> import goodinit
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    >>> travel(model, goodinit.plan(model, "lecun_normal"), torch.ones(4, 8), range(3)).forward.shape
    torch.Size([3, 2])
    """
    forward, backward = [], []
    for seed in seeds:
        plan.apply_(model, seed=seed)
        layers = [layer for layer in probe(model, batch, seed=seed).layers if layer.kind in kinds]
        forward.append([layer.output.second_moment for layer in layers])
        backward.append([layer.gradient.second_moment if layer.gradient else 0.0 for layer in layers])
    return Travel(torch.tensor(forward, dtype=torch.float64), torch.tensor(backward, dtype=torch.float64))
