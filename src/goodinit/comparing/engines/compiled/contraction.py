"""Sums of products: every matrix product and convolution is one loop nest with other strides."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from goodinit.comparing.engines.compiled.loops import merged, nest
from goodinit.comparing.engines.compiled.pointwise import copy
from goodinit.comparing.engines.compiled.program import Program, Value
from goodinit.comparing.engines.step import NotStackable

__all__ = ["contract", "convolution", "convolution_backward", "matmul"]

#: Sums that are kept in registers at once, along each factor's own dimension: 16 of the 32 of AVX-512.
TILE = 4


@dataclass(frozen=True)
class _Axis:
    """A loop: its size and the strides of the output (0 in a sum) and of the two factors."""

    size: int
    out: int
    left: int
    right: int


def contract(
    program: Program,
    out: Value,
    left: Value,
    right: Value,
    kept: Sequence[_Axis],
    summed: Sequence[_Axis],
    *,
    add: bool = False,
) -> None:
    """Write out[kept] (+)= Σ over summed of left · right."""
    kept, summed = _merged(kept), _merged(summed)
    rows = [axis for axis in kept if not axis.right]
    columns = [axis for axis in kept if not axis.left and axis not in rows]
    row = rows[-1] if rows else _Axis(1, 0, 0, 0)
    column = columns[-1] if columns else _Axis(1, 0, 0, 0)
    outer = [axis for axis in kept if axis is not row and axis is not column]
    bodies = [
        _tile(out, left, right, outer, row, column, i, j, summed, add)
        for i, j in itertools.product(_cuts(row.size), _cuts(column.size))
    ]
    program.do(
        nest([axis.size for axis in outer], "".join(bodies), "o"),
        (left, right, *((out,) if add else ())),
        (out,),
    )


def _merged(axes: Sequence[_Axis]) -> list[_Axis]:
    sizes, strides = merged(
        [axis.size for axis in axes],
        [[getattr(axis, name) for axis in axes] for name in ("out", "left", "right")],
    )
    return [_Axis(size, *(step[at] for step in strides)) for at, size in enumerate(sizes)]


def _cuts(size: int) -> list[tuple[int, int, int]]:
    """Return (start, stop, tile) of a dimension's whole tiles and of the rest."""
    whole = size // TILE * TILE
    return [cut for cut in ((0, whole, TILE), (whole, size, size - whole)) if cut[1] > cut[0]]


def _tile(
    out: Value,
    left: Value,
    right: Value,
    outer: Sequence[_Axis],
    row: _Axis,
    column: _Axis,
    i: tuple[int, int, int],
    j: tuple[int, int, int],
    summed: Sequence[_Axis],
    add: bool,
) -> str:
    def at(value: Value, name: str) -> str:
        terms = [value.start]
        terms += [
            f"o{index}*{getattr(axis, name)}" for index, axis in enumerate(outer) if getattr(axis, name)
        ]
        terms += [f"p*{getattr(row, name)}"] * bool(getattr(row, name))
        terms += [f"q*{getattr(column, name)}"] * bool(getattr(column, name))
        return "+".join(terms)

    def inner(name: str) -> str:
        terms = [
            f"s{index}*{getattr(axis, name)}" for index, axis in enumerate(summed) if getattr(axis, name)
        ]
        return "+".join(terms) or "0"

    place = f"c+u*{row.out}+v*{column.out}"
    load = f"*({place})" if add else "V{}"
    sums = nest(
        [axis.size for axis in summed],
        f"V x[{i[2]}],y[{j[2]}];"
        f"U for(int u=0;u<{i[2]};u++)x[u]=a[{inner('left')}+u*{row.left}];"
        f"U for(int v=0;v<{j[2]};v++)y[v]=b[{inner('right')}+v*{column.right}];"
        f"U for(int u=0;u<{i[2]};u++)U for(int v=0;v<{j[2]};v++)z[u][v]+=x[u]*y[v];",
        "s",
    )
    return (
        f"for(int p={i[0]};p<{i[1]};p+={i[2]})for(int q={j[0]};q<{j[1]};q+={j[2]}){{"
        f"const V*a={at(left, 'left')};const V*b={at(right, 'right')};V*c={at(out, 'out')};"
        f"V z[{i[2]}][{j[2]}];"
        f"U for(int u=0;u<{i[2]};u++)U for(int v=0;v<{j[2]};v++)z[u][v]={load};"
        f"{sums}"
        f"U for(int u=0;u<{i[2]};u++)U for(int v=0;v<{j[2]};v++)*({place})=z[u][v];}}\n"
    )


def matmul(program: Program, left: Value, right: Value) -> Value:
    """Return left @ right, of matrices or of batches of them."""
    batch = left.shape[:-2]
    n, k, m = left.shape[-2], left.shape[-1], right.shape[-1]
    out = program.new((*batch, n, m), "f")
    kept = [
        _Axis(size, out.strides[at], left.strides[at], right.strides[at]) for at, size in enumerate(batch)
    ]
    kept += [_Axis(n, m, left.strides[-2], 0), _Axis(m, 1, 0, right.strides[-1])]
    contract(program, out, left, right, kept, [_Axis(k, 0, left.strides[-1], right.strides[-2])])
    return out


