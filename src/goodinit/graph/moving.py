"""Operations that move data: views, copies and concatenations."""

from __future__ import annotations

import math
from dataclasses import replace

from goodinit.graph.carrying import Builder, lost, spread
from goodinit.graph.flow import Const, Part, Signal, Weight
from goodinit.graph.layout import Layout, regrouped
from goodinit.graph.tape import Node, Value

__all__ = ["copied", "joined", "view"]


def view(b: Builder, node: Node) -> None:
    tape = b.tape
    old = tape.values[node.inputs[0]]
    state = b.state(old.index)
    for index in node.outputs:
        new = tape.values[index]

        def moved(layout: Layout | None, old: Value = old, new: Value = new) -> Layout | None:
            if layout is None or old.dtype != new.dtype:
                return None
            return regrouped(layout, (old.shape, old.stride, old.offset), (new.shape, new.stride, new.offset))

        if isinstance(state, Signal):
            layout = moved(state.layout)
            if layout is None:
                b.root(index, "move", [b.link(old.index)], node)
            else:
                b.put(index, Signal(state.root, layout))
        elif isinstance(state, Weight):
            parts = lost(state, node.op) if old.dtype != new.dtype else state.parts
            b.put(index, Weight(tuple(_viewed(p, moved(p.layout), old, new) for p in parts)))
        else:
            b.put(index, state)


def copied(b: Builder, node: Node) -> None:
    source, target = node.inputs[-1] if node.op == "copy_" else node.inputs[0], node.outputs[0]
    old, new = b.tape.values[source], b.tape.values[target]
    state = b.state(source)
    if isinstance(state, Const) and new.fill is not None:
        state = Const(new.fill, state.sampled)
    b.put(target, spread(state, old.shape, new.shape))


def joined(b: Builder, node: Node) -> None:
    states = [b.state(index) for index in node.inputs]
    target = node.outputs[0]
    known = [state for state in states if not isinstance(state, Const)]
    if known and all(isinstance(state, Weight) for state in known):
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        b.put(target, Weight(tuple(_packed(b, node, int(dim) if isinstance(dim, int) else 0))))
    elif not known:
        b.put(target, Const(None, any(s.sampled for s in states if isinstance(s, Const))))
    else:
        links = [
            b.link(i, joins=True)
            for i, state in zip(node.inputs, states, strict=True)
            if not isinstance(state, Const)
        ]
        if (
            node.op == "written"
            and len(links) == 1
            and links[0].layout.distinct == math.prod(b.tape.values[target].shape)
        ):
            b.put(
                target,
                spread(
                    b.state(links[0].value),
                    b.tape.values[links[0].value].shape,
                    b.tape.values[target].shape,
                ),
            )
            return
        b.root(target, "move", links, node)


def _packed(b: Builder, node: Node, dim: int) -> list[Part]:
    out = b.tape.values[node.outputs[0]].shape
    dim %= max(len(out), 1)
    parts, start = [], 0
    for index in node.inputs:
        state, shape = b.state(index), b.tape.values[index].shape
        length = 1 if node.op == "stack" else shape[dim] if dim < len(shape) else 1
        if isinstance(state, Weight):
            for part in state.parts:
                layout = part.layout
                if layout is not None and node.op == "stack":
                    layout = type(layout)(layout.offset, (*layout.dims[:dim], (), *layout.dims[dim:]))
                if node.op == "written" or part.where is not None:
                    layout = None
                parts.append(Part(part.leaf, layout, part.through, (dim, start, length), part.role))
        start += length
    return parts


def _viewed(part: Part, layout: Layout | None, old: Value, new: Value) -> Part:
    if part.where is None and len(part.inner) < 2:
        return replace(part, layout=layout)
    # A packed weight, or one between others: the dimensions keep their meaning only in another order.
    if sorted(zip(old.shape, old.stride, strict=True)) != sorted(zip(new.shape, new.stride, strict=True)):
        return Part(part.leaf, None, part.through, None, part.role)
    order = [
        next(i for i in range(len(old.shape)) if (old.shape[i], old.stride[i]) == pair)
        for pair in zip(new.shape, new.stride, strict=True)
    ]
    if part.where is None:
        inner = tuple((order.index(at), factors) for at, factors in part.inner)
        return replace(part, layout=layout, inner=inner)
    kept = (
        None
        if part.layout is None
        else type(part.layout)(part.layout.offset, tuple(part.layout.dims[i] for i in order))
    )
    return Part(part.leaf, kept, part.through, (order.index(part.where[0]), *part.where[1:]), part.role)
