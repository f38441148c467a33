"""From the graph of one member's step to a program."""

from __future__ import annotations

import copy as copying
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp

from goodinit.comparing.engines.compiled import moving
from goodinit.comparing.engines.compiled.contraction import convolution, convolution_backward, matmul
from goodinit.comparing.engines.compiled.pointwise import POINTWISE, copy, elementwise, reduce, variance
from goodinit.comparing.engines.compiled.program import Program, Value, kind_of
from goodinit.comparing.engines.step import NotStackable

__all__ = ["Lowered", "lower"]


@dataclass(frozen=True)
class Lowered:
    """A program, with the arrays through which it is fed.

    Attributes:
        program: what one step does.
        state: number of vectors of the state.
        scalars: arrays of the optimizer's numbers.
        data: arrays of the inputs, then that of the targets.
    """

    program: Program
    state: int
    scalars: tuple[int, ...]
    data: tuple[int, ...]


def lower(graph: GraphModule, inputs: Sequence[torch.Tensor], states: int, scalars: int) -> Lowered:
    """Turn a step's graph into a program.

    Args:
        graph: (*state, *scalars, *x, y) -> (*state, loss), without writes into tensors.
        inputs: an example of what it takes.
        states: how many of them are the state.
        scalars: how many of them are the optimizer's numbers.

    Raises:
        NotStackable: if an operation is unknown here.
    """
    graph = copying.deepcopy(graph)
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    # Nobody asks for the loss of a step.
    output.args = (list(output.args[0])[:states],)
    graph.graph.eliminate_dead_code()
    ShapeProp(graph).propagate(*inputs)
    program = Program(inputs[0].dtype)
    fed, size = [], 0
    for index, tensor in enumerate(inputs):
        kept = index < states
        value = program.new(
            tensor.shape, kind_of(tensor.dtype), place=f"S+{size}" if kept else "", reserved=not kept
        )
        size += tensor.numel() if kept else 0
        fed.append(value)
    env: dict[Node, Any] = {}
    names = iter(fed)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(names)
        elif node.op == "get_attr":
            env[node] = getattr(graph, node.target)
        elif node.op == "call_function":
            env[node] = _call(program, node, env)
    results = [env[node] if isinstance(node, Node) else node for node in output.args[0]]
    _store(program, fed[:states], results)
    arrays = tuple(value.array for value in fed[states:])
    return Lowered(program, size, arrays[:scalars], arrays[scalars:])


def _store(program: Program, state: Sequence[Value], results: Sequence[Any]) -> None:
    """Write the results over the state; first elsewhere, what is itself a view of the state."""
    places = {value.array for value in state}
    moves = []
    for into, result in zip(state, results, strict=True):
        value = _value(program, result)
        if value.array == into.array and value.strides == into.strides and value.start == into.start:
            continue
        if value.array in places:
            value = elementwise(program, "fill", [value, value], value.kind, value.shape)
        moves.append((into, value))
    for into, value in moves:
        copy(program, into, value.viewed(value.layout.reshape(into.shape)))


def _value(program: Program, thing: Any) -> Value:
    return program.constant(thing) if isinstance(thing, torch.Tensor) else thing


# What depends on its first argument's shape and type alone.
_LIKE = frozenset(
    {"full_like", "zeros_like", "ones_like", "empty_like", "new_full", "new_zeros", "new_ones", "new_empty"}
)
_SAME = frozenset(
    {"clone", "alias", "detach", "lift_fresh_copy", "contiguous", "_to_copy", "convert_element_type"}
)
_RESHAPES = frozenset({"view", "_unsafe_view", "reshape", "_reshape_copy", "view_copy"})
_SUMS = frozenset({"sum", "mean", "prod", "amax", "amin", "any", "all"})