@dataclass(frozen=True)
class _Windows:
    """Settings of a convolution, one number for each spatial dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def _windows(dimensions: int, arguments: Sequence[object]) -> _Windows:
    stride, padding, dilation, transposed, _, groups = arguments
    if transposed:
        raise NotStackable("it has a transposed convolution")

    def each(given: object) -> tuple[int, ...]:
        assert isinstance(given, Sequence)
        return tuple(given) * (dimensions if len(given) == 1 else 1)

    assert isinstance(groups, int)
    return _Windows(each(stride), each(padding), each(dilation), groups)


def padded(program: Program, value: Value, padding: Sequence[int], fill: float = 0.0) -> Value:
    """Return a value whose last dimensions have a margin on both sides."""
    if not any(padding):
        return value
    lead = len(value.shape) - len(padding)
    shape = [
        *value.shape[:lead],
        *(size + 2 * pad for size, pad in zip(value.shape[lead:], padding, strict=True)),
    ]
    out = program.new(shape, value.kind)
    copy(program, out, program.constant(torch.tensor(fill)).expanded(shape))
    copy(program, inside(out, padding), value)
    return out


def inside(value: Value, padding: Sequence[int]) -> Value:
    """Return the view without the margin."""
    layout = value.layout
    for at, pad in enumerate(reversed(padding), 1):
        layout = layout.narrow(-at, pad, layout.shape[-at] - 2 * pad)
    return value.viewed(layout)


def _patches(x: Value, windows: _Windows) -> tuple[list[int], list[int]]:
    """Return the strides of a padded input along the output's and along the kernel's spatial dimensions."""
    spatial = x.strides[2:]
    return (
        [stride * step for stride, step in zip(spatial, windows.stride, strict=True)],
        [stride * step for stride, step in zip(spatial, windows.dilation, strict=True)],
    )


def convolution(program: Program, arguments: Sequence[object], shape: Sequence[int]) -> Value:
    """Return a convolution of any number of spatial dimensions, with groups, without bias."""
    x, weight = arguments[0], arguments[1]
    assert isinstance(x, Value)
    assert isinstance(weight, Value)
    windows = _windows(len(shape) - 2, arguments[3:])
    x = padded(program, x, windows.padding)
    out = program.new(shape, "f")
    steps, taps = _patches(x, windows)
    each_in, each_out = weight.shape[1], shape[1] // windows.groups
    kept = [
        _Axis(shape[0], out.strides[0], x.strides[0], 0),
        _Axis(
            windows.groups, out.strides[1] * each_out, x.strides[1] * each_in, weight.strides[0] * each_out
        ),
        _Axis(each_out, out.strides[1], 0, weight.strides[0]),
        *(_Axis(size, out.strides[2 + at], steps[at], 0) for at, size in enumerate(shape[2:])),
    ]
    summed = [
        _Axis(each_in, 0, x.strides[1], weight.strides[1]),
        *(_Axis(size, 0, taps[at], weight.strides[2 + at]) for at, size in enumerate(weight.shape[2:])),
    ]
    contract(program, out, x, weight, kept, summed)
    return out


def convolution_backward(program: Program, arguments: Sequence[object]) -> list[Value | None]:
    """Return the gradients of a convolution's input, weight and bias; None where none is asked for."""
    from goodinit.comparing.engines.compiled.pointwise import reduce

    gradient, x, weight = arguments[:3]
    assert isinstance(gradient, Value)
    assert isinstance(x, Value)
    assert isinstance(weight, Value)
    windows = _windows(len(x.shape) - 2, arguments[4:-1])
    wanted = arguments[-1]
    assert isinstance(wanted, Sequence)
    found: list[Value | None] = [None, None, None]
    each_in, each_out, groups = weight.shape[1], weight.shape[0] // windows.groups, windows.groups
    spatial = gradient.shape[2:]
    if wanted[0]:
        wide = [size + 2 * pad for size, pad in zip(x.shape[2:], windows.padding, strict=True)]
        out = program.new((*x.shape[:2], *wide), "f")
        copy(program, out, program.constant(torch.zeros(())).expanded(out.shape))
        steps, _ = _patches(out, windows)
        for tap in itertools.product(*(range(size) for size in weight.shape[2:])):
            corner: list[Any] = [...]
            corner += [slice(at * step, None) for at, step in zip(tap, windows.dilation, strict=True)]
            here: list[Any] = [..., *tap]
            into = out.viewed(out.layout[tuple(corner)])
            part = weight.viewed(weight.layout[tuple(here)])
            kept = [
                _Axis(gradient.shape[0], out.strides[0], gradient.strides[0], 0),
                _Axis(
                    groups,
                    out.strides[1] * each_in,
                    gradient.strides[1] * each_out,
                    part.strides[0] * each_out,
                ),
                _Axis(each_in, out.strides[1], 0, part.strides[1]),
                *(_Axis(size, steps[at], gradient.strides[2 + at], 0) for at, size in enumerate(spatial)),
            ]
            summed = [_Axis(each_out, 0, gradient.strides[1], part.strides[0])]
            contract(program, into, gradient, part, kept, summed, add=True)
        found[0] = inside(out, windows.padding)
    if wanted[1]:
        x = padded(program, x, windows.padding)
        out = program.new(weight.shape, "f")
        steps, taps = _patches(x, windows)
        kept = [
            _Axis(groups, out.strides[0] * each_out, gradient.strides[1] * each_out, x.strides[1] * each_in),
            _Axis(each_out, out.strides[0], gradient.strides[1], 0),
            _Axis(each_in, out.strides[1], 0, x.strides[1]),
            *(_Axis(size, out.strides[2 + at], 0, taps[at]) for at, size in enumerate(weight.shape[2:])),
        ]
        summed = [
            _Axis(gradient.shape[0], 0, gradient.strides[0], x.strides[0]),
            *(_Axis(size, 0, gradient.strides[2 + at], steps[at]) for at, size in enumerate(spatial)),
        ]
        contract(program, out, gradient, x, kept, summed)
        found[1] = out
    if wanted[2]:
        found[2] = reduce(program, "sum", gradient, [0, *range(2, len(gradient.shape))], False)
    return found
