"""The parts that weights play in attention and in gated units, read off the coarse graph."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from goodinit.graph.contractions import named_arguments
from goodinit.graph.expressions import Elementwise, elementwise
from goodinit.graph.flow import Flow, Link
from goodinit.graph.layout import Layout
from goodinit.graph.paths import End, Paths, walk_back

__all__ = ["attention_parts", "carries", "gate_part", "logit_variance", "reads_attention"]

# What lies between a projection and the product with the keys: rotary embedding, norms, repeats.
_THROUGH = {"move", "sum", "norm", "center", "mixed", "reduce"}
# Sums and masks between a product and its softmax.
_STEPS = 6


def attention_parts(paths: Paths) -> dict[int, list[tuple[Layout, str]]]:
    """Return, for the roots that feed attention, which of their elements are q, k or v."""
    flow = paths.flow
    found: dict[int, list[tuple[Layout, str]]] = {}

    def mark(links: Iterable[Link], part: str) -> None:
        for at, reads in walk_back(flow, links, _THROUGH).items():
            if flow.roots[at].kind in ("weight", "embedding"):
                found.setdefault(at, []).extend((link.layout, part) for link in reads)

    orientation = _orientation(flow)
    plain = paths.logits & _direct(flow)
    for value, root in sorted(flow.roots.items(), key=lambda item: item[0] in paths.logits - plain):
        if root.kind == "attention":
            for link in root.links:
                part = {"query": "q", "key": "k", "value": "v"}.get(link.part)
                if part:
                    mark([link], part)
        elif value in paths.logits:
            left, right = root.links[:2]
            swapped = orientation.get(value, False)
            mark([left], "k" if swapped else "q")
            mark([right], "q" if swapped else "k")
        elif value in paths.mixes:
            for link in root.links[:2]:
                reached = walk_back(flow, [link], {"move", "mixed"})
                if not any(flow.roots[at].kind == "softmax" for at in reached):
                    mark([link], "v")
    return found


def _direct(flow: Flow) -> set[int]:
    """Products that reach their softmax without being gathered, as terms for relative positions are."""
    found: set[int] = set()
    for root in flow.roots.values():
        if root.kind == "softmax":
            found.update(walk_back(flow, root.links, {"sum", "mixed", "product", "center"}))
    return found


def _orientation(flow: Flow) -> dict[int, bool]:
    """For each product under a softmax: whether its left operand, not its right one, holds the keys."""
    swapped: dict[int, bool] = {}
    for root in flow.roots.values():
        if root.kind != "softmax" or root.node is None or not root.links:
            continue
        node = flow.tape.nodes[root.node]
        shape = flow.tape.values[root.links[0].value].shape
        dim = node.args[1] if len(node.args) > 1 and isinstance(node.args[1], int) else -1
        dim %= max(len(shape), 1)
        for at, links in walk_back(flow, root.links, {"sum", "mixed", "move", "product", "center"}).items():
            if flow.roots[at].kind != "interaction":
                continue
            layout = links[0].layout
            if dim < len(layout.dims) and layout.dims[dim]:
                swapped[at] = layout.dims[dim][-1][1] != 1
    return swapped


def reads_attention(paths: Paths, root: int) -> bool:
    """Whether a weight's signal is what attention mixed."""
    links = paths.flow.roots[root].links
    # A gate on the mixed values, between attention and its output projection, hides nothing.
    reached = walk_back(paths.flow, links[:1], {"move", "sum", "product"})
    mixing = paths.mixes | paths.linear
    return any(paths.flow.roots[at].kind == "attention" or at in mixing for at in reached)


def logit_variance(paths: Paths, end: End) -> float:
    """Return the variance of logits whose queries and keys have second moment 1; 1 where that is not known.

    variance = d · s²,  d products summed, s all constant factors from the projections to the softmax
    """
    flow = paths.flow
    root = flow.roots[end.target]
    if root.kind not in ("attention", "interaction"):
        return 1.0
    factor = 1.0
    for link in root.links[:2]:
        factor *= _factor(elementwise(flow, (*paths.origins[link.root].links, link)))
    if root.kind == "attention" and root.node is not None:
        scale = named_arguments(flow.tape.nodes[root.node]).get("scale")
        width = flow.tape.values[root.links[0].value].shape[-1]
        return _variance(width, factor * (scale if isinstance(scale, int | float) else width**-0.5))
    at = end.target
    for _ in range(_STEPS):
        readers = paths.readers.get(at, [])
        if not readers:
            return 1.0
        at, link = readers[0]
        factor *= _factor(elementwise(flow, [link]))
        if flow.roots[at].kind == "softmax":
            return _variance(root.sums, factor)
        if flow.roots[at].kind not in ("sum", "mixed", "move"):
            return 1.0
    return 1.0


def _variance(width: float, factor: float) -> float:
    found = width * factor**2
    return float(f"{found:.3g}") if math.isfinite(found) and found > 0 else 1.0


def _factor(function: Elementwise | None) -> float:
    """Return the factor of a linear function, NaN for any other."""
    if function is None:
        return 1.0
    return float(function(torch.ones(1, dtype=torch.float64))) if function.linear else math.nan


def gate_part(paths: Paths, end: End) -> str:
    """Return ``"gate"`` or ``"value"`` for a signal that ends in a product with another one."""
    flow = paths.flow
    root = flow.roots[end.target]
    mine = end.links[-1]
    others = [link for link in root.links if link != mine]
    if not others:
        return ""
    own, other = _bending(flow, mine), _bending(flow, others[0])
    # Where both are bent, the one that stays between 0 and 1 is the gate.
    return "gate" if own > other or own == other == 1 else "value"


def carries(paths: Paths, end: End) -> bool:
    """Return whether a signal that ends in a product is what is gated; of two alike, it is the deeper one."""
    flow, mine = paths.flow, end.links[-1]
    if gate_part(paths, end) != "value":
        return False
    alike = [
        link
        for link in flow.roots[end.target].links
        if link == mine or gate_part(paths, End(end.kind, end.target, (link,))) == "value"
    ]
    # Of equally deep ones the last: together they are one branch, not two.
    return mine == max(reversed(alike), key=lambda link: flow.roots[link.root].depth)


def _bending(flow: Flow, link: Link) -> int:
    """0: linear, 1: bent, 2: between 0 and 1."""
    # Of a router's shares only the largest may be used.
    reached = walk_back(flow, [link], {"move", "reduce"})
    if any(flow.roots[at].kind == "softmax" for at in reached):
        return 2
    return max(_bend(elementwise(flow, [item])) for links in reached.values() for item in links)


def _bend(function: Elementwise | None) -> int:
    if function is None or function.linear:
        return 0
    values = function.fingerprint
    return 2 if values and min(values) >= 0 and max(values) <= 1 else 1
