"""Operations that move elements: by index, side by side, out of windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from goodinit.comparing.engines.compiled.loops import address, nest
from goodinit.comparing.engines.compiled.pointwise import VECTOR, copy, elementwise, reduce
from goodinit.comparing.engines.compiled.program import Program, Value
from goodinit.comparing.engines.step import NotStackable

__all__ = [
    "concatenate",
    "flip",
    "gather",
    "max_pool",
    "max_pool_backward",
    "mean_pool",
    "mean_pool_backward",
    "put",
    "scatter",
    "take",
]


def concatenate(program: Program, values: Sequence[Value], dim: int) -> Value:
    """Return values side by side."""
    values = [value for value in values if value.shape != (0,)]
    rank = len(values[0].shape)
    shape = list(values[0].shape)
    shape[dim % rank] = sum(value.shape[dim] for value in values)
    out, start = program.new(shape, values[0].kind), 0
    for value in values:
        copy(program, out.viewed(out.layout.narrow(dim, start, value.shape[dim])), value)
        start += value.shape[dim]
    return out


def flip(program: Program, value: Value, dims: Sequence[int]) -> Value:
    """Return a value with dimensions reversed."""
    out = program.new(value.shape, value.kind)
    rank = len(value.shape)
    back = {dim % rank for dim in dims}
    offset = sum((value.shape[dim] - 1) * value.strides[dim] for dim in back)
    strides = [-step if dim in back else step for dim, step in enumerate(value.strides)]
    body = f"*({address(out.start, out.strides)})=*({address(f'{value.start}+{offset}', strides)});"
    program.do(nest(value.shape, body), (value,), (out,))
    return out


def _lanes(body: str) -> str:
    return f"for(int l=0;l<W;l++){{{body}}}"


def gather(program: Program, value: Value, dim: int, index: Value) -> Value:
    """Return out[… i …] = value[… index[… i …] …]: each member has its own index."""
    out = program.new(index.shape, value.kind)
    dim %= len(value.shape)
    steps = [0 if at == dim else step for at, step in enumerate(value.strides)]
    body = (
        f"N k=*({address(index.start, index.strides)});"
        f"const {VECTOR[value.kind]}*a={address(value.start, steps)};"
        f"{VECTOR[value.kind]}&c=*({address(out.start, out.strides)});"
        + _lanes(f"c[l]=a[k[l]*{value.strides[dim]}][l];")
    )
    program.do(nest(index.shape, body), (value, index), (out,))
    return out


def scatter(
    program: Program, value: Value, dim: int, index: Value, source: Value | float, *, add: bool = False
) -> Value:
    """Return a copy of value with out[… index[… i …] …] (+)= source[… i …]."""
    out = program.new(value.shape, value.kind)
    copy(program, out, value)
    dim %= len(value.shape)
    steps = [0 if at == dim else step for at, step in enumerate(out.strides)]
    reads: tuple[Value, ...]
    if isinstance(source, Value):
        load, reads = (
            f"{VECTOR[source.kind]} x=*({address(source.start, source.strides)});",
            (index, source, out),
        )
        element = "x[l]"
    else:
        load, reads, element = "", (index, out), repr(source)
    body = (
        f"N k=*({address(index.start, index.strides)});{load}"
        f"{VECTOR[out.kind]}*c={address(out.start, steps)};"
        + _lanes(f"c[k[l]*{out.strides[dim]}][l]{'+' if add else ''}={element};")
    )
    program.do(nest(index.shape, body), reads, (out,))
    return out


def _single(indices: Sequence[Value | None]) -> tuple[int, Value]:
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1 or given[0][1].kind != "i":
        raise NotStackable("it indexes with several tensors, or with a mask")
    return given[0]


def take(program: Program, value: Value, indices: Sequence[Value | None]) -> Value:
    """Return value[:, …, index, …] for one index of any shape."""
    dim, index = _single(indices)
    lead, rest = value.shape[:dim], value.shape[dim + 1 :]
    out = program.new((*lead, *index.shape, *rest), value.kind)
    inner = range(dim, dim + len(index.shape))
    steps = [*value.strides[:dim], *(0 for _ in inner), *value.strides[dim + 1 :]]
    places = [index.strides[at - dim] if at in inner else 0 for at in range(len(out.shape))]
    body = (
        f"N k=*({address(index.start, places)});const {VECTOR[value.kind]}*a={address(value.start, steps)};"
        f"{VECTOR[value.kind]}&c=*({address(out.start, out.strides)});"
        + _lanes(f"c[l]=a[lane_index(k[l],{value.shape[dim]})*{value.strides[dim]}][l];")
    )
    program.do(nest(out.shape, body), (value, index), (out,))
    return out


def put(program: Program, value: Value, indices: Sequence[Value | None], source: Value, add: bool) -> Value:
    """Return a copy of value with out[:, …, index, …] (+)= source."""
    dim, index = _single(indices)
    out = program.new(value.shape, value.kind)
    copy(program, out, value)
    shape = (*value.shape[:dim], *index.shape, *value.shape[dim + 1 :])
    source = source.expanded(shape)
    inner = range(dim, dim + len(index.shape))
    steps = [*out.strides[:dim], *(0 for _ in inner), *out.strides[dim + 1 :]]
    places = [index.strides[at - dim] if at in inner else 0 for at in range(len(shape))]
    body = (
        f"N k=*({address(index.start, places)});{VECTOR[out.kind]}*c={address(out.start, steps)};"
        f"{VECTOR[source.kind]} x=*({address(source.start, source.strides)});"
        + _lanes(f"c[lane_index(k[l],{value.shape[dim]})*{out.strides[dim]}][l]{'+' if add else ''}=x[l];")
    )
    program.do(nest(shape, body), (index, source, out), (out,))
    return out


def _twice(numbers: object) -> tuple[int, int]:
    given = tuple(numbers) if isinstance(numbers, Sequence) else (numbers,)
    return (given[0], given[-1])


def max_pool(program: Program, arguments: Sequence[object], shape: Sequence[int]) -> tuple[Value, Value]:
    """Return the maxima of 2-dimensional windows, and where they are."""
    x, size, stride, padding, dilation, ceil = (*arguments, *[None] * 6)[:6]
    assert isinstance(x, Value)
    height, width = _twice(size)
    down, right = _twice(stride or size)
    pads, gaps = _twice(padding or 0), _twice(dilation or 1)
    if ceil:
        raise NotStackable("it pools with ceil_mode")
    lead = len(x.shape) - 2
    wide = padded_lowest(program, x, pads)
    out, where = program.new(shape, "f"), program.new(shape, "i")
    rows, columns = wide.strides[-2:]
    y, z = f"i{lead}", f"i{lead + 1}"
    start = address(wide.start, [*wide.strides[:-2], rows * down, columns * right])
    taps = "".join(
        f"{{V x=a[{j * gaps[0] * rows + k * gaps[1] * columns}];N up=(x>m)|(x!=x);m=up?x:m;"
        f"w=up?(N{{}}+(({y}*{down}+{j * gaps[0] - pads[0]})*{x.shape[-1]}"
        f"+{z}*{right}+{k * gaps[1] - pads[1]})):w;}}"
        for j, k in itertools.product(range(height), range(width))
    )
    body = (
        f"const V*a={start};V m=splat(-INFINITY);N w=N{{}};{taps}"
        f"*({address(out.start, out.strides)})=m;*({address(where.start, where.strides)})=w;"
    )
    program.do(nest(shape, body), (wide,), (out, where))
    return out, where


def padded_lowest(program: Program, value: Value, padding: Sequence[int]) -> Value:
    """Return a value with a margin that no maximum chooses."""
    from goodinit.comparing.engines.compiled.contraction import padded

    return padded(program, value, padding, -torch.inf)


def max_pool_backward(program: Program, gradient: Value, x: Value, where: Value) -> Value:
    """Return the gradient of `max_pool`'s input: each output's goes where its maximum was."""
    flat = program.new((*x.shape[:-2], x.shape[-2] * x.shape[-1]), "f")
    copy(program, flat, program.constant(torch.zeros(())).expanded(flat.shape))
    steps = [*flat.strides[:-1], 0, 0]
    body = (
        f"N k=*({address(where.start, where.strides)});V x=*({address(gradient.start, gradient.strides)});"
        f"V*c={address(flat.start, steps)};" + _lanes("c[k[l]][l]+=x[l];")
    )
    program.do(nest(gradient.shape, body), (gradient, where, flat), (flat,))
    return flat.viewed(flat.layout.view(x.shape))


def _mean_windows(arguments: Sequence[object]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    size, stride, padding, ceil, include, divisor = (*arguments, *[None] * 6)[:6]
    pads = _twice(padding or 0)
    if ceil or divisor or (include is False and any(pads)):
        raise NotStackable(
            "it takes means of windows with ceil_mode, divisor_override or count_include_pad=False"
        )
    return _twice(size), _twice(stride or size), pads


def mean_pool(program: Program, arguments: Sequence[object], shape: Sequence[int]) -> Value:
    """Return the means of 2-dimensional windows."""
    from goodinit.comparing.engines.compiled.contraction import padded

    x = arguments[0]
    assert isinstance(x, Value)
    size, stride, pads = _mean_windows(arguments[1:])
    x = padded(program, x, pads)
    layout = x.layout.unfold(-2, size[0], stride[0]).unfold(-2, size[1], stride[1])
    return reduce(program, "mean", x.viewed(layout), [-2, -1], False)


def mean_pool_backward(program: Program, arguments: Sequence[object]) -> Value:
    """Return the gradient of `mean_pool`'s input."""
    from goodinit.comparing.engines.compiled.contraction import inside

    gradient, x = arguments[:2]
    assert isinstance(gradient, Value)
    assert isinstance(x, Value)
    size, stride, pads = _mean_windows(arguments[2:])
    shape = (*x.shape[:-2], x.shape[-2] + 2 * pads[0], x.shape[-1] + 2 * pads[1])
    out = program.new(shape, "f")
    copy(program, out, program.constant(torch.zeros(())).expanded(shape))
    share = elementwise(program, "mul", [gradient, 1 / (size[0] * size[1])], "f", gradient.shape)
    windows = out.layout.unfold(-2, size[0], stride[0]).unfold(-2, size[1], stride[1])
    for row, column in itertools.product(range(size[0]), range(size[1])):
        part = out.viewed(windows[..., row, column])
        copy(program, part, elementwise(program, "add", [part, share], "f", gradient.shape))
    return inside(out, pads)
