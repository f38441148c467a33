"""The places of weights in residual streams, and what lies between them and the additions leaves of them.

What a weight puts out may be summed over neighbours of a graph, averaged over experts or weighed by
shares before it is added. The recorded operations run once more for unit results, and what then
arrives is measured; gates alone are measured by `goodinit.graph.mixtures`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import torch

from goodinit.graph.arrivals import ADDING, sampled
from goodinit.graph.attention import carries
from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Link, Root
from goodinit.graph.joins import shared_out
from goodinit.graph.mixtures import Mixtures
from goodinit.graph.paths import End, Paths, walk_back
from goodinit.graph.replaying import replayed_moment
from goodinit.graph.states import Unit
from goodinit.graph.streams import faded, residuals, scales_along, streams_of
from goodinit.graph.uses import Residual

__all__ = ["Branches"]

# What puts rows into places; a contraction with a mask does, too.
_PLACING = {"index_put", "_unsafe_index_put", "index_copy", "index_add", "scatter", "scatter_add"}
_PLACING |= {"mm", "bmm"}

_PASSED = {"move", "sum", "mixed", "reduce", "center", "product", "interaction"}


@dataclass
class Branches:
    """The residual branches of a coarse graph.

    Attributes:
        paths: the walks over the coarse graph.
        scales: the touches of kind ``"scale"`` by node.
    """

    paths: Paths
    scales: dict[int, list[int]]
    arriving: dict[int, float] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        flow = self.paths.flow
        self.streams = streams_of(flow)
        self.found = residuals(flow, self.streams, self.scales)
        self.faded = faded(flow, self.streams)
        self.mixtures = Mixtures(self.paths)
        self.starts = {
            stream: self.paths.origins[flow.roots[value].links[0].root].names
            for value, (stream, position) in self.streams.items()
            if position == 1
        }
        mixed = frozenset(self.paths.mixes)
        self.begins = {
            stream: sampled(flow, link, mixed)
            for value, (stream, position) in self.streams.items()
            for link in flow.roots[value].links
            if position == 1 and link.part == "skip" and self.paths.origins[link.root].pooled
        }
        shares, self.bare = {}, set()
        self.gained = {touch.on.root for touch in flow.touches if touch.kind == "scale" and touch.on}
        for (value, part), residual in self.found.items():
            if part == "branch":
                link = next(item for item in flow.roots[value].links if item.part == part)
                if residual.scale or self._weighs(flow.roots[value], link):
                    shares[self._end(link)] = 1 / residual.of
                else:
                    self.bare.add(residual.stream)
        self.unit = Unit(shares=shares)

    def __call__(self, end: End) -> Residual | None:
        """Return the place in a residual stream of what ends somewhere, or None."""
        found, last = self._reached(end)
        if found is None or last is None:
            return found
        moment = self._arrives(last)
        if not moment > 0:
            return found
        factor = elementwise(self.paths.flow, end.links)
        if factor is not None and factor.linear:  # which is counted where the branch gets its share
            moment /= float(factor(torch.ones(1, dtype=torch.float64))) ** 2
        return dataclasses.replace(found, weighed=moment / found.terms)

    def _reached(self, end: End, depth: int = 0) -> tuple[Residual | None, Link | None]:
        """The place, and the link into the addition unless a normalization lies before it."""
        if end.kind == "residual":
            last = end.links[-1]
            found = self.found.get((end.target, last.part))
            if found is None or last.part == "skip":
                return None, None
            inner = scales_along(self.paths.flow, end.links[:-1], self.scales)
            mixture = self.mixtures(last)
            terms = self.paths.origins[last.root].terms if mixture is None else mixture.parts
            scale, start = (*inner, *found.scale), self.starts.get(found.stream, ())
            size, share = self.faded.get(found.stream, (1.0, 0.0))
            found = dataclasses.replace(
                found,
                scale=scale,
                terms=terms,
                start=start,
                ends=self._ends(found.stream),
                size=size,
                share=share,
                begins=self.begins.get(found.stream),
            )
            return found, None if found.shortcut else last
        gated = end.kind == "gate" and carries(self.paths, end)
        if (end.kind in ("norm", "generated") or gated) and depth < 2:
            for further in self.paths.ends[end.target]:
                found, reached = self._reached(further, depth + 1)
                if found is not None:
                    if further.kind == "residual" and gated:
                        found = dataclasses.replace(found, weighed=self.mixtures.left(end.target, further))
                    return found, reached if gated else None
        return None, None

    def _ends(self, stream: int) -> float:
        """The second moment with which a stream ends to which branches without any weight are added, or 0."""
        if stream not in self.ends:
            last = max(value for value, (other, _) in self.streams.items() if other == stream)
            mixed = frozenset(self.paths.mixes)
            bare = stream in self.bare
            moment = replayed_moment(self.paths.flow, last, self.unit, mixed, sized=False) if bare else 0.0
            self.ends[stream] = float(f"{moment:.2g}") if math.isfinite(moment) else 0.0
        return self.ends[stream]

    def _weighs(self, addition: Root, branch: Link) -> bool:
        """Whether a weight, or the gain of a normalization at its end, gives a branch its size."""
        flow, todo, seen = self.paths.flow, [branch.root], set()
        skip = next(link.root for link in addition.links if link.part != "branch")
        while todo:
            root = flow.roots[todo.pop()]
            if root.kind in ("weight", "recurrent", "embedding", "generated", "learned"):
                return True
            ends = any(
                (end.kind, end.target) == ("residual", addition.value) for end in self.paths.ends[root.value]
            )
            if root.kind == "norm" and ends and root.value in self.gained:
                return True
            fresh = [link.root for link in root.links if link.root > skip and link.root not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return False

    def _arrives(self, last: Link) -> float:
        """The second moment that unit results leave of a branch that adds up places; NaN for others."""
        if last.value not in self.arriving:
            # Shares alone are known without a run of the layers that they weigh.
            alone = self.mixtures(last) is not None and not self._placed(last)
            adds = not alone and self._adds(last)
            self.arriving[last.value] = self._measured(last) if adds else math.nan
        return self.arriving[last.value]

    def _measured(self, last: Link) -> float:
        flow = self.paths.flow
        mixed = frozenset(self.paths.mixes)
        moment = replayed_moment(flow, self._end(last), self.unit, mixed, sized=False)
        return float(f"{moment:.3g}") if math.isfinite(moment) else math.nan

    def _end(self, last: Link) -> int:
        """What is to have its share: what is added, or what is still Gaussian before an activation."""
        flow, found = self.paths.flow, last.root
        for node in flow.between(last.value, last.root):
            link = Link(last.root, last.layout, node.outputs[0])
            function = elementwise(flow, [link])
            if function is not None and not function.linear:
                break
            found = link.value
        return found

    def _placed(self, last: Link) -> bool:
        """Whether shares weigh places of one signal, or what was put into places that may stay empty."""
        flow = self.paths.flow
        reached = [flow.roots[at] for at in walk_back(flow, [last], {*_PASSED, "softmax"})]
        made = [root for root in reached if root.kind == "weight"]
        for at in (root for root in reached if root.sums > 1 and root.value not in self.paths.logits):
            of = [flow.roots[link.root].site for link in at.links]
            if any(site is not None and site.kind == "matmul" and not site.batch for site in of):
                return True
        behind = (walk_back(flow, root.links, {"move", "mixed", "product", "weight"}) for root in made)
        below = (flow.roots[at] for found in behind for at in found)
        return any(
            root.kind == "interaction" or (root.kind == "move" and root.op.rstrip("_") in _PLACING)
            for root in below
        )

    def _adds(self, last: Link) -> bool:
        """Whether what a branch begins with is summed over places before it is added."""
        roots, seen, todo = self.paths.flow.roots, set(), [last.root]
        while todo:
            root = roots[todo.pop()]
            if root.value in seen or root.kind not in _PASSED:
                continue
            seen.add(root.value)
            if root.value in self.paths.mixes | self.paths.logits | self.paths.linear:
                continue
            if root.kind in ("reduce", "interaction") or root.sums > 1 or root.op in ADDING:
                return True
            if any(shared_out(self.paths.flow, link) for link in root.links):
                return True
            for link in root.links:
                product = root.kind == "product"
                if link.part != "statistic" and (
                    not product or carries(self.paths, End("gate", root.value, (link,)))
                ):
                    todo.append(link.root)
        return False
