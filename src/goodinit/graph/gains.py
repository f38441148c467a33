"""Gains written inside a normalization, as g·(x − μ)/σ is: they scale its result."""

from __future__ import annotations

import dataclasses

from goodinit.graph.flow import Flow, Link, Touch, Weight
from goodinit.graph.layout import whole
from goodinit.graph.tape import Ref

__all__ = ["as_gain", "divides", "inner_gains"]


def inner_gains(flow: Flow) -> dict[int, int]:
    """Return, for each operation that a normalization's result alone passes, the normalization's root.

    An operation before the signal is both measured and divided changes nothing that comes out; one
    that only the signal passes, or only the measure, scales what comes out.
    """
    scales = {touch.node: touch.parts for touch in flow.touches if touch.kind == "scale"}
    found: dict[int, int] = {}
    for value, root in flow.roots.items():
        if root.kind == "norm" and len(root.links) == 2 and root.links[1].part == "statistic":
            signal, measure = (_passed(flow, link) & scales.keys() for link in root.links)
            # The model's code may also scale twice, once for either.
            both = {scales[node] for node in signal} & {scales[node] for node in measure}
            found.update((node, value) for node in signal ^ measure if scales[node] not in both)
    return found


def _passed(flow: Flow, link: Link) -> set[int]:
    nodes = {node.index for node in flow.between(link.value, link.root)}
    while flow.roots[link.root].kind in ("center", "reduce"):
        link = flow.roots[link.root].links[0]
        nodes.update(node.index for node in flow.between(link.value, link.root))
    return nodes


def as_gain(flow: Flow, touch: Touch, gains: dict[int, int]) -> Touch:
    """Return a touch on what it really scales.

    Args:
        flow: the coarse graph.
        touch: weights that take part in an elementwise operation.
        gains: from `inner_gains`.
    """
    if touch.kind != "scale" or touch.on is None or touch.node not in gains:
        return touch
    value = gains[touch.node]
    on = Link(value, whole(flow.tape.values[value].shape), value)
    return dataclasses.replace(touch, on=on, fan_out=1.0)


def divides(flow: Flow, touch: Touch) -> bool:
    """Whether weights are what a signal is divided by."""
    node = flow.tape.nodes[touch.node] if touch.kind == "scale" and flow.tape.nodes else None
    if node is None or node.op.rstrip("_") not in ("div", "true_divide") or len(node.args) < 2:
        return False
    below = node.args[1]
    return isinstance(below, Ref) and isinstance(flow.states[below.value], Weight)
