"""What is measured of parameters and of their gradients, and how many layers take part in learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from goodinit.records import ParameterSignal
from goodinit.signals.probing.kinds import is_embedding, is_norm
from goodinit.signals.probing.measuring import Vectors, fetch, measuring, merge
from goodinit.signals.probing.moments import LARGEST, as_moments, share_of_small, share_of_zeros, sums
from goodinit.signals.probing.recorder import canonical
from goodinit.signals.probing.sampling import histogram, sample, sampled_small
from goodinit.signals.probing.sharded import whole

__all__ = ["ParameterTallies", "effective_depth"]


@dataclass
class ParameterTallies:
    """The gradients of a model's parameters over the batches so far, by name."""

    model: nn.Module
    gradients: dict[str, Vectors] = field(default_factory=dict)

    def absorb(self, gradients: Mapping[int, torch.Tensor | None]) -> None:
        """Add one batch's gradients, given by the parameter's id."""
        found: dict[str, Vectors] = {}
        for name, parameter in self.model.named_parameters():
            gradient = gradients.get(id(parameter))
            if gradient is not None:
                found[name] = _measure(gradient, counts=False)
        fetch(list(found.values()))
        for name, vectors in found.items():
            merge(self.gradients.setdefault(name, {}), vectors)

    def signals(self) -> tuple[ParameterSignal, ...]:
        """Measure the values and return the records."""
        owners = dict(self.model.named_modules())
        floating = [
            (name, parameter)
            for name, parameter in self.model.named_parameters()
            if parameter.is_floating_point() or parameter.is_complex()
        ]
        values = [_measure(parameter, counts=True) for _, parameter in floating]
        fetch(values)
        return tuple(
            self._signal(name, parameter, found, type(owners[name.rpartition(".")[0]]).__name__)
            for (name, parameter), found in zip(floating, values, strict=True)
        )

    def _signal(self, name: str, parameter: nn.Parameter, value: Vectors, kind: str) -> ParameterSignal:
        gradient = self.gradients.get(name)
        zeros = share_of_zeros(value["sums"])
        return ParameterSignal(
            name=canonical(name),
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            trainable=parameter.requires_grad,
            value=as_moments(value["sums"]),
            gradient=None if gradient is None else as_moments(gradient["sums"]),
            largest=float(value["sums"][LARGEST]),
            kind=kind.removeprefix("Parametrized"),
            zeros=zeros,
            subnormal=share_of_small(value["sums"]) - zeros,
            underflow=None if gradient is None else sampled_small(gradient["sample"], parameter.dtype),
            histogram=histogram([value["sample"]]),
            gradient_histogram=None if gradient is None else histogram([gradient["sample"]]),
        )


def _measure(tensor: torch.Tensor, counts: bool) -> Vectors:
    with measuring(tensor.device):
        tensor = whole(tensor)
        return {"sums": sums(tensor, counts=counts), "sample": sample(tensor)}


def effective_depth(parameters: Sequence[ParameterSignal]) -> float | None:
    """Return how many weight layers take part in learning at the start.

    The participation ratio (Σ_l e_l)²/Σ_l e_l² of e_l = E‖∂L/∂W_l‖² · ‖W_l‖² over the
    trainable weights that multiply: it is the number of layers where all learn alike
    and 1 where a single one does. Embeddings, norms and vectors are left out.

    In a chain that only scales (linear or ReLU without biases) all e_l are equal
    whatever the scale of the weights: what fades here are layers cut off by flat
    activations, biases or noise, not small weights.

    Args:
        parameters: with their gradients, from one probe.

    Returns:
        The number; None where no weight has a finite, nonzero e.

    >>> import goodinit.signals
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    >>> 1.0 <= effective_depth(goodinit.signals.probe(model).parameters) <= 2.0
    True
    """
    sizes = [
        p.gradient.second_moment * p.value.second_moment * p.value.count * p.gradient.count
        for p in parameters
        if p.trainable
        and p.gradient is not None
        and len(p.shape) >= 2
        and not (is_norm(p.kind) or is_embedding(p.kind) or p.value.nonfinite or p.gradient.nonfinite)
    ]
    largest = max(sizes, default=0.0)
    if not 0 < largest < float("inf"):
        return None
    shares = [size / largest for size in sizes]
    return sum(shares) ** 2 / sum(share**2 for share in shares)
