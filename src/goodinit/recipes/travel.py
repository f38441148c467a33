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
from goodinit.recipes.branching import beginning, branch
from goodinit.recipes.costs import SHORT, cost
from goodinit.recipes.couplings import coupled, couplings
from goodinit.recipes.generating import generated, generated_share
from goodinit.recipes.joined import joined, mixed
from goodinit.recipes.keeping import kept_size, unknown
from goodinit.recipes.making import drawn_for, only_scaled, put_out
from goodinit.recipes.mirrors import MIRRORED_FROM, activation_like, pairs_of, structure_fits, unmirrors
from goodinit.recipes.staying import kept_biases, kept_temperature
from goodinit.recipes.steps import start_range
from goodinit.recipes.tables import constant, looked_up, unit_scored
from goodinit.recipes.words import SINKS, SOURCES
from goodinit.theory import (
    MirroredPoint,
    OperatingPoint,
    moments,
    operating_point,
)

__all__ = ["ORTHOGONAL_FROM", "Travel", "scale"]


# Independent draws lose a share ~depth/width of isometry; an orthogonal map loses none.
ORTHOGONAL_FROM = 20

# Logits whose variance is so near to 1 are left alone: they may be one of several terms, as in DeBERTa.
_ROOM = 4.0
# What makes one weight of two.
_SUMS = {"add", "sub"}
# Padding is told of where it is more than a tenth of what a convolution reads.
_WORTH_TELLING = 0.9
# Beyond this second moment, exponentials written by hand overflow: mirrored weights need no such scale.
_LARGE = 100.0


