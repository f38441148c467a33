"""Operations that contract weights with a signal."""

from __future__ import annotations

import math
from dataclasses import replace

from goodinit.graph import contractions
from goodinit.graph.carrying import COPIES, FACTORIES, Builder, lost, site_of, unique, value_of
from goodinit.graph.combining import simple
from goodinit.graph.contractions import Roles
from goodinit.graph.flow import Const, Link, Part, Signal, State, Touch, Weight
from goodinit.graph.joins import shares
from goodinit.graph.layout import Layout
from goodinit.graph.modulation import fitted, modulated
from goodinit.graph.tape import Node, Ref

__all__ = ["contraction", "convolution", "grouped", "trilinear"]


def contraction(b: Builder, node: Node) -> None:
    """A matrix product in any of its forms, with an addend or without."""
    left, right, one, other, result, addend = contractions.CONTRACTIONS[node.op]
    _product(b, node, (node.args[left], node.args[right]), (one, other), result)
    if addend is not None:
        _added(b, node, node.args[addend])


def grouped(b: Builder, node: Node) -> None:
    """A product of each group of rows with its own matrix, as in a mixture of experts."""
    shapes = [b.tape.values[value_of(node.args[i])].shape for i in (0, 1)]
    letters = ("gnk" if len(shapes[0]) == 3 else "nk", "gkm" if len(shapes[1]) == 3 else "km")
    result = "nm" if len(b.tape.values[node.outputs[0]].shape) == 2 else "gnm"
    _product(b, node, (node.args[0], node.args[1]), letters, result)


def convolution(b: Builder, node: Node) -> None:
    """A convolution, transposed or not."""
    named = contractions.named_arguments(node)
    kind = "conv_transpose" if named["transposed"] else "convolution"
    kernel, signal = named["weight"], named["input"]
    if isinstance(b.state(kernel.value), Weight):
        _weighted(b, node, kind, kernel, signal, contractions.convolution_roles(node, b.tape))
    elif (touch := modulated(b, kernel.value)) is not None:
        roles = contractions.convolution_roles(node, b.tape)
        _weighted_by(b, node, kind, touch, (kernel.value, signal.value), roles)
    elif isinstance(b.state(kernel.value), Signal) and not isinstance(b.state(signal.value), Const):
        links = [b.link(signal.value, "left"), b.link(kernel.value, "right")]
        b.root(node.outputs[0], "interaction", links, node)
        b.flow.roots[node.outputs[0]].sums = contractions.convolution_roles(node, b.tape).fan_in
    else:
        simple(b, node, "move")
    _added(b, node, named.get("bias"))


def _product(
    b: Builder, node: Node, operands: tuple[Ref, Ref], letters: tuple[str, str], result: str
) -> None:
    states = [b.state(operand.value) for operand in operands]
    made_of_weights = [isinstance(state, Weight) for state in states]
    if all(made_of_weights):
        # In complex numbers it is a filter that is made, as state-space models do, not a layer.
        filters = b.tape.values[node.outputs[0]].dtype.is_complex
        signal = None if filters else _signal_of_two(b, node, operands[0].value, operands[1].value)
        if signal is None:
            parts = [
                part
                for at, state in enumerate(states)
                for part in _factors(b, state, node, letters[at], letters[1 - at], result)
            ]
            b.put(node.outputs[0], Weight(tuple(parts)))
            b.rest(node, 1)
            return
        made_of_weights[signal] = False
    if any(made_of_weights):
        at = made_of_weights.index(True)
        shape = b.tape.values[operands[at].value].shape
        roles = contractions.matrix_roles(letters[at], letters[1 - at], result, shape)
        _weighted(b, node, "matmul", operands[at], operands[1 - at], roles)
    elif all(isinstance(state, Signal) for state in states):
        for at, operand in enumerate(operands):
            touch = modulated(b, operand.value)
            if touch is not None:
                shape = b.tape.values[operand.value].shape
                roles = contractions.matrix_roles(letters[at], letters[1 - at], result, shape)
                _weighted_by(b, node, "matmul", touch, (operand.value, operands[1 - at].value), roles)
                return
        links = [b.link(operands[0].value, "left"), b.link(operands[1].value, "right")]
        b.root(node.outputs[0], "interaction", links, node)
        shape = b.tape.values[operands[0].value].shape
        b.flow.roots[node.outputs[0]].sums = contractions.matrix_roles(*letters, result, shape).fan_in
        b.rest(node, 1)
    else:
        simple(b, node, "move")


def _factors(b: Builder, state: State, node: Node, own: str, other: str, result: str) -> list[Part]:
    """The parts of one of two weights whose product is a weight again, as in a low-rank update."""
    assert isinstance(state, Weight)
    parts = []
    sizes = b.tape.values[node.outputs[0]].shape
    for part in state.parts:
        layout = part.layout
        bare = Part(part.leaf, None, (*part.through, node.op), None, part.role)
        if layout is None or part.role or len(own) != 2 or len(result) != 2:
            parts.append(bare)
            continue
        summed = next(i for i, letter in enumerate(own) if letter in other)
        towards = next(i for i, letter in enumerate(result) if letter not in own)
        dims = tuple(
            layout.dims[own.index(letter)] if letter in own else ((size, 0),)
            for letter, size in zip(result, sizes, strict=True)
        )
        # What was summed over before lies towards the dimension that stays, or that this product sums over.
        inner = tuple(
            (towards if at == summed else result.index(own[at]), factors) for at, factors in part.inner
        )
        if any(step for _, step in layout.dims[summed]):
            inner = (*inner, (towards, layout.dims[summed]))
        parts.append(replace(bare, layout=Layout(layout.offset, dims), inner=inner))
    return parts


