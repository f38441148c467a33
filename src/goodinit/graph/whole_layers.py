"""Operations that are whole layers: normalization, attention, look-ups, recurrent modules."""

from __future__ import annotations

import math

from goodinit.graph.carrying import Builder, constant, site_of, value_of
from goodinit.graph.combining import simple
from goodinit.graph.contractions import Roles, named_arguments
from goodinit.graph.flow import Const, Link, Part, Signal, Touch, Weight
from goodinit.graph.layout import Layout
from goodinit.graph.tape import Node, Ref
from goodinit.theory import embedding_fans

__all__ = ["attention", "embedding", "lookup", "norm", "recurrent", "weight_norm"]


def embedding(b: Builder, node: Node) -> None:
    table, indices = value_of(node.args[0]), value_of(node.args[1])
    state = b.state(table)
    if not isinstance(state, Weight):
        simple(b, node, "move")
        return
    shape, values = b.tape.values[table].shape, b.tape.values
    out = values[node.outputs[0]].shape
    bag = 1.0
    if node.op != "embedding":
        # A mean divides what it adds up by the number of rows; the largest of them counts as one.
        rows = math.prod(values[indices].shape) / max(out[0], 1)
        bag = {0: rows, 1: 1 / max(rows, 1.0)}.get(named_arguments(node).get("mode", 0), 1.0)
    fans = embedding_fans(shape[0], shape[-1], bag)
    roles = Roles((0,), (1,), (), fans.fan_in, fans.fan_out, {len(out) - 1: 1})
    site = site_of(b, node, "embedding", state, shape, roles)
    b.root(node.outputs[0], "embedding", [], node, site)
    b.rest(node, 1)


def lookup(b: Builder, node: Node) -> None:
    table = node.inputs[0]
    state = b.state(table)
    if isinstance(state, Signal) and _picked(b, node, state):
        return
    if not isinstance(state, Weight):
        simple(b, node, "move")
        return
    sampled = any(not constant(b.state(index)) for index in node.inputs[1:])
    shape, out = b.tape.values[table].shape, b.tape.values[node.outputs[0]]
    if sampled and len(shape) <= 2 and node.op != "gather":
        roles = Roles((0,), tuple(range(1, len(shape))), (), 1.0, float(math.prod(shape[1:])), {})
        if len(shape) == 2:
            roles = Roles((0,), (1,), (), 1.0, float(shape[1]), {len(out.shape) - 1: 1})
        b.root(out.index, "embedding", [], node, site_of(b, node, "embedding", state, shape, roles))
        return
    # A table of matrices: the chosen ones are still weights, their first dimension a choice.
    rest = len(shape) - 1
    picked = out.shape[: len(out.shape) - rest]
    first = node.op == "index_select" and node.args[1] == 0
    first = first or (node.op in ("index", "_unsafe_index") and len(node.args[1]) == 1)
    parts = []
    for part in state.parts:
        kept = None
        if part.layout is not None and first and out.shape[len(picked) :] == shape[1:]:
            dims = tuple(((size, 0),) if size > 1 else () for size in picked)
            kept = type(part.layout)(part.layout.offset, (*dims, *part.layout.dims[1:]))
        parts.append(Part(part.leaf, kept, (*part.through, node.op), None, part.role))
    b.put(out.index, Weight(tuple(parts)))


def _picked(b: Builder, node: Node, state: Signal) -> bool:
    """Carry over ``x[..., [2], :]``, which picks one place that is known; return whether it was that."""
    if node.op != "index" or len(node.inputs) != 2:
        return False
    dim = next((i for i, item in enumerate(node.args[1]) if item is not None), 0)
    index, old = b.tape.values[node.inputs[1]], b.tape.values[node.inputs[0]]
    if index.fill is None or index.shape != (1,) or len(state.layout.dims[dim]) > 1:
        return False
    at = int(index.fill) % old.shape[dim]
    step = state.layout.dims[dim][0][1] if state.layout.dims[dim] else 0
    dims = (*state.layout.dims[:dim], (), *state.layout.dims[dim + 1 :])
    b.put(node.outputs[0], Signal(state.root, Layout(state.layout.offset + at * step, dims)))
    return True


def norm(b: Builder, node: Node) -> None:
    named = named_arguments(node)
    signal = named.get("input", named.get("x"))
    signal = signal if isinstance(signal, Ref) else Ref(node.inputs[0])
    link = b.link(signal.value)
    b.root(node.outputs[0], "norm", [link], node)
    b.rest(node, 1)
    here = b.state(node.outputs[0])
    assert isinstance(here, Signal)
    for key, kind in (("weight", "scale"), ("bias", "shift")):
        ref = named.get(key)
        if isinstance(ref, Ref) and isinstance(state := b.state(ref.value), Weight):
            shape = b.tape.values[ref.value].shape
            on = Link(here.root, here.layout, node.outputs[0])
            b.flow.touches.append(Touch(node.index, kind, state.parts, shape, on))


def weight_norm(b: Builder, node: Node) -> None:
    direction, length = (b.state(index) for index in node.inputs[:2])
    parts: list[Part] = []
    if isinstance(direction, Weight):
        parts += [Part(p.leaf, p.layout, (*p.through, node.op), p.where, p.role) for p in direction.parts]
    if isinstance(length, Weight):
        parts += [Part(p.leaf, None, (*p.through, node.op), None, "scale") for p in length.parts]
    b.put(node.outputs[0], Weight(tuple(parts)))
    b.rest(node, 1)


def attention(b: Builder, node: Node) -> None:
    named = named_arguments(node)
    links = [b.link(named[key].value, key) for key in ("query", "key", "value")]
    for key in ("attn_mask", "attn_bias"):
        ref = named.get(key)
        if isinstance(ref, Ref) and not isinstance(b.state(ref.value), Const):
            links.append(b.link(ref.value, "bias"))
    b.root(node.outputs[0], "attention", links, node)
    b.rest(node, 1)


def recurrent(b: Builder, node: Node) -> None:
    links = [b.link(i) for i in dict.fromkeys(node.inputs) if not constant(b.state(i))]
    own = node.module
    inside = f"{own}.parametrizations." if own else "parametrizations."
    names = tuple(name for name, at in b.flow.owners.items() if at == own or at.startswith(inside))
    for index in node.outputs:
        b.root(index, "recurrent", links, node)
        b.flow.roots[index].names = names
