"""Elementwise operations on signals and weights, and everything without a rule of its own."""

from __future__ import annotations

import math

from goodinit.graph.carrying import Builder, guessed, lost, site_of, spread, unique
from goodinit.graph.contractions import Roles
from goodinit.graph.flow import Const, Link, Part, Signal, State, Touch, Weight
from goodinit.graph.joins import join, shares
from goodinit.graph.layout import broadcast, whole
from goodinit.graph.tape import Node, Value

__all__ = ["pointwise", "simple"]

# Operations that put some values in the places of others.
PLACING = {"where", "index_put", "_unsafe_index_put", "masked_scatter", "masked_fill", "scatter"}
PLACING |= {"index_copy", "index_fill", "select_scatter", "slice_scatter", "put", "scatter_add", "index_add"}


def pointwise(b: Builder, node: Node) -> None:
    target = node.outputs[0]
    out = b.tape.values[target]
    signals: dict[tuple[int, object], int] = {}
    weights: list[int] = []
    inputs = list(dict.fromkeys(node.inputs))
    for index in inputs:
        state = b.state(index)
        if isinstance(state, Signal):
            wide = spread(state, b.tape.values[index].shape, out.shape)
            assert isinstance(wide, Signal)
            signals.setdefault((wide.root, wide.layout), index)
        elif isinstance(state, Weight):
            weights.append(index)
    firsts = [index for index in inputs if _is_state(node, b.state(index), b.tape.values[index])]
    if signals and firsts:
        signals.update({(index, None): index for index in firsts})
    b.rest(node, 0)
    if not signals and not weights:
        sampled = any(isinstance(s := b.state(i), Const) and s.sampled for i in inputs)
        b.put(target, Const(b.tape.values[target].fill, sampled))
        return
    if not signals:
        b.put(target, _combined(b, node, weights))
        return
    biases = _looked_up_biases(b, node, list(signals.values())) if len(signals) == 2 else []
    if biases:
        weights += biases
        signals = {key: index for key, index in signals.items() if index not in biases}
    if _starts_stream(b, node, list(signals.values()), weights):
        # Learned vectors to which is added what was computed from them are a stream.
        start = weights.pop()
        signals[start, None] = start
    first, *others = signals.values()
    if others:
        kind, links = join(b.flow, node, [b.link(index) for index in signals.values()])
        b.root(target, kind, links, node)
        b.flow.roots[target].projected = links[0].part == "projected"
        on = links[0]
    else:
        state = b.state(first)
        b.put(target, spread(state, b.tape.values[first].shape, out.shape))
        here = b.state(target)
        assert isinstance(here, Signal)
        on = Link(here.root, here.layout, target)
    for index in weights:
        state = b.state(index)
        if index in biases:
            _shift_by_row(b, node, index, on)
            continue
        assert isinstance(state, Weight)
        shape = b.tape.values[index].shape
        beside = b.tape.values[first].shape
        reached = math.prod(
            n for i, n in enumerate(reversed(shape)) if i >= len(beside) or beside[len(beside) - 1 - i] == 1
        )
        kind = _touch(node.op)
        if kind == "shift" and _masked(b, index):
            kind = "token"
        b.flow.touches.append(Touch(node.index, kind, state.parts, shape, on, float(max(reached, 1))))


def _starts_stream(b: Builder, node: Node, signals: list[int], weights: list[int]) -> bool:
    """Whether the one weight of an addition is a learned signal from which the other operand was made."""
    if len(signals) != 1 or len(weights) != 1 or _touch(node.op) != "shift":
        return False
    root = b.flow.roots.get(weights[0])
    if root is None or root.kind != "learned":
        return False
    learned = Link(weights[0], whole(b.tape.values[weights[0]].shape), weights[0])
    return join(b.flow, node, [learned, b.link(signals[0])])[0] == "residual"


def _masked(b: Builder, index: int) -> bool:
    """Whether a value is weights times a mask of the example: a token for some positions."""
    maker = b.tape.producer(index)
    if maker is None or maker.op.rstrip("_") != "mul":
        return False
    others = [b.state(i) for i in maker.inputs if math.prod(b.tape.values[i].shape) > 1]
    return any(isinstance(state, Const) and state.sampled for state in others)


def _looked_up_biases(b: Builder, node: Node, pair: list[int]) -> list[int]:
    """Which of two signals are rows of a table of biases, one for each of a stack of weights."""
    if _touch(node.op) != "shift":
        return []
    for index, beside in (pair, pair[::-1]):
        table, stack = b.flow.roots[b.link(index).root], b.flow.roots[b.link(beside).root].site
        site = table.site
        if table.kind == "embedding" and site is not None and stack is not None and stack.batch:
            stacked = [stack.shape[dim] for dim in stack.batch]
            results = [stack.shape[dim] for dim in stack.output]
            if len(site.shape) == 2 and site.shape[0] in stacked and site.shape[1] in results:
                return [index]
    return []


def _shift_by_row(b: Builder, node: Node, index: int, on: Link) -> None:
    """Note a looked-up table as a bias of what it is added to, and no longer as an embedding."""
    root = b.flow.roots[b.link(index).root]
    site = root.site
    if site is not None:
        root.site = None
        b.flow.sites = [other for other in b.flow.sites if other is not site]
        b.flow.touches.append(Touch(node.index, "shift", site.parts, site.shape, on, batch=(0,)))


