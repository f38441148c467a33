"""How large a recurrent layer's state is: its steps, what feeds it, and which steps are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.layout import span_along
from goodinit.graph.tape import Node
from goodinit.theory import RecurrentStates, recurrent_states

__all__ = ["Leaf", "layer_states", "recurrent_kind", "state_moment", "step_moments"]

Array = NDArray[np.float64]

#: Second moment of a signal that is drawn, by its kind (see `Source`) and its parameters; or a setting
#: of the recurrent layer with these parameters: ``"forget_bias"``, ``"horizon"`` (at most 2 for none).
Leaf = Callable[[str, tuple[str, ...]], float]

_KINDS = ("LSTM", "GRU", "RNN")
# Farther back than this no other recurrent layer is looked for.
_MOST_ROOTS = 40


def recurrent_kind(module: nn.Module) -> str:
    """Return ``"LSTM"``, ``"GRU"`` or ``"RNN"`` for a module of torch's, or a subclass of one."""
    names = [cls.__name__ for cls in type(module).__mro__]
    return next((kind for name in names for kind in _KINDS if name in (kind, f"{kind}Cell")), "RNN")


def layer_states(flow: Flow, node: Node, leaf: Leaf) -> list[RecurrentStates]:
    """Return the states of every layer of a recurrent module over the steps that it takes.

    A layer's input maps give its gates second moment 1. What the steps of its input have in common is
    known where another recurrent layer feeds it; else they are taken to be independent.

    Args:
        flow: the coarse graph.
        node: a call of an ``nn.RNNBase`` or ``nn.RNNCellBase``.
        leaf: asked for the settings of the gates.
    """
    module, names = node.extra, flow.roots[node.outputs[0]].names
    steps = max(_steps(flow, node), 1)
    biased = bool(getattr(module, "bias", True))
    horizon = leaf("horizon", names) if biased else 0.0
    below = _below(flow, node)
    inputs: Array | None = None
    if below is not None:
        fed = _both(below, layer_states(flow, below, leaf)[-1].hidden)
        inputs = _unit(fed) if len(fed) == steps else None
    found: list[RecurrentStates] = []
    for _ in range(int(getattr(module, "num_layers", 1))):
        states = recurrent_states(
            recurrent_kind(module),
            steps,
            forget_bias=leaf("forget_bias", names) if biased else 0.0,
            horizon=horizon if horizon > 2 else None,
            nonlinearity=str(getattr(module, "nonlinearity", "tanh")),
            inputs=inputs,
        )
        found.append(states)
        inputs = _unit(_both(node, states.hidden))
    return found


def state_moment(flow: Flow, link: Link, leaf: Leaf) -> float:
    """Return the second moment of what a link reads of a recurrent layer's state.

    Args:
        flow: the coarse graph.
        link: a link to a root of kind ``"recurrent"``.
        leaf: asked for the settings of the layer's gates.
    """
    moments, dim = step_moments(flow, flow.roots[link.root], leaf)
    if dim is not None and link.layout.dims:
        shape = flow.tape.values[link.root].shape
        read = span_along(link.layout, shape, dim).indices()
        moments = moments[read] if read else moments
    return float(moments.mean())


def step_moments(flow: Flow, root: Root, leaf: Leaf) -> tuple[Array, int | None]:
    """Return the second moments along one dimension of a recurrent module's result, and the dimension.

    That of the steps of what it puts out, or that of the layers of its last state; where there is no
    such dimension there is one number, and None.
    """
    assert root.node is not None
    node = flow.tape.nodes[root.node]
    module, at = node.extra, node.outputs.index(root.value)
    layers = layer_states(flow, node, leaf)
    cell = recurrent_kind(module) == "LSTM" and at == len(node.outputs) - 1
    found = [states.cell if cell else states.hidden for states in layers]
    if isinstance(module, nn.RNNCellBase):
        moments = np.diagonal(found[0])
        last = _place(flow, node) == len(moments)
        return moments[-1:] if last else moments.mean(keepdims=True), None
    if at:
        both = 2 if module.bidirectional else 1
        return np.repeat([states[-1, -1] for states in found], both), 0
    moments = np.diagonal(_both(node, found[-1]))
    packed, rank = _packed(flow, node), len(flow.tape.values[root.value].shape)
    return (moments, _time(node, rank)) if packed is None else (moments.mean(keepdims=True), None)


def _both(node: Node, covariance: Array) -> Array:
    """What both directions of a layer put out, half of the features each."""
    both = getattr(node.extra, "bidirectional", False)
    return (covariance + covariance[::-1, ::-1]) / 2 if both else covariance


def _unit(covariance: Array) -> Array:
    """The covariance of what an input map makes of a signal: of second moment 1."""
    return covariance / max(float(np.diagonal(covariance).mean()), 1e-30)


# -- steps


def _steps(flow: Flow, node: Node) -> int:
    """How many steps one call of a module takes, or all calls of a cell that follow each other."""
    if isinstance(node.extra, nn.RNNCellBase):
        calls = flow.functions.setdefault(("calls", id(node.extra)), {})
        assert isinstance(calls, dict)
        if not calls:
            for other in flow.tape.nodes:
                if other.op == "rnn" and other.extra is node.extra:
                    before = _before(flow, other)
                    calls[other.index] = 1 if before is None else calls.get(before, 0) + 1
        return int(max(calls.values()))
    packed = _packed(flow, node)
    shape = flow.tape.values[node.inputs[0]].shape
    return shape[_time(node, len(shape))] if packed is None else packed


def _place(flow: Flow, node: Node) -> int:
    """Which step of its cell a call is."""
    _steps(flow, node)
    calls = flow.functions["calls", id(node.extra)]
    assert isinstance(calls, dict)
    return int(calls[node.index])


def _before(flow: Flow, node: Node) -> int | None:
    """The call of the same cell that made the state which a call reads."""
    found = (flow.roots[link.root] for link in flow.roots[node.outputs[0]].links)
    made = [root.node for root in found if root.kind == "recurrent" and root.node is not None]
    return max((at for at in made if flow.tape.nodes[at].extra is node.extra), default=None)


def _below(flow: Flow, node: Node) -> Node | None:
    """The call of another recurrent module that feeds this one, if one does."""
    todo, seen = list(flow.roots[node.outputs[0]].links[:1]), 0
    while todo and seen < _MOST_ROOTS:
        seen += 1
        root = flow.roots[todo.pop().root]
        if root.kind != "recurrent":
            todo.extend(root.links)
        elif root.node is not None and flow.tape.nodes[root.node].extra is not node.extra:
            return flow.tape.nodes[root.node]
    return None


def _time(node: Node, rank: int) -> int:
    return 1 if rank == 3 and getattr(node.extra, "batch_first", False) else 0


def _packed(flow: Flow, node: Node) -> int | None:
    """How many steps a packed sequence has, None for a plain tensor."""
    given = [flow.tape.values[i] for i in node.inputs[:2]]
    counts = len(given) == 2 and len(given[1].shape) == 1 and not given[1].dtype.is_floating_point
    return given[1].shape[0] if counts else None