def _weighted(b: Builder, node: Node, kind: str, weight: Ref, signal: Ref, roles: Roles) -> None:
    state, other = b.state(weight.value), b.state(signal.value)
    assert isinstance(state, Weight)
    shape = b.tape.values[weight.value].shape
    if isinstance(other, Const) and not other.sampled and not _presented(b, node, state, signal.value):
        # Weights times a constant: a zero first state, or the power iteration of a spectral norm.
        site_of(b, node, kind, state, shape, roles, provisional=True)
        b.put(node.outputs[0], Weight(lost(state, node.op)))
    elif shares(state) and [i for i, n in enumerate(shape) if n > 1] == [
        i for i in roles.contracted if shape[i] > 1
    ]:
        # A mean of several signals with learned shares, and no layer.
        link = b.link(signal.value)
        b.root(node.outputs[0], "reduce", [link], node)
        b.flow.touches.append(Touch(node.index, "scale", state.parts, shape, link))
    else:
        link = b.link(signal.value)
        site = site_of(b, node, kind, state, shape, roles)
        b.root(node.outputs[0], "weight", [link], node, site)
    b.rest(node, 1)


def _weighted_by(
    b: Builder, node: Node, kind: str, touch: Touch, operands: tuple[int, int], roles: Roles
) -> None:
    """A contraction whose weight is a parameter that another signal scales first."""
    b.flow.touches = [other for other in b.flow.touches if other is not touch]
    kernel, signal = operands
    shape = b.tape.values[kernel].shape
    scaler = b.tape.nodes[touch.node].op.rstrip("_")
    parts = tuple(fitted(part, b.tape, shape, scaler) for part in touch.parts)
    site = site_of(b, node, kind, Weight(parts), shape, roles)
    links = [b.link(signal), b.link(kernel, "modulation")]
    b.root(node.outputs[0], "weight", links, node, site)
    b.rest(node, 1)


def _presented(b: Builder, node: Node, weight: Weight, constant: int) -> bool:
    """Whether a constant is presented to a module's own weights as data is: positions, noise, coordinates.

    It is where the constant was computed on the way, or handed over by another module; a buffer
    beside the weight, such as a basis or the vectors of a power iteration, is part of the weight.
    """
    values = b.tape.values
    if any(b.flow.owners.get(values[part.leaf].name) != node.module for part in weight.parts):
        return False
    while True:
        state, maker = b.state(constant), b.tape.producer(constant)
        if isinstance(state, Const) and state.fill is not None:
            return False
        if maker is None:
            return b.flow.buffers.get(values[constant].original, node.module) != node.module
        if maker.module != node.module:
            return True
        if not (maker.view or maker.op in COPIES) or not maker.inputs:
            return bool(maker.op not in FACTORIES)
        constant = maker.inputs[0]


def _signal_of_two(b: Builder, node: Node, left: int, right: int) -> int | None:
    """Which of two operands made of weights is the signal: one that the running module does not own."""

    def foreign(index: int) -> bool:
        state = b.state(index)
        assert isinstance(state, Weight)
        names = [b.tape.values[part.leaf].name for part in state.parts]
        return all(b.flow.owners.get(name) != node.module for name in names)

    def repeated(index: int) -> bool:
        state = b.state(index)
        assert isinstance(state, Weight)
        shape = b.tape.values[index].shape
        layouts = [part.layout for part in state.parts if part.layout is not None and not part.inner]
        return len(shape) > 1 and any(
            layout.distinct < math.prod(shape) or len([s for s in shape if s > 1]) < 2 for layout in layouts
        )

    for test in (foreign, repeated):
        found = test(left), test(right)
        if found[0] != found[1]:
            return 0 if found[0] else 1
    return None


def _added(b: Builder, node: Node, addend: Ref | None) -> None:
    """An addend inside a contraction: a bias, or another signal."""
    if not isinstance(addend, Ref):
        return
    state, target = b.state(addend.value), node.outputs[0]
    main = b.state(target)
    if isinstance(state, Weight) and isinstance(main, Weight):
        extra = [Part(p.leaf, None, p.through, None, "shift") for p in state.parts]
        b.put(target, Weight(unique([*main.parts, *extra])))
    elif isinstance(state, Weight):
        link = Link(main.root, main.layout, target) if isinstance(main, Signal) else None
        shape = b.tape.values[addend.value].shape
        b.flow.touches.append(Touch(node.index, "shift", state.parts, shape, link))
    elif isinstance(state, Signal) and target in b.flow.roots:
        # Two signals meet inside one operation, so the root is their sum; the site stays its first link.
        b.flow.roots[target].links.append(b.link(addend.value, "addend"))


def trilinear(b: Builder, node: Node) -> None:
    """The product of a bilinear layer: two signals and a weight between them."""
    roles = contractions.trilinear_roles(node, b.tape)
    refs = [argument for argument in node.args[:3] if isinstance(argument, Ref)]
    state = b.state(refs[1].value)
    if not isinstance(state, Weight):
        simple(b, node, "move")
        return
    links = [b.link(refs[0].value, "left"), b.link(refs[2].value, "right")]
    site = site_of(b, node, "bilinear", state, b.tape.values[refs[1].value].shape, roles)
    b.root(node.outputs[0], "weight", links, node, site)
