"""The Triton kernel that writes boxes: Philox blocks to elements, elements to memory."""
# mypy: ignore-errors
# Triton compiles this text itself; its types are not Python's.

from __future__ import annotations

import triton
import triton.language as tl

from goodinit.rng.gpu_arithmetic import normal_pair, philox, truncated, uniform

__all__ = ["fill_box"]


@triton.jit
def integers(block, key, stream, double: tl.constexpr):
    """The random integers of each block: of its even elements and of its odd ones, both (n, 2)."""
    w0, w1, w2, w3 = philox(block, key, 0, stream)
    even, odd = tl.join(w0, w2), tl.join(w1, w3)
    if double:
        w0, w1, w2, w3 = philox(block, key, 1, stream)
        even = (even.to(tl.uint64) << 32) | tl.join(w0, w2)
        odd = (odd.to(tl.uint64) << 32) | tl.join(w1, w3)
    return even, odd


@triton.jit
def in_order(even, odd):
    """(n, 2) and (n, 2) to (n, 4), alternating. A thread holds what it joins, so nothing moves."""
    return tl.reshape(tl.join(even, odd), (even.shape[0], 4))


@triton.jit
def values(
    block, key, stream, numbers, left_count, law: tl.constexpr, sides: tl.constexpr, pieces: tl.constexpr
):
    """The values of the four elements of each block, (n, 4)."""
    double: tl.constexpr = numbers.dtype.element_ty == tl.float64
    even, odd = integers(block, key, stream, double)
    if law == "normal":
        even, odd = normal_pair(even, odd, tl.load(numbers), tl.load(numbers + 1), double)
        value = in_order(even, odd)
    elif law == "uniform":
        low, span, high = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
        value = uniform(in_order(even, odd), low, span, high, double)
    else:
        value = truncated(in_order(even, odd), numbers, left_count, sides, pieces, double)
    return value


@triton.jit
def rounded(value, kind: tl.constexpr):
    """The value in the stored type, to nearest, ties to even."""
    if kind == tl.bfloat16:
        # In integers, for Triton's interpreter cuts off what does not fit.
        bits = value.to(tl.uint32, bitcast=True)
        value = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.uint16).to(kind, bitcast=True)
    return value.to(kind)


@triton.jit(do_not_specialize=["key", "stream", "start", "rows", "length", "stride", "per_row", "left_count"])
def fill_box(
    out,
    numbers,
    geometry,
    key: tl.uint64,
    stream: tl.uint32,
    start: tl.uint64,
    rows: tl.int64,
    length: tl.int64,
    stride: tl.int64,
    per_row: tl.int64,
    left_count: tl.uint64,
    law: tl.constexpr,
    sides: tl.constexpr,
    pieces: tl.constexpr,
    rank: tl.constexpr,
    short: tl.constexpr,
    aligned: tl.constexpr,
    blocks: tl.constexpr,
):
    """Write one tile of `blocks` Philox blocks of a box.

    A row is a run of `length` consecutive global indices, `stride` apart in memory. Its number is
    decomposed over the `rank` outer dimensions, innermost first, whose size, stride in memory and stride
    in the global tensor are in `geometry`; `start` is the first row's index. A tile is a part of one row,
    of `per_row` tiles, or where rows are `short` holds blocks of many rows, `per_row` of each. Where rows
    are `aligned`, they start at word 0 of a block and at a multiple of 16 elements, in which `geometry`
    then counts memory, and have stride 1.
    """
    kind: tl.constexpr = out.dtype.element_ty
    tile, lane = tl.program_id(0).to(tl.int64), tl.arange(0, blocks)
    item = tile * blocks + lane if short else tile
    row = item // per_row if rank else item * 0
    rest, place, index = row, row * 0, row.to(tl.uint64) * 0 + start
    for dim in tl.static_range(rank):
        size = tl.load(geometry + 3 * dim)
        local = rest % size
        rest = rest // size
        place += local * tl.load(geometry + 3 * dim + 1)
        index += (local * tl.load(geometry + 3 * dim + 2)).to(tl.uint64)
    # The first block of a tile, or where rows are short of every lane's own, in its row.
    first = (item - row * per_row) * (1 if short else blocks)
    block = (index >> 2) + first.to(tl.uint64) + (0 if short else lane.to(tl.uint64))
    value = values(block, key.to(tl.uint64), stream, numbers, left_count, law, sides, pieces)
    value = rounded(value, kind)

    word = tl.arange(0, 4)[None, :]
    if aligned:
        begin = 4 * first
        element = 4 * lane[:, None] + word
        to = out + 16 * place + begin + element
        # Without a mask the four elements of a block are one store.
        if begin + 4 * blocks <= length:
            tl.store(to, value)
        else:
            tl.store(to, value, mask=element < length - begin)
    else:
        begin = 4 * first - (index & 3).to(tl.int64)
        if short:
            element = begin[:, None] + word
            to = out + place[:, None] + element * stride
            tl.store(to, value, mask=(row < rows)[:, None] & (element >= 0) & (element < length))
        else:
            element = begin + 4 * lane[:, None] + word
            tl.store(out + place + element * stride, value, mask=(element >= 0) & (element < length))
