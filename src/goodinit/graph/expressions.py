"""Elementwise code as a function of one variable, by replaying the operations that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from goodinit.graph.flow import Const, Flow, Link, Signal
from goodinit.graph.tape import Node, Ref

__all__ = ["Elementwise", "chained", "elementwise", "replayed"]

# Irrational steps keep the compared points off the usual kinks.
_LOOK = torch.linspace(-4.0, 4.0, 57, dtype=torch.float64) + 0.01 * torch.sin(
    torch.arange(57, dtype=torch.float64)
)
# Two ways of writing one function differ by rounding; different functions differ by far more.
_TOLERANCE = 1e-9
_PRELU_START = 0.25  # torch's and He et al. 2015's start
_TRANSPARENT = {"native_dropout", "_fused_dropout"}


@dataclass(frozen=True)
class Elementwise:
    """A function of one variable that a model applies to every element.

    `name` is a name that `goodinit.theory.activation` knows where the function is one
    of those, else the operations it is made of. Calling it takes and gives a float64
    tensor. Two are equal where their names and values at fixed points are.
    """

    name: str
    known: bool
    function: Callable[[Tensor], Tensor] = field(repr=False, compare=False)
    fingerprint: tuple[float, ...] = field(repr=False, default=())

    @property
    def linear(self) -> bool:
        """Whether the function is a multiple of its argument."""
        return self.name.endswith("·x")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function's values at x."""
        with torch.no_grad():
            return self.function(x.to(torch.float64))


def elementwise(flow: Flow, links: Sequence[Link]) -> Elementwise | None:
    """Return the function along a chain of links, first link first; None for the identity.

    Learned scales and shifts, masks, dropout and constant tensors are left out.
    """
    program: list[tuple[Node, ...]] = []
    steps = []
    for link in links:
        nodes = tuple(node for node in flow.between(link.value, link.root) if node.pointwise)
        if nodes:
            program.append(nodes)
            steps.append((nodes, link))
    if not steps:
        return None
    key = tuple((tuple(node.index for node in nodes), link.value) for nodes, link in steps)
    cache = cast("dict[Any, Elementwise | None]", flow.functions)
    if key not in cache:
        functions = [replayed(flow, nodes, link) for nodes, link in steps]
        cache[key] = _named(flow, functions, [node for nodes, _ in steps for node in nodes])
    return cache[key]


