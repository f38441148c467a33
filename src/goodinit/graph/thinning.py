"""The record of a run as a smaller batch would have made it, where running the whole again costs too much."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from goodinit.graph.flow import Flow
from goodinit.graph.tape import Tape, Value

__all__ = ["affordable"]

# A quarter of what all questions about one network may cost together.
_PRODUCTS = 2**32


def affordable(flow: Flow, root: int) -> Flow:
    """Return a flow of a smaller batch in which the weights before a root cost little.

    The batch keeps at least two samples, and everything else is the same. Where the batch cannot be
    told, or is small enough, the flow itself is returned.

    Args:
        flow: the coarse graph.
        root: the root.
    """
    cost, seen, todo = 0.0, {root}, [root]
    while todo:
        found = flow.roots[todo.pop()]
        if found.kind == "weight" and found.site is not None:
            cost += found.site.fan_in * math.prod(flow.tape.values[found.value].shape)
        fresh = {link.root for link in found.links} - seen
        seen |= fresh
        todo.extend(fresh)
    batches = {v.shape[0] if v.shape else 0 for v in flow.tape.values if v.origin in ("input", "index")}
    if cost <= _PRODUCTS or len(batches) != 1:
        return flow
    batch = batches.pop()
    kept = max(2, math.floor(batch * _PRODUCTS / cost))
    if batch <= kept:
        return flow
    key = ("thinned", kept)
    if key not in flow.functions:
        flow.functions[key] = dataclasses.replace(flow, tape=_thinned(flow.tape, batch, kept), functions={})
    thin = flow.functions[key]
    assert isinstance(thin, Flow)
    return thin


def _thinned(tape: Tape, batch: int, kept: int) -> Tape:
    values, sized = list(tape.values), set()

    def shrink(value: Value) -> None:
        if value.shape and value.shape[0] % batch == 0:
            shape = (value.shape[0] // batch * kept, *value.shape[1:])
            values[value.index] = dataclasses.replace(value, shape=shape)
            sized.add(value.index)

    nodes = []
    for value in tape.values:
        if value.origin == "input":
            shrink(value)
    for node in tape.nodes:
        if sized.intersection(node.inputs):
            for index in node.outputs:
                shrink(tape.values[index])
            shapes = {tape.values[index].shape: list(values[index].shape) for index in node.outputs}
            args = tuple(_argument(item, shapes) for item in node.args)
            node = dataclasses.replace(node, args=args)
        nodes.append(node)
    return Tape(nodes, values, tape.outputs, tape.held)


def _argument(argument: Any, shapes: dict[tuple[int, ...], list[int]]) -> Any:
    """A list of sizes that is a result's own, with one of them left open or none, becomes the new one."""
    if isinstance(argument, list | tuple) and all(type(item) is int for item in argument):
        for old, new in shapes.items():
            if len(old) == len(argument) and all(a in (-1, n) for a, n in zip(argument, old, strict=True)):
                return new
    return argument
