"""Second moments along a traced network: what arrives at each weight, and what it should put out.

Every rule of `auto` is one formula. A weight that sums fan_in inputs of second moment m
puts out q if its std is

    std = √(q / (m · fan_in))

`Travel` says m and q for every use. Where plain layers follow each other, q is the
operating point of the activation between them; before a norm, a gate, attention or the
output it is 1; in a branch of a residual stream with n branches it is 1/n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from goodinit.errors import GoodinitError
from goodinit.graph import Elementwise, Graph, Sink, Source, WeightUse
from goodinit.theory import OperatingPoint, moments, operating_point

__all__ = ["Travel"]


# In so short a chain no error grows: it runs at second moment 1.
_SHORT = 3

_SOURCES = {
    "data": "the data, taken as standardized",
    "norm": "a normalized signal",
    "attention": "attention's mix of values",
    "recurrence": "a recurrent state",
    "learned": "a learned vector",
}
_SINKS = {
    "attention_logits": "attention logits of unit variance",
    "attention_mix": "unit values for attention to mix",
    "gate": "a unit branch of a gated product",
    "norm": "a normalization follows and fixes the scale",
    "output": "unit outputs",
}


@dataclass
class Travel:
    """The second moments of one traced network under an objective.

    Attributes:
        graph: what `goodinit.graph.trace` found.
        objective: ``"critical"`` (forward held, gradients as near to constant as the
            activation allows), ``"forward"`` (forward held at second moment 1), or
            ``"backward"`` (gradients held).
    """

    graph: Graph
    objective: str = "critical"
    _lengths: dict[str, int] = field(default_factory=dict)
    _mirrored: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._by_name = {use.name: use for use in self.graph if use.contracts}
        self._measure_chains()

    # --- plain chains ------------------------------------------------------------

    def _measure_chains(self) -> None:
        """Give every weight the number of weights in its plain chain, where one directly follows another."""
        before: dict[str, int] = {}
        root: dict[str, str] = {}
        for use in self.graph:
            if not use.contracts:
                continue
            chained = [name for name in use.source.weights if name in before and name != use.name]
            if use.source.kind == "weight" and chained:
                previous = max(chained, key=lambda name: before[name])
                before[use.name] = max(before.get(use.name, 0), before[previous] + 1)
                root.setdefault(use.name, root[previous])
            else:
                before.setdefault(use.name, 1)
                root.setdefault(use.name, use.name)
        longest: dict[str, int] = {}
        for name, count in before.items():
            longest[root[name]] = max(longest.get(root[name], 0), count)
        self._lengths = {name: longest[root[name]] for name in before}
        self._measure_mirrors(root)

    def _measure_mirrors(self, root: dict[str, str]) -> None:
        """Find the plain chains in which every hop lets mirrored weights make the network linear."""
        fits: dict[str, bool] = {}
        for use in self._by_name.values():
            inside = use.source.kind == "weight"
            fitting = use.op in ("matmul", "convolution") and use.groups == 1 and set(use.stride) <= {1}
            fitting = (
                fitting and use.contracted[:1] == (1,) and not use.batch and len(self.graph[use.name]) == 1
            )
            if inside:
                fitting = fitting and unmirrors(use.source.activation) and use.shape[1] % 2 == 0
                fitting = fitting and not use.source.pooled
            if use.sink.kind == "weight":
                fitting = fitting and use.shape[0] % 2 == 0 and len(use.sinks) == 1
            chain = root[use.name]
            fits[chain] = fits.get(chain, True) and fitting
        self._mirrored = {name for name in root if fits.get(root[name], False)}

    def mirror(self, use: WeightUse) -> str | None:
        """Return which sides of a weight can be mirrored (see `LooksLinear`), or None."""
        if use.name not in self._mirrored:
            return None
        inside, goes_on = use.source.kind == "weight", use.sink.kind == "weight"
        return "both" if inside and goes_on else "outputs" if goes_on else "inputs" if inside else None

    def mirrored_gain(self, use: WeightUse, mirror: str) -> float:
        """Return the gain of the orthogonal core of a mirrored weight that holds second moments.

        A pair (z, −z) passes φ and the mirrored weight as V(φ(z) − φ(−z)) = c·V z.
        """
        rows = use.shape[0] // (2 if mirror != "inputs" else 1)
        columns = use.shape[1] // (2 if mirror != "outputs" else 1)
        wanted = self.wanted(use, use.sink)[0] if mirror == "inputs" else 1.0
        arriving, slope = 1.0, 1.0
        if mirror == "outputs":
            arriving = self.arriving(use)[0]
        elif use.source.activation is not None:
            one = torch.ones(1, dtype=torch.float64)
            slope = float(use.source.activation(one) - use.source.activation(-one))
        return math.sqrt(wanted / arriving * max(rows, columns) / columns) / slope

    def length(self, use: WeightUse) -> int:
        """Return how many weights the plain chain of this use has; 1 where it stands alone."""
        return self._lengths.get(use.name, 1)

    def point(self, activation: Elementwise | None, use: WeightUse) -> OperatingPoint | None:
        """Return the operating point of an activation in the chain of a use, or None where it has none."""
        if activation is None:
            return None
        try:
            return operating_point(activation_like(activation), self.length(use))
        except GoodinitError:
            return None

    # --- what arrives ------------------------------------------------------------

    def arriving(self, use: WeightUse) -> tuple[float, str]:
        """Return (second moment of what a weight reads, where it comes from in words)."""
        source = use.source
        inner, words = self._before_activation(use, source)
        if source.activation is None:
            return inner, words
        through = f"{source.activation.name} of {words}"
        return inner * self.passed(source.activation, inner), through

    def _before_activation(self, use: WeightUse, source: Source) -> tuple[float, str]:
        if source.kind == "weight":
            previous = [self._by_name[name] for name in source.weights if name in self._by_name]
            q = [self.wanted(other, other.sink)[0] for other in previous if other.name != use.name]
            return (max(q) if q else 1.0), "the layer before"
        if source.kind == "gate":
            return self._gated(source), "a gated product"
        if source.kind == "residual":
            return 1.0, "the residual stream"
        if source.kind == "embedding":
            return 1.0, "an embedding"
        return 1.0, _SOURCES.get(source.kind, "several signals")

    def _gated(self, source: Source) -> float:
        """Return E[φ(a)²]·E[b²] for the branches of a gated product, each of second moment 1."""
        moment = 1.0
        for name in source.weights:
            for use in self.graph[name]:
                for sink in use.sinks:
                    if sink.kind == "gate" and sink.activation is not None:
                        moment *= self.passed(sink.activation, 1.0)
        return moment

    def passed(self, activation: Elementwise, q: float) -> float:
        """Return E[φ(√q z)²] / q, the share of the second moment that an activation lets through."""
        try:
            return moments(activation_like(activation), q).second_moment / q
        except GoodinitError:
            return 1.0

    # --- what is wanted ----------------------------------------------------------

    def wanted(self, use: WeightUse, sink: Sink) -> tuple[float, str]:
        """Return (second moment that a weight should put out, the reason in words)."""
        if use.residual is not None and not use.residual.shortcut and use.norm_after is None:
            count = use.residual.of
            if count > 1:
                return 1.0 / count, f"one of {count} branches of a residual stream, so each adds 1/{count}"
            return 1.0, "the one branch of its residual stream"
        if sink.kind == "weight":
            point = self.point(sink.activation, use)
            if point is not None and self.objective == "critical" and self.length(use) > _SHORT:
                return point.q, f"where {point_name(sink)} passes gradients best"
            return 1.0, "unit scale"
        return 1.0, _SINKS.get(sink.kind, "unit scale")

    def cost(self, use: WeightUse) -> str:
        """Say what the whole plain chain costs where no scale can hold it, or an empty string."""
        length = self.length(use)
        if length <= _SHORT:
            return ""
        for activation in (use.source.activation, use.sink.activation):
            point = self.point(activation, use)
            if activation is not None and point is not None and not point.good:
                errors = math.exp(min(length * math.log(max(abs(point.chi_par), 1e-300)), 690))
                return (
                    f"; over {length} plain layers no scale holds {activation.name}: predicted changes are "
                    f"×{point.gradient_factor:.2g} for the gradient's second moment and "
                    f"×{errors:.2g} for an error in the signal's; normalization, "
                    "residual connections or another activation would help"
                )
        return ""


def unmirrors(activation: Elementwise | None) -> bool:
    """Tell whether φ(x) − φ(−x) is a multiple of x while φ itself is not: ReLU, GELU, SiLU, Softplus."""
    if activation is None:
        return False
    # From far below to far above any usual kink or threshold.
    x = torch.logspace(-4, 2, 97, dtype=torch.float64)
    odd = (activation(x) - activation(-x)) / x
    bent = activation(x) / x - activation(-x) / -x
    return bool((odd - odd[0]).abs().max() < 1e-9) and bool(odd[0] > 0.1) and bool(bent.abs().max() > 0.1)


def point_name(sink: Sink) -> str:
    """Name the activation before a sink."""
    return sink.activation.name if sink.activation else "the identity"


def activation_like(activation: Elementwise) -> str | Callable[..., object]:
    """Return what `goodinit.theory` takes for a traced elementwise function."""
    return activation.name if activation.known else activation.function


def scale(q: float, arriving: float, fan: float) -> float:
    """Return √(q / (arriving · fan)), 0 where nothing arrives."""
    return math.sqrt(q / (arriving * fan)) if arriving > 0 and fan > 0 else 0.0