def chained(functions: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """Return the composition, the first function applied first."""

    def composed(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return composed


def replayed(flow: Flow, nodes: Sequence[Node], link: Link) -> Callable[[Tensor], Tensor]:
    """Compile the operations between a root and a value into a function that holds no tensor."""
    states, tape = flow.states, flow.tape
    holes: dict[int, int] = {}  # value -> where its number is kept

    def place(index: int) -> int | None:
        """The nearest value that the replay computes, through views and copies."""
        while index != link.root and index not in holes:
            node = tape.producer(index)
            if node is None or not node.inputs:
                return None
            inside = [i for i in node.inputs if _in(states[i], link.root)]
            if not inside:
                return None
            index = inside[-1]
        return 0 if index == link.root else holes[index]

    steps: list[tuple[Any, Any, Any, int, int]] = []
    for node in nodes:
        found: dict[int, Any] = {}
        for index in node.inputs:
            state = states[index]
            if _in(state, link.root):
                found[index] = ("slot", place(index))
            elif isinstance(state, Const) and state.fill is not None:
                found[index] = ("fill", state.fill)
        signals = [entry[1] for entry in found.values() if entry[0] == "slot"]
        if not signals:
            continue
        target = len(steps) + 1
        opaque = any(index not in found for index in node.inputs) and node.op != "copy_"
        if node.op == "_prelu_kernel":
            steps.append((_prelu, (Ref(node.inputs[0]),), {}, 0, signals[0]))
            found = {node.inputs[0]: ("slot", signals[0])}
        elif node.op.startswith("rrelu_with_noise"):
            mean = (node.args[2] + node.args[3]) / 2 if len(node.args) > 3 else (1 / 8 + 1 / 3) / 2
            steps.append((torch.nn.functional.leaky_relu, (Ref(node.inputs[0]), mean), {}, 0, signals[0]))
        elif node.op == "_to_copy":
            steps.append((_cast, (Ref(node.inputs[0]), node.kwargs.get("dtype")), {}, 0, signals[0]))
        elif node.op in ("clone", "alias", "copy_", "lift_fresh", *_TRANSPARENT) or opaque:
            steps.append((None, (), {}, 0, signals[-1] if node.op == "copy_" else signals[0]))
        else:
            steps.append((node.func, node.args, node.kwargs, _slot(flow, node, link.root), signals[0]))
        operation, args, kwargs, slot, passed = steps[-1]
        resolved = tuple(_resolved(a, found) for a in args)
        named = {k: _resolved(v, found) for k, v in kwargs.items() if k not in ("memory_format", "out")}
        steps[-1] = (operation, resolved, named, slot, passed)
        for index in node.outputs:
            holes[index] = target
    last = place(link.value)

    def function(x: Tensor) -> Tensor:
        slots: list[Any] = [x]
        for func, args, kwargs, slot, passed in steps:
            if func is None:
                slots.append(slots[passed])
                continue
            result = func(
                *(_filled(a, slots, x) for a in args), **{k: _filled(v, slots, x) for k, v in kwargs.items()}
            )
            slots.append(result[slot] if isinstance(result, tuple | list) else result)
        out: Tensor = slots[last or 0]
        return out.to(torch.float64) if out.dtype != torch.float64 else out

    return function


def _in(state: Any, root: int) -> bool:
    return isinstance(state, Signal) and state.root == root


def _slot(flow: Flow, node: Node, root: int) -> int:
    for index in node.outputs:
        if _in(flow.states[index], root):
            return flow.tape.values[index].slot
    return 0


def _resolved(argument: Any, found: dict[int, Any]) -> Any:
    if isinstance(argument, Ref):
        return _Hole(*found[argument.value])
    if isinstance(argument, list | tuple):
        return type(argument)(_resolved(item, found) for item in argument)
    return argument


@dataclass(frozen=True)
class _Hole:
    kind: str
    what: Any


def _filled(argument: Any, slots: list[Any], x: Tensor) -> Any:
    if isinstance(argument, _Hole):
        if argument.kind == "slot":
            # A clone, since the recorded operation may write in place.
            return slots[argument.what].clone()
        return torch.full_like(x, argument.what)
    if isinstance(argument, list | tuple):
        return type(argument)(_filled(item, slots, x) for item in argument)
    return argument


def _prelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, _PRELU_START * x)


def _cast(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    # Rounding to the model's precision is no part of the function.
    if dtype is None or dtype.is_complex or (dtype.is_floating_point and x.dtype == torch.float64):
        return x
    return x.to(torch.float64 if dtype.is_floating_point else dtype)


def _named(
    flow: Flow, functions: Sequence[Callable[[Tensor], Tensor]], nodes: Sequence[Node]
) -> Elementwise | None:
    function = functions[0] if len(functions) == 1 else chained(functions)
    label = " ∘ ".join(node.op.rstrip("_") for node in reversed(nodes) if not _silent(node))
    try:
        with torch.no_grad():
            values = function(_LOOK)
        if values.shape != _LOOK.shape:
            values = values.expand(_LOOK.shape)
    except Exception:  # recorded code that cannot be replayed on its own
        return Elementwise(label or "unknown", False, functions[0])
    if _same(values, _LOOK):
        return None
    known = _match(values, nodes)
    print_ = tuple(round(float(v), 9) for v in values)
    if known is not None:
        return Elementwise(known, True, function, print_)
    ratio = values / _LOOK
    if float((ratio - ratio[0]).abs().max()) < _TOLERANCE:
        return Elementwise(f"{float(ratio[0]):.6g}·x", False, function, print_)
    return Elementwise(label, False, function, print_)


def _silent(node: Node) -> bool:
    return node.op in ("clone", "_to_copy", "alias", "copy_", "lift_fresh", *_TRANSPARENT)


def _same(one: Tensor, other: Tensor) -> bool:
    both = torch.isfinite(one) == torch.isfinite(other)
    return bool(both.all()) and bool(
        torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
    )


# Parameters of torch's kernels, in the order of their arguments, as `theory` spells them.
_PARAMETERS = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "hardtanh": ("min_val", "max_val"),
    "softplus": ("beta", "threshold"),
    "hardshrink": ("lambd",),
    "softshrink": ("lambd",),
    "threshold": ("threshold", "value"),
}


def _match(values: Tensor, nodes: Sequence[Node]) -> str | None:
    """Return the name under which `theory` knows a function with these values."""
    from goodinit.theory import activation
    from goodinit.theory.named import NAMED

    loud = [node for node in nodes if not _silent(node)]
    name = loud[0].op.rstrip("_") if len(loud) == 1 else ""
    candidates = [n for n in (name, *NAMED) if n in NAMED and n not in ("dropout", "identity", "rrelu")]
    if name in _PARAMETERS:
        numbers = [float(a) for a in loud[0].args[1:] if isinstance(a, int | float)]
        pairs = zip(_PARAMETERS[name], numbers, strict=False)
        candidates.insert(0, f"{name}({', '.join(f'{k}={v!r}' for k, v in pairs)})")
    if candidates[0] not in NAMED and _same(_reference(candidates[0], activation), values):
        return str(activation(candidates[0]).name)
    plain = [candidate for candidate in dict.fromkeys(candidates) if candidate in NAMED]
    stacked = torch.stack([_reference(candidate, activation) for candidate in plain])
    for at in torch.isclose(stacked, values, rtol=_TOLERANCE, atol=_TOLERANCE).all(-1).nonzero().flatten():
        return str(activation(plain[int(at)]).name)
    return _leaky(values)


def _leaky(values: Tensor) -> str | None:
    negative, positive = _LOOK < 0, _LOOK > 0
    slopes = values[negative] / _LOOK[negative]
    straight = _same(values[positive], _LOOK[positive])
    if straight and float((slopes - slopes[0]).abs().max()) < _TOLERANCE:
        return f"leaky_relu(negative_slope={round(float(slopes[0]), 9)!r})"
    return None


_references: dict[str, Tensor] = {}


def _reference(name: str, activation: Callable[[str], Any]) -> Tensor:
    if name not in _references:
        with torch.no_grad():
            _references[name] = activation(name)(_LOOK.clone())
    return _references[name]
