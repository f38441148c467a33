"""Residual streams: which additions belong to one stream, and in what order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Flow, Link
from goodinit.graph.paths import parameter_names
from goodinit.graph.uses import Residual

__all__ = ["faded", "residuals", "scales_along", "streams_of"]

_PASSED = {"move", "norm", "center", "reduce"}
_STEPS = 6
# Ten additions later a stream with this factor has lost two thirds of what it was.
_FADES, _SAME = 0.95, 1.01


def streams_of(flow: Flow) -> dict[int, tuple[int, int]]:
    """Return (stream, position from 1) for every residual addition."""
    found: dict[int, tuple[int, int]] = {}
    starts: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for value, root in flow.roots.items():
        if root.kind != "residual":
            continue
        at = _start(flow, root.links[0], root.projected)
        if at in found:
            stream = found[at][0]
        else:
            stream = starts.setdefault(at, len(starts))
        lengths[stream] = lengths.get(stream, 0) + 1
        found[value] = (stream, lengths[stream])
    return found


def _start(flow: Flow, link: Link, projected: bool) -> int:
    passed = _PASSED | {"weight"} if projected else _PASSED
    at = link.root
    for _ in range(_STEPS):
        root = flow.roots[at]
        if root.kind == "residual" or root.kind not in passed or not root.links:
            break
        # A norm belongs to the stream only where it comes after an addition.
        below = root.links[0].root
        at = below
    return at if flow.roots[at].kind == "residual" or projected else link.root


def residuals(
    flow: Flow, streams: dict[int, tuple[int, int]], scales: dict[int, list[int]]
) -> dict[tuple[int, str], Residual]:
    """Return the record of every addition, by root and by link part."""
    lengths: dict[int, int] = {}
    for stream, position in streams.values():
        lengths[stream] = max(lengths.get(stream, 0), position)
    found = {}
    for value, (stream, position) in streams.items():
        for link in flow.roots[value].links:
            scale = scales_along(flow, [link], scales)
            found[value, link.part] = Residual(
                stream, position, lengths[stream], scale, link.part == "projected"
            )
    return found


def faded(flow: Flow, streams: dict[int, tuple[int, int]]) -> dict[int, tuple[float, float]]:
    """Return (size, share) for streams that a constant below 1 multiplies from one addition to the next.

    In x ← b·(a·x + u), such as (x + u)/√2, x keeps its second moment m if the sum has m/b², the size, of
    which u adds m·(1/b² − a²), the share.

    Args:
        flow: the graph.
        streams: as `streams_of` gives them.
    """
    factors: dict[int, list[float]] = {}
    for value, (stream, _) in streams.items():
        link = next((link for link in flow.roots[value].links if link.part == "skip"), None)
        function = None if link is None else elementwise(flow, [link])
        linear = function is None or function.linear
        one = torch.ones(1, dtype=torch.float64)
        factor = 1.0 if function is None else float(function(one)) if linear else math.nan
        factors.setdefault(stream, []).append(abs(factor))
    found = {}
    for stream, (first, *rest) in factors.items():
        if rest and max(rest) < _FADES and min(rest) > 0 and max(rest) / min(rest) < _SAME and first > 0:
            size = (first / rest[0]) ** 2
            found[stream] = size, size - first**2
    return found


def scales_along(flow: Flow, links: Sequence[Link], scales: dict[int, list[int]]) -> tuple[str, ...]:
    """Return the parameters that multiply the signal along links.

    Args:
        flow: the graph.
        links: the links, first one first.
        scales: the touches of kind ``"scale"`` by node.
    """
    names: list[str] = []
    for link in links:
        for node in flow.between(link.value, link.root):
            for at in scales.get(node.index, ()):
                names.extend(parameter_names(flow, flow.touches[at].parts))
    return tuple(dict.fromkeys(names))