def _call(program: Program, node: Node, env: dict[Node, Any]) -> Any:
    """Return what a node gives: a value, a tuple of them, or a tensor that all members have in common."""
    args: Any = torch.fx.map_arg(node.args, lambda each: env[each])
    kwargs: Any = torch.fx.map_arg(node.kwargs, lambda each: env[each])
    if node.target is operator.getitem:
        return args[0][args[1]]
    op: Any = node.target
    name = op._schema.name.split("::")[1]
    if name in _LIKE and isinstance(args[0], Value):
        meta = node.args[0].meta["tensor_meta"]  # type: ignore[union-attr]
        args = (torch.zeros(meta.shape, dtype=meta.dtype), *args[1:])
    if not _holds_value((args, kwargs)):
        return op(*args, **kwargs)
    args = list(args)
    for index, each in enumerate(args):
        if isinstance(each, torch.Tensor):
            args[index] = program.constant(each)
        elif isinstance(each, (list, tuple)):
            args[index] = [
                program.constant(part) if isinstance(part, torch.Tensor) else part for part in each
            ]
    meta = node.meta.get("tensor_meta")
    source = node.args[0].meta.get("tensor_meta") if isinstance(node.args[0], Node) else None
    return _lowered(program, op, name, args, kwargs, meta, source)


def _holds_value(thing: object) -> bool:
    if isinstance(thing, (list, tuple)):
        return any(_holds_value(part) for part in thing)
    if isinstance(thing, dict):
        return any(_holds_value(part) for part in thing.values())
    return isinstance(thing, Value)


def _lowered(
    program: Program, op: Any, name: str, args: list[Any], kwargs: dict[str, Any], meta: Any, source: Any
) -> Any:
    first = args[0]
    if name in _RESHAPES:
        return _reshaped(program, first, meta.shape)
    if name in _SAME:
        kind = kind_of(meta.dtype)
        if kind == first.kind:
            return first
        return elementwise(program, "fill", [first, first], kind, first.shape)
    if name == "copy":
        return elementwise(
            program, "fill", [first, args[1].expanded(first.shape)], kind_of(meta.dtype), first.shape
        )
    if name == "as_strided":
        whole = torch.empty(first.shape, device="meta")
        if source is None or tuple(source.stride) != whole.stride():
            raise NotStackable("its step takes strided views of what is not contiguous")
        if first.strides != whole.stride() or first.layout.storage_offset():
            first = elementwise(program, "fill", [first, first], first.kind, first.shape)
        return first.viewed(first.layout.as_strided(*args[1:], **kwargs))
    if _views(op):
        made = op(first.layout, *args[1:], **kwargs)
        return first.viewed(made) if isinstance(made, torch.Tensor) else tuple(map(first.viewed, made))
    if name in POINTWISE:
        if "rounding_mode" in kwargs or getattr(op, "_overloadname", "") == "Tensor_mode":
            raise NotStackable(f"{name} with a rounding mode")
        operands = (
            [*args, kwargs["alpha"]]
            if "alpha" in kwargs
            else [*args, kwargs["value"]]
            if "value" in kwargs
            else args
        )
        if name in ("clamp", "clamp_min", "clamp_max"):
            operands += (
                [kwargs.get(key) for key in ("min", "max")[len(args) - 1 :]] if name == "clamp" else []
            )
        return elementwise(program, name, operands, kind_of(meta.dtype), meta.shape)
    if name in _SUMS:
        if name == "sum" and first.kind != "f" and kind_of(meta.dtype) == "f":
            first = elementwise(program, "fill", [first, first], "f", first.shape)
        dims = args[1] if len(args) > 1 and args[1] is not None else list(range(len(first.shape)))
        dims = [dims] if isinstance(dims, int) else list(dims) or list(range(len(first.shape)))
        return reduce(
            program, name, first, dims, (len(args) > 2 and bool(args[2])) or bool(kwargs.get("keepdim"))
        )
    return _special(program, op, name, args, kwargs, meta)


def _dims(value: Value, asked: Any) -> list[int]:
    """Return the dimensions of a sum; none asked for are all."""
    dims = [asked] if isinstance(asked, int) else list(asked or ())
    return dims or list(range(len(value.shape)))