def _combined(b: Builder, node: Node, weights: list[int]) -> Weight:
    """Weights with weights or constants: the largest is the weight, the others scale or shift it."""
    out = b.tape.values[node.outputs[0]].shape
    main = max(weights, key=lambda index: math.prod(b.tape.values[index].shape))
    name = node.op.rstrip("_")
    parts: list[Part] = []
    for index in weights:
        state = b.state(index)
        assert isinstance(state, Weight)
        for part in state.parts:
            layout = part.layout
            if layout is not None:
                layout = broadcast(layout, b.tape.values[index].shape, out)
            # Of two weights of one shape that are added, as in a merged low-rank update, neither is a bias.
            equal = b.tape.values[index].shape == out and _touch(node.op) == "shift"
            role = part.role or ("" if index == main or equal else _touch(node.op))
            where = part.where if b.tape.values[index].shape == out else None
            parts.append(Part(part.leaf, layout, (*part.through, name), where, role, part.inner))
    return Weight(unique(parts))


def simple(b: Builder, node: Node, kind: str) -> None:
    """One signal in, one out; weights that take part in some other way are noted."""
    states = [(index, b.state(index)) for index in dict.fromkeys(node.inputs)]
    signals = [index for index, state in states if isinstance(state, Signal)]
    weights = [state for _, state in states if isinstance(state, Weight)]
    if not signals:
        if weights:
            parts = [part for state in weights for part in lost(state, node.op)]
            if node.op in ("diag", "diag_embed"):
                # A diagonal matrix scales what it is multiplied with.
                parts = [Part(p.leaf, None, p.through, None, p.role or "scale") for p in parts]
            shape = b.tape.values[node.outputs[0]].shape
            restored = [guessed(part, b.tape, shape) for part in parts]
            for index in node.outputs:
                b.put(index, Weight(unique(restored)))
        else:
            sampled = any(isinstance(s, Const) and s.sampled for _, s in states)
            for index in node.outputs:
                b.put(index, Const(b.tape.values[index].fill, sampled))
        return
    links = [b.link(index) for index in signals]
    for index in node.outputs:
        value = b.tape.values[index]
        if value.dtype.is_floating_point or value.dtype.is_complex:
            b.root(index, kind, links, node)
        else:
            b.put(index, Const(None, True))
    here = b.state(node.outputs[0])
    placed = node.op.rstrip("_") in PLACING and isinstance(here, Signal)
    for state in weights:
        if placed and isinstance(here, Signal):
            on = Link(here.root, here.layout, node.outputs[0])
            b.flow.touches.append(Touch(node.index, "token", state.parts, (), on))
        else:
            b.flow.touches.append(Touch(node.index, "other", state.parts, (), links[0]))
    if kind == "reduce" and len(links) == 1:
        summed(b, node, links[0])


def summed(b: Builder, node: Node, link: Link) -> None:
    """A product with weights that is summed next is a contraction: (x * w).sum(-1)."""
    product = b.tape.producer(link.value)
    if node.op != "sum" or product is None or product.op != "mul" or len(node.args) < 2:
        return
    rank = len(b.tape.values[link.value].shape)
    dims = {int(d) % rank for d in node.args[1] or range(rank)}
    for at, touch in enumerate(b.flow.touches):
        if touch.node != product.index or touch.kind != "scale" or touch.on is None:
            continue
        missing = rank - len(touch.shape)
        varying = [i for i, n in enumerate(touch.shape) if n > 1]
        contracted = tuple(i for i in varying if i + missing in dims)
        if not contracted or (contracted == tuple(varying) and shares(Weight(touch.parts))):
            continue
        signal = next(i for i in product.inputs if isinstance(b.state(i), Signal))
        beside = b.tape.values[signal].shape
        pad = rank - len(beside)
        fresh = [i for i in varying if i + missing < pad or beside[i + missing - pad] == 1]
        output = tuple(i for i in fresh if i not in contracted)
        batch = tuple(i for i in varying if i not in contracted and i not in output)
        kept = [d for d in range(rank) if d not in dims]
        keep = len(b.tape.values[node.outputs[0]].shape) == rank
        place = {d: d if keep else kept.index(d) for d in kept}
        size = touch.shape
        roles = Roles(
            contracted,
            output,
            batch,
            float(math.prod(size[i] for i in contracted)),
            float(math.prod(size[i] for i in output)),
            {place[i + missing]: i for i in (*output, *batch)},
        )
        del b.flow.touches[at]
        site = site_of(b, node, "matmul", Weight(touch.parts), size, roles)
        b.root(node.outputs[0], "weight", [Link(touch.on.root, touch.on.layout, signal)], node, site)
        return


def _is_state(node: Node, state: State, value: Value) -> bool:
    """Whether a constant is the zero first state of a recurrence, which a gate multiplies."""
    zero = isinstance(state, Const) and state.fill == 0.0 and not state.sampled
    return zero and node.op in ("mul", "mul_") and math.prod(value.shape) > 1


def _touch(op: str) -> str:
    name = op.rstrip("_")
    if name in ("mul", "div", "true_divide", "multiply"):
        return "scale"
    if name in PLACING:
        return "token"
    return "shift" if name in ("add", "sub", "rsub") else "other"
