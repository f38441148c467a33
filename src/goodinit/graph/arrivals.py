"""The second moment of what arrives at a weight where products, sums and joins lie before it, by sampling.

A gate in a sum (a highway, an LSTM written by hand), one signal joined to its own negative, or the
largest of several results has no closed form that covers all of them. So the recorded operations
are replayed on samples: each weight's result is Gaussian, one signal is one sample wherever it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from goodinit.graph.biases import bias_of
from goodinit.graph.contractions import CONTRACTIONS
from goodinit.graph.expressions import elementwise, replayed
from goodinit.graph.flow import Const, Flow, Link, Root, Signal, Weight
from goodinit.graph.paths import parameter_names
from goodinit.graph.pooling import KEPT_BY_AVERAGES, averaged, pooled
from goodinit.graph.replaying import LEAVES, replayed_moment
from goodinit.graph.states import Leaf, state_moment
from goodinit.graph.tape import Node, Ref
from goodinit.graph.thinning import affordable

__all__ = ["ADDING", "Leaf", "arrives", "sampled", "share", "yielded"]

# A relative error of about √(2/16384) = 1 %, so two digits of a moment are told.
_SAMPLES = 16_384
# Beyond so many signals, or so far back, a recurrence or a very deep stack is taken to have unit size.
_MOST, _FARTHEST = 256, 64
_MOST_ROOTS = 400
_LEAVES = {**LEAVES, "norm": "norm"}
_LARGEST = {"amax", "max", "max_dim"}
#: Operations that add up what lies at several places; a product with a constant matrix is one.
ADDING = {"sum", "cumsum", "index_add", "index_add_", "scatter_add", "scatter_add_", "scatter_reduce"}
ADDING |= {"scatter_reduce_", "segment_reduce", "_sparse_mm", "_sparse_addmm", *CONTRACTIONS}
ADDING |= {"_fft_r2c", "_fft_c2c", "_fft_c2r"}


def sampled(flow: Flow, link: Link, mixed: frozenset[int]) -> Callable[[Leaf], float] | None:
    """Return a function that gives the second moment of a link, or None where nothing is mixed before it.

    Args:
        flow: the coarse graph.
        link: what a weight reads.
        mixed: products in which attention mixes values by a softmax.
    """
    # Queries, keys and values read one signal, and so do the branches of a gate: it is one question.
    key = ("moment", link)
    if key not in flow.functions:
        sums = _sums(flow, link, mixed) or _shares(flow, link) or pooled(flow, link, mixed)
        flow.functions[key] = _asked(flow, link, sums, mixed) if sums or _mixes(flow, link) else None
    return cast("Callable[[Leaf], float] | None", flow.functions[key])


def arrives(flow: Flow, links: Sequence[Link], mixed: frozenset[int]) -> Callable[[Leaf], float] | None:
    """Return a function that gives the mean second moment of several links; None for none.

    Args:
        flow: the coarse graph.
        links: the links.
        mixed: as `sampled` takes it.
    """
    if not links:
        return None

    def moment(leaf: Leaf) -> float:
        asked = (sampled(flow, link, mixed) or _asked(flow, link, False, mixed) for link in links)
        found = [one(leaf) for one in asked]
        return sum(found) / len(found)

    return moment


def share(flow: Flow, link: Link, leaf: Leaf) -> float:
    """Return the second moment of the share with which a gate weighs a signal; 0 where it is not known.

    Args:
        flow: the coarse graph.
        link: the link to the gate.
        leaf: the second moment of what begins a signal.
    """
    value = _Sampler(flow, leaf).link(link, 0)
    return 0.0 if value is None else float(value.square().mean())


def yielded(flow: Flow, root: Root, mixed: frozenset[int]) -> Callable[[Leaf], float]:
    """Return a function that gives what generated weights of second moment 1 put out.

    Args:
        flow: the coarse graph.
        root: their product with a signal.
        mixed: as `sampled` takes it.
    """

    def moment(leaf: Leaf) -> float:
        found = replayed_moment(flow, root.value, leaf, mixed, sized=False)
        return float(f"{found:.2g}") if found > 0 else root.sums

    return moment


def _asked(flow: Flow, link: Link, sums: bool, mixed: frozenset[int]) -> Callable[[Leaf], float]:
    def moment(leaf: Leaf) -> float:
        found = _replayed(flow, link, leaf, mixed) if sums else math.nan
        if not found > 0:
            value = _Sampler(flow, leaf).link(link, 0)
            found = math.nan if value is None else float(value.square().mean())
            if value is None and not sums:
                found = replayed_moment(flow, link.value, leaf, mixed)
        return float(f"{found:.2g}") if math.isfinite(found) else math.nan

    return moment


def _replayed(flow: Flow, link: Link, leaf: Leaf, mixed: frozenset[int]) -> float:
    own = affordable(flow, link.root) if pooled(flow, link, mixed) else flow
    found = replayed_moment(own, link.value, leaf, mixed)
    places = averaged(flow, link)
    if places is None:
        return found
    return max(found, KEPT_BY_AVERAGES * replayed_moment(own, places.value, leaf, mixed))


def _sums(flow: Flow, link: Link, mixed: frozenset[int]) -> bool:
    """Whether signals are added up over positions, or multiplied and added up, before a link."""
    at, seen = [link], {link.root}
    while at and len(seen) < _MOST_ROOTS:
        root = flow.roots[at.pop().root]
        if root.kind in LEAVES or root.value in mixed:
            continue
        if root.kind in ("sum", "mixed") and any(_scaled(flow, item) for item in root.links):
            return True
        if root.kind == "interaction" or (root.kind in ("move", "reduce") and root.op in ADDING):
            return True
        if root.kind == "product" and (root.sums > 1 or any(_shares(flow, item) for item in root.links)):
            return True
        for item in root.links:
            if item.part != "statistic" and item.root not in seen:
                seen.add(item.root)
                at.append(item)
    return False


def _scaled(flow: Flow, link: Link) -> bool:
    """Whether parameters scale a signal on a link: they may start at 0, or at shares of 1."""
    return any(
        node.op.rstrip("_") in ("mul", "div") and any(isinstance(flow.states[i], Weight) for i in node.inputs)
        for node in flow.between(link.value, link.root)
    )


def _shares(flow: Flow, link: Link) -> bool:
    """Whether a link reads shares of 1 as they are."""
    root = flow.roots[link.root]
    while root.kind in ("move", "mixed", "reduce") and len(root.links) == 1:
        root = flow.roots[root.links[0].root]
    return root.kind == "softmax"


def _mixes(flow: Flow, link: Link) -> bool:
    """Whether signals are joined, products added or multiplied again, or a recurrent state is read."""
    at, products = [link], 0
    for _ in range(_MOST):
        if not at:
            break
        root = flow.roots[at.pop().root]
        links = [item for item in root.links if item.part != "statistic"]
        if root.kind == "recurrent":
            return True
        if root.kind == "product":
            products += 1
        elif root.kind == "reduce" and root.op in _LARGEST:
            return True
        elif root.kind not in ("sum", "move", "mixed", "reduce", "center"):
            continue
        elif len(links) > 1 and any(elementwise(flow, [item]) is not None for item in links):
            return True
        if products > 1 or (root.kind in ("sum", "mixed") and len(links) > 1):
            return True
        at.extend(links)
    return False


class _Sampler:
    """Samples of signals, each kept by its root and the part of it that is read."""

    def __init__(self, flow: Flow, leaf: Leaf) -> None:
        self.flow, self.leaf = flow, leaf
        self.known: dict[tuple[int, int], Tensor | None] = {}
        self.generator = torch.Generator().manual_seed(0)
        self.back = 0

    def link(self, link: Link, part: int) -> Tensor | None:
        """Return what arrives over a link, or None where that is not known."""
        root = self.flow.roots[link.root]
        below = self.state(link) if root.kind == "recurrent" else self.root(root, part + link.layout.offset)
        if below is None:
            return None
        nodes = tuple(node for node in self.flow.between(link.value, link.root) if node.pointwise)
        try:
            return replayed(self.flow, nodes, link)(below) if nodes else below
        except Exception:  # recorded code that cannot be replayed on its own
            return None

    def root(self, root: Root, part: int) -> Tensor | None:
        key = (root.value, part)
        if key not in self.known:
            far = self.back >= _FARTHEST or len(self.known) >= _MOST
            self.known[key] = self.normal(1.0) if far else None
            if not far:
                self.back += 1
                self.known[key] = self.made(root, part)
                self.back -= 1
        return self.known[key]

    def state(self, link: Link) -> Tensor:
        """Samples of what is read of a recurrent layer's state."""
        key = (link.root, link.layout.offset)
        if self.known.get(key) is None:
            self.known[key] = self.normal(state_moment(self.flow, link, self.leaf))
        found = self.known[key]
        assert found is not None
        return found

    def normal(self, moment: float) -> Tensor:
        drawn = torch.randn(_SAMPLES, generator=self.generator, dtype=torch.float64)
        return drawn * math.sqrt(moment)

    def made(self, root: Root, part: int) -> Tensor | None:
        if root.kind in _LEAVES:
            names = parameter_names(self.flow, root.site.parts) if root.site is not None else ()
            out: Tensor | None = self.normal(self.leaf(_LEAVES[root.kind], names or root.names))
            for link in root.links:
                if link.part == "addend" and out is not None:
                    more = self.link(link, part)
                    out = None if more is None else out + more
            bias = bias_of(self.flow, root, self.leaf)
            if out is not None and bias is not None:
                out = out + bias.flatten()[torch.randint(bias.numel(), (_SAMPLES,), generator=self.generator)]
            return out
        links = [link for link in root.links if link.part != "statistic"]
        if root.kind == "reduce" and root.op in _LARGEST and len(links) == 1:
            return self.largest(root, links[0], part)
        if root.kind in ("center", "reduce", "move", "mixed") and len(links) == 1:
            return self.link(links[0], part)
        values = [self.link(link, part) for link in links]
        found = [value for value in values if value is not None]
        if not links or len(found) < len(values):
            return None
        node = None if root.node is None else self.flow.tape.nodes[root.node]
        if root.kind == "move":
            return self.joined(links, found)
        if node is None or not node.pointwise or root.kind not in ("sum", "product", "mixed"):
            return None
        return self.replayed(node, links, found)

    def joined(self, links: Sequence[Link], found: Sequence[Tensor]) -> Tensor:
        """Samples of signals laid side by side in random order, each as often as it has elements."""
        sizes = [math.prod(self.flow.tape.values[link.value].shape) for link in links]
        ends = [round(sum(sizes[: i + 1]) / max(sum(sizes), 1) * _SAMPLES) for i in range(len(sizes))]
        starts = [0, *ends]
        beside = torch.cat([value[starts[i] : ends[i]] for i, value in enumerate(found)])
        return self.shuffled(beside)

    def shuffled(self, value: Tensor) -> Tensor:
        return value[torch.randperm(_SAMPLES, generator=self.generator)]

    def largest(self, root: Root, link: Link, part: int) -> Tensor | None:
        """Samples of the largest of several results of one weight, which are independent."""
        values = self.flow.tape.values
        before, after = (math.prod(values[i].shape) for i in (link.value, root.value))
        count = before // max(after, 1)
        below = self.link(link, part)
        if self.flow.roots[link.root].kind != "weight" or count > _MOST or below is None:
            return below
        return torch.stack([self.shuffled(below) for _ in range(count)]).amax(0)

    def replayed(self, node: Node, links: Sequence[Link], found: Sequence[Tensor]) -> Tensor | None:
        """What an operation makes of samples; None where it reads something that is not known."""
        by_root = {(link.root, link.layout): value for link, value in zip(links, found, strict=True)}
        by_value = {link.value: value for link, value in zip(links, found, strict=True)}

        def filled(argument: Any) -> Any:
            if not isinstance(argument, Ref):
                return argument
            state = self.flow.states[argument.value]
            if argument.value in by_value:
                return by_value[argument.value].clone()
            if isinstance(state, Signal) and (state.root, state.layout) in by_root:
                return by_root[state.root, state.layout].clone()
            if isinstance(state, Const) and state.fill is not None:
                return torch.full((_SAMPLES,), float(state.fill), dtype=torch.float64)
            if isinstance(state, Weight) and node.op.rstrip("_") in ("add", "sub"):
                return torch.zeros(_SAMPLES, dtype=torch.float64)  # a bias
            raise LookupError

        try:
            kwargs = {
                name: value for name, value in node.kwargs.items() if name not in ("out", "memory_format")
            }
            out = node.func(*(filled(a) for a in node.args), **kwargs)
        except Exception:  # recorded code that cannot be replayed on its own
            return None
        return out.to(torch.float64) if isinstance(out, Tensor) and out.shape == (_SAMPLES,) else None