def _special(program: Program, op: Any, name: str, args: list[Any], kwargs: dict[str, Any], meta: Any) -> Any:
    """Operations that are neither views nor loops over elements."""
    first = args[0]
    if name in ("mm", "bmm"):
        return matmul(program, first, args[1])
    if name in ("var", "var_mean"):
        correction = kwargs.get("correction", 1)
        keep = bool(kwargs.get("keepdim"))
        found = variance(
            program,
            first,
            _dims(first, args[1] if len(args) > 1 else None),
            1 if correction is None else correction,
            keep,
        )
        return found if name == "var_mean" else found[0]
    if name == "linalg_vector_norm" and (len(args) < 2 or args[1] == 2):
        square = elementwise(program, "mul", [first, first], "f", first.shape)
        total = reduce(
            program,
            "sum",
            square,
            _dims(first, args[2] if len(args) > 2 else None),
            len(args) > 3 and bool(args[3]),
        )
        return elementwise(program, "sqrt", [total], "f", total.shape)
    if name == "avg_pool2d":
        return moving.mean_pool(program, args, meta.shape)
    if name == "avg_pool2d_backward":
        return moving.mean_pool_backward(program, args)
    if name == "dot":
        row = first.viewed(first.layout.unsqueeze(0))
        product = matmul(program, row, args[1].viewed(args[1].layout.unsqueeze(1)))
        return product.viewed(product.layout[0, 0])
    if name == "mv":
        product = matmul(program, first, args[1].viewed(args[1].layout.unsqueeze(1)))
        return product.viewed(product.layout[:, 0])
    if name == "convolution":
        out = convolution(program, args, meta.shape)
        if args[2] is None:
            return out
        bias = args[2].viewed(args[2].layout.reshape(-1, *(1 for _ in meta.shape[2:])))
        return elementwise(program, "add", [out, bias], "f", meta.shape)
    if name == "convolution_backward":
        return convolution_backward(program, args)
    if name == "max_pool2d_with_indices":
        return moving.max_pool(program, args, meta[0].shape)
    if name == "max_pool2d_with_indices_backward":
        return moving.max_pool_backward(program, first, args[1], args[-1])
    if name == "cat":
        return moving.concatenate(program, first, args[1] if len(args) > 1 else 0)
    if name == "flip":
        return moving.flip(program, first, args[1])
    if name == "gather":
        return moving.gather(program, first, args[1], args[2])
    if name in ("scatter", "scatter_add"):
        source = args[3] if len(args) > 3 else kwargs["value"]
        return moving.scatter(program, first, args[1], args[2], source, add=name == "scatter_add")
    if name in ("index", "_unsafe_index"):
        return moving.take(program, first, args[1])
    if name == "index_select":
        return moving.take(program, first, [*[None] * (args[1] % len(first.shape)), args[2]])
    if name in ("index_put", "_unsafe_index_put"):
        return moving.put(program, first, args[1], args[2], len(args) > 3 and bool(args[3]))
    if name in ("select_scatter", "slice_scatter"):
        out = elementwise(program, "fill", [first, first], first.kind, first.shape)
        view = torch.ops.aten.select if name == "select_scatter" else torch.ops.aten.slice
        part = out.viewed(view(out.layout, *args[2:], **kwargs))
        copy(program, part, args[1].expanded(part.shape))
        return out
    if name == "constant_pad_nd":
        return _padded(program, first, args[1], args[2] if len(args) > 2 else 0.0, meta.shape)
    raise NotStackable(f"its step has an operation, {name}, that no rule turns into C++")


def _padded(
    program: Program, value: Value, margins: Sequence[int], fill: float, shape: Sequence[int]
) -> Value:
    out = program.new(shape, value.kind)
    copy(program, out, program.constant(torch.tensor(float(fill))).expanded(shape))
    into = out.layout
    for at in range(len(margins) // 2):
        before = margins[2 * at]
        start, skip = max(before, 0), max(-before, 0)
        size = min(value.shape[-1 - at] - skip, shape[-1 - at] - start)
        into = into.narrow(-1 - at, start, size)
        value = value.viewed(value.layout.narrow(-1 - at, skip, size))
    copy(program, out.viewed(into), value)
    return out


def _views(op: Any) -> bool:
    """Say whether an operation returns its first argument's memory."""
    returned = op._schema.returns
    return bool(returned) and returned[0].alias_info is not None and not returned[0].alias_info.is_write


def _reshaped(program: Program, value: Value, shape: Sequence[int]) -> Value:
    try:
        return value.viewed(value.layout.view(tuple(shape)))
    except RuntimeError:
        whole = elementwise(program, "fill", [value, value], value.kind, value.shape)
        return whole.viewed(whole.layout.view(tuple(shape)))