@dataclass
class Travel:
    """The second moments of one traced network under an objective.

    Attributes:
        graph: what `goodinit.graph.trace` found.
        objective: ``"critical"`` (forward held, gradients as near to constant as the
            activation allows), ``"forward"`` (forward held at second moment 1), or
            ``"backward"`` (gradients held).
        mirrors: whether plain chains may run on mirrored pairs of units.
        forget_bias, horizon: what the gates of recurrent layers start with, see `auto`.
    """

    graph: Graph
    objective: str = "critical"
    mirrors: bool = True
    forget_bias: float = 1.0
    horizon: float | None = None
    _lengths: dict[str, int] = field(default_factory=dict)
    _chains: dict[str, list[WeightUse]] = field(default_factory=dict)
    _mirrored: dict[str, dict[Elementwise, MirroredPoint] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name = {use.name: use for use in self.graph if use.contracts}
        self.asking: set[str] = set()
        self._made: dict[str, float] = {}
        self.tables: dict[str, float] = {}
        self._moments: dict[object, float] = {}
        self._biases = kept_biases(self.graph)
        self._streams = {use.residual.stream: use.residual for use in self.graph if use.residual is not None}
        self._coupled = couplings(self.graph)
        self._measure_chains()
        # One after another, so that each finds those before it known.
        for use in self.graph:
            if use.contracts and (use.name in self.graph.kept | self.graph.values.keys() or use.making):
                self.puts_out(use)

    # --- plain chains ------------------------------------------------------------

    def _measure_chains(self) -> None:
        """Give every weight the number of weights in its plain chain, where one directly follows another."""
        before: dict[str, int] = {}
        root: dict[str, str] = {}
        for use in self.graph:
            if not use.contracts or use.name in self.graph.kept:
                continue
            chained = [name for name in use.source.weights if name in before and name != use.name]
            if use.source.kind == "weight" and chained:
                previous = max(chained, key=lambda name: before[name])
                before[use.name] = max(before.get(use.name, 0), before[previous] + 1)
                root.setdefault(use.name, root[previous])
            else:
                before.setdefault(use.name, 1)
                root.setdefault(use.name, use.name)
        chains: dict[str, dict[int, WeightUse]] = {}
        for name, count in before.items():
            chains.setdefault(root[name], {}).setdefault(count, self._by_name[name])
        for name, first in root.items():
            self._lengths[name] = max(chains[first])
            self._chains[name] = [chains[first][count] for count in sorted(chains[first])]
        if self.mirrors:
            self._measure_mirrors(root)

    def _measure_mirrors(self, root: dict[str, str]) -> None:
        """Find the plain chains that run on mirrored pairs, and where each activation then runs."""
        members: dict[str, list[WeightUse]] = {}
        for name, first in root.items():
            members.setdefault(first, []).append(self._by_name[name])
        for chain in members.values():
            length = self._lengths[chain[0].name]
            if length <= SHORT or not structure_fits(self.graph, chain):
                continue
            functions = list(
                dict.fromkeys(
                    use.source.activation
                    for use in chain
                    if use.source.kind == "weight" and use.source.activation is not None
                )
            )
            if all(unmirrors(function) for function in functions):
                points = [self.point(function, chain[0]) for function in functions]
                huge = self.objective == "critical" and any(point and point.q > _LARGE for point in points)
                if length >= MIRRORED_FROM or huge or self._suffers(chain, length):
                    self._mirrored |= dict.fromkeys((use.name for use in chain), None)
            elif self._suffers(chain, length):
                pairs = pairs_of(self.graph, chain, functions)
                if pairs is not None:
                    self._mirrored |= dict.fromkeys((use.name for use in chain), pairs)

    def _suffers(self, chain: list[WeightUse], length: int) -> bool:
        """Tell whether pairs are worth it: signals are lost, inputs become alike, or biases stay."""
        orthogonal = length >= ORTHOGONAL_FROM
        stay = orthogonal and any(use.name in self._biases for use in chain)
        return self.objective == "critical" and (stay or any(cost(self, use, orthogonal) for use in chain))

    def mirror(self, use: WeightUse) -> str | None:
        """Return which sides of a weight are mirrored (see `LooksLinear`), or None."""
        if use.name not in self._mirrored:
            return None
        inside = use.source.kind == "weight" and not self.graph.kept.issuperset(use.source.weights)
        goes_on = use.sink.kind == "weight" and not self.graph.kept.issuperset(use.sink.weights)
        return "both" if inside and goes_on else "outputs" if goes_on else "inputs" if inside else None

    def mirrored_gain(self, use: WeightUse, mirror: str) -> float:
        """Return the gain of the orthogonal core of a mirrored weight that holds second moments.

        A pair (b + z, b − z) passes φ and the mirrored weight as V(φ(b + z) − φ(b − z)).
        """
        rows = use.shape[0] // (2 if mirror != "inputs" else 1)
        columns = use.shape[1] // (2 if mirror != "outputs" else 1)
        pairs = self._mirrored[use.name]
        arriving, slope, wanted = 1.0, 1.0, 1.0
        if mirror == "inputs":
            wanted = self.wanted(use, use.sink)[0]
        elif pairs is not None and use.sink.activation is not None:
            wanted = pairs[use.sink.activation].point.q
        if mirror == "outputs":
            arriving = self.arriving(use)[0]
        elif use.source.activation is not None:
            if pairs is not None:
                arriving = pairs[use.source.activation].passed
            else:
                one = torch.ones(1, dtype=torch.float64)
                slope = float(use.source.activation(one) - use.source.activation(-one))
        return drawn_for(use, wanted / arriving * max(rows, columns) / columns) / slope

    def mirrored_bias(self, name: str) -> float | None:
        """Return the bias around which the units of a weight are mirrored; None where there is none."""
        pairs = self._mirrored.get(name)
        sink = self._by_name[name].sink if pairs else None
        if not pairs or sink is None or sink.kind != "weight" or sink.activation is None:
            return None
        return pairs[sink.activation].bias or None

    def mirrored_why(self, use: WeightUse) -> str:
        """Say why a weight is mirrored."""
        pairs, length = self._mirrored[use.name], self.length(use)
        if pairs is None:
            return (
                f"one of {length} plain layers after rectifiers: mirrored in signs, the chain is "
                "linear and isometric at the start, so that different inputs stay different"
            )
        names = " and ".join(function.name for function in pairs)
        biases = sorted({point.bias for point in pairs.values() if point.bias})
        around = f" around the biases ({' and '.join(f'{bias:g}' for bias in biases)})" if biases else ""
        return (
            f"one of {length} plain layers: mirrored in signs{around}, pairs of {names} act almost as a "
            "straight line, so that signals and gradients keep their size and different inputs stay different"
        )

    def length(self, use: WeightUse) -> int:
        """Return how many weights the plain chain of this use has; 1 where it stands alone."""
        return self._lengths.get(use.name, 1)

    def chain(self, use: WeightUse) -> list[WeightUse]:
        """Return the plain chain of this use in order, one weight for each place."""
        return self._chains[use.name]

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
        """Return (second moment of what a weight reads, where it comes from in words); padding counts."""
        moment, words = self._arriving(use)
        # Where each of the demo's 30 layers makes up for its padding, they reach 16 to 28 %, else 92 to 97 %.
        inside = use.inside if self.length(use) < ORTHOGONAL_FROM else 1.0
        padding = f", {1 - inside:.0%} of it padding" if inside < _WORTH_TELLING else ""
        return moment * inside, words + padding

    def _arriving(self, use: WeightUse) -> tuple[float, str]:
        source = use.source
        inner, words = self._before_activation(use, source)
        mixed = self._sampled(source)
        if source.terms > 1:
            inner, words = inner * source.terms, f"the sum of {source.terms} results"
        if source.activation is not None:
            inner *= self.passed(source.activation, inner)
            words = f"{source.activation.name} of {words}"
        # Samples tell a plain sum, too, but not to the last digit.
        if not mixed > 0 or (source.terms > 1 and math.isclose(mixed, inner, rel_tol=0.05)):
            return inner, words
        return mixed, f"{words}, pooled" if source.pooled else words

    def _before_activation(self, use: WeightUse, source: Source) -> tuple[float, str]:
        if source.kind == "weight":
            previous = [self._by_name[name] for name in source.weights if name in self._by_name]
            # After a layer that starts at zero, weights wait for what it is planned to put out.
            q = self._put_out([o for o in previous if o.name != use.name], waits=True)
            return q, "the layer before" + unknown(self.graph, source.weights)
        if source.kind == "gate":
            return self._gated(source), "a gated product"
        if source.kind == "residual":
            found = None if source.stream is None else self._streams.get(source.stream)
            own = found is None or use.name in found.start
            size = 1.0 if found is None or own else found.size * beginning(self, found)
            return size, "the residual stream"
        if source.kind == "embedding":
            own = use.name in source.weights
            words = "an embedding" + unknown(self.graph, source.weights)
            return (1.0 if own else looked_up(self, source.weights) or 1.0), words
        if source.kind == "generated":
            return self._leaf(source.kind, source.weights), SOURCES[source.kind]
        return source.size, SOURCES.get(source.kind, "several signals")

    def puts_out(self, use: WeightUse) -> float:
        """Return the second moment of a weight's results: the wanted one, unless its values are kept."""
        if use.name not in self._made:
            # In a recurrence what is asked for on the way may come from this very weight: unit size then.
            self._made[use.name] = 1.0
            self._made[use.name] = self.wanted(use, use.sink)[0]
            size = kept_size(self.graph, use)
            if math.isfinite(size):
                biases = [other.held() for other in self.graph if self._kept_bias(other, use) and other.held]
                self._made[use.name] = size * use.fan_in * self.arriving(use)[0] + sum(biases)
            elif not only_scaled(use):
                self._made[use.name] = put_out(use, self._made[use.name], self.arriving(use)[0])
        return self._made[use.name]

    def _kept_bias(self, use: WeightUse, of: WeightUse) -> bool:
        # Of weights made of several, an update's factors have the others as neighbours.
        beside = set(use.of).intersection((*of.source.weights, *of.sink.weights))
        own = of.name in use.of and not beside
        return use.op == "shift" and own and use.name in self.graph.kept

    def _sampled(self, source: Source) -> float:
        """Return the second moment of a source that only samples tell, NaN for others."""
        return math.nan if source.moment is None else self.asked(source.moment)

    def asked(self, moment: Callable[[Callable[[str, tuple[str, ...]], float]], float]) -> float:
        """Return what a moment of the graph is in this network, each asked once."""
        if moment not in self._moments:
            self._moments[moment] = moment(self._leaf)
        return self._moments[moment]

    def _leaf(self, kind: str, names: tuple[str, ...]) -> float:
        """Return the second moment of a signal from its kind and the parameters that made it."""
        if kind == "embedding":
            return looked_up(self, names)
        if kind == "kept":
            return float(bool(names) and self.graph.kept.issuperset(names))
        if kind in ("low", "high"):
            return start_range(self.graph, names[0])[kind == "high"]
        if kind in ("forget_bias", "horizon"):
            return self.forget_bias if kind == "forget_bias" else self.horizon or 0.0
        made = [self._by_name[name] for name in names if name in self._by_name]
        if kind == "generated":
            return max((generated_share(self, use) for use in made), default=1.0)
        # Weights that are made are told by what they put out.
        made = [use for use in made if use.sink.kind != "generated"]
        return self._put_out(made) if kind == "weight" else 1.0

    def _put_out(self, made: list[WeightUse], waits: bool = False) -> float:
        """Return the second moment of what weights put out: that of the largest, or of one made of several.

        Args:
            made: the weights.
            waits: whether a result that is 0 for now counts as what it is planned to become.
        """
        names = {use.name for use in made}
        # The first factor of a low-rank update puts out nothing here but what the next one reads.
        ends = [use for use in made if not (use.sink.weights and names.issuperset(use.sink.weights))]
        found: dict[object, float] = {}
        for use in ends:
            key = use.index if _SUMS.intersection(use.through) else use.name
            found[key] = found.get(key, 0.0) + self.puts_out(use)
        if waits and not any(found.values()):
            found = {use.name: self.wanted(use, use.sink)[0] for use in ends}
        return max(found.values(), default=1.0)

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
        if use.name in self._coupled:
            return coupled(self._coupled)
        if sink.kind == "generated":
            return generated(self, use, sink)
        if use.residual is not None and not use.residual.shortcut and use.norm_after is None:
            return branch(self, use.residual, sink)
        if sink.kind == "weight":
            return joined(self, sink, *self._between(use, sink))
        if sink.kind == "attention_logits" and not 1 / _ROOM <= sink.variance <= _ROOM:
            own = f"with unit queries and keys the model's own factor would give {sink.variance:.3g}"
            return 1 / math.sqrt(sink.variance), f"{SINKS[sink.kind]} ({own})"
        if sink.kind == "gate" and (found := mixed(self, use, sink)) is not None:
            return found
        together = unit_scored(sink)
        if together is not None:
            return together, "results that make the output together, of unit size"
        after = kept_temperature(self.graph, use) * constant(self, sink) if use.head else 1.0
        if after > 0 and not math.isclose(after, 1.0, rel_tol=1e-6):
            return 1 / after, f"unit outputs after a scale that stays at {math.sqrt(after):.3g}"
        return 1.0, SINKS.get(sink.kind, "unit scale")

    def _between(self, use: WeightUse, sink: Sink) -> tuple[float, str]:
        point = self.point(sink.activation, use)
        if point is not None and self.objective == "critical" and self.length(use) > SHORT:
            return point.q, f"where {point_name(sink)} passes gradients best"
        return 1.0, "unit scale"


def point_name(sink: Sink) -> str:
    """Name the activation before a sink."""
    return sink.activation.name if sink.activation else "the identity"


def scale(q: float, arriving: float, fan: float) -> float:
    """Return √(q / (arriving · fan)); where nothing arrives, as if the second moment were 1."""
    return math.sqrt(q / ((arriving if arriving > 0 else 1.0) * fan)) if fan > 0 else 0.0
