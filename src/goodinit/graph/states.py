"""How large a recurrent layer's state is: its steps, what feeds it, and which steps are read."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.layout import span_along
from goodinit.graph.tape import Node
from goodinit.theory import RecurrentStates, recurrent_states

__all__ = ["Leaf", "Unit", "layer_states", "recurrent_kind", "state_moment", "step_moments"]

Array = NDArray[np.float64]

#: Second moment of a signal that is drawn, by its kind (see `Source`) and its parameters; or a setting
#: of the recurrent layer with these parameters: ``"forget_bias"``, ``"horizon"`` (at most 2 for none),
#: or ``"kept"``: whether all of them stay as they are; or ``"low"`` and ``"high"``: between
#: which numbers a bias or a gain starts, NaN for what is none.
Leaf = Callable[[str, tuple[str, ...]], float]


@dataclass(frozen=True)
class Unit:
    """A leaf under which every weight puts out 1, apart from some, biases are 0 and gains 1.

    Attributes:
        own: the parameters that put out `moment`.
        moment: the second moment.
        shares: the second moments to which some roots are brought: branches of residual streams.
    """

    own: frozenset[str] = frozenset()
    moment: float = 1.0
    shares: Mapping[int, float] = field(default_factory=dict, compare=False)

    def __call__(self, kind: str, names: tuple[str, ...]) -> float:
        """Return the second moment of what begins a signal; nothing stays as it is."""
        if kind in ("low", "high"):
            return math.nan
        if kind in ("kept", "horizon"):
            return 0.0
        return 1.0 if self.own.isdisjoint(names) else self.moment


_KINDS = ("LSTM", "GRU", "RNN")
# Farther back than this no other recurrent layer is looked for.
_MOST_ROOTS = 40
# Sequences on which kept weights are run: many units each, so a few percent.
_SAMPLES = 32


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
    kept = _held_moments(flow, node, at, leaf) if leaf("kept", root.names) > 0 else None
    if kept is not None and isinstance(module, nn.RNNCellBase):
        return kept[-1:] if _place(flow, node) == len(kept) else kept.mean(keepdims=True), None
    if kept is not None and at:
        return kept, 0
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
    moments = np.diagonal(_both(node, found[-1])) if kept is None else kept
    packed, rank = _packed(flow, node), len(flow.tape.values[root.value].shape)
    return (moments, _time(node, rank)) if packed is None else (moments.mean(keepdims=True), None)


def _held_moments(flow: Flow, node: Node, at: int, leaf: Leaf) -> Array | None:
    """Second moments of a result of a module whose weights stay as they are; None where it has no numbers.

    They are by steps, or by layers for its last states.
    """
    made = _held_run(flow, node, leaf)
    if made is None:
        return None
    moments: Array = made[at].double().square().mean((1, 2)).numpy()
    return moments


def _held_run(flow: Flow, node: Node, leaf: Leaf) -> list[Tensor] | None:
    """What such a module puts out for drawn sequences, the first dimension steps or layers."""
    module, key = node.extra, ("held states", id(node.extra), leaf)
    if any(parameter.device.type == "meta" for parameter in module.parameters()):
        return None
    if key not in flow.functions:
        shape = max(_steps(flow, node), 1), _SAMPLES, module.input_size
        signal = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        below = _below(flow, node)
        if below is not None:
            root = flow.roots[below.outputs[0]]
            fed = _held_run(flow, below, leaf) if leaf("kept", root.names) > 0 else None
            if fed is not None and fed[0].shape == shape:
                signal = fed[0]
            else:
                signal = signal * float(step_moments(flow, root, leaf)[0].mean()) ** 0.5
        with torch.no_grad():
            flow.functions[key] = _ran(copy.deepcopy(module).cpu().float().eval(), signal)
    found = flow.functions[key]
    assert isinstance(found, list)
    return found


def _ran(module: nn.Module, signal: Tensor) -> list[Tensor]:
    """A recurrent module's results in the order of its outputs."""
    if isinstance(module, nn.RNNCellBase):
        state, steps = None, []
        for step in signal:
            state = module(step, state)
            steps.append(state if isinstance(state, tuple) else (state,))
        return [torch.stack(rows) for rows in zip(*steps, strict=True)]
    batched = getattr(module, "batch_first", False)
    out, last = module(signal.transpose(0, 1) if batched else signal)
    out = out.transpose(0, 1) if batched else out
    return [out, *(last if isinstance(last, tuple) else (last,))]


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
