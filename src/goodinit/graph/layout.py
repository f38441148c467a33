"""Which elements of a parameter, or of a layer's output, a view of it holds: arithmetic on sizes and strides.

Elements are addressed by their row-major index in the tensor that a value was cut
from (its root). A dimension of a view is a list of factors (size, step): most have
one; a dimension that merges two others, or repeats one, has more, or a step of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "Span", "broadcast", "composed", "permuted", "regrouped", "span_along", "whole"]

Factor = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """The indices of one dimension that a block holds: `repeats` runs of `length`, `period` apart.

    >>> Span(4, 2, repeats=3, period=6).size
    6
    """

    start: int
    length: int
    repeats: int = 1
    period: int = 0

    @property
    def size(self) -> int:
        """How many indices the span holds."""
        return self.length * self.repeats

    @property
    def stop(self) -> int:
        """One past the last index."""
        return self.start + (self.repeats - 1) * self.period + self.length

    def indices(self) -> list[int]:
        """Return the indices in order."""
        return [
            self.start + run * self.period + step
            for run in range(self.repeats)
            for step in range(self.length)
        ]

    def runs(self) -> list[tuple[int, int]]:
        """Return the runs of consecutive indices, each as (first, one past the last)."""
        starts = (self.start + run * self.period for run in range(self.repeats))
        return [(start, start + self.length) for start in starts]

    def contains(self, other: Span) -> bool:
        """Return whether every index of the other span is in this one."""
        if self.repeats == 1:
            return self.start <= other.start and other.stop <= self.start + self.length
        for start, stop in other.runs():
            # The last of this span's runs that begins at or before it reaches farthest.
            run = min((start - self.start) // self.period, self.repeats - 1)
            if not (run >= 0 and stop <= self.start + run * self.period + self.length):
                return False
        return True


@dataclass(frozen=True)
class Layout:
    """The root's row-major index of a view's first element, and the factors of each dimension."""

    offset: int
    dims: tuple[tuple[Factor, ...], ...]

    @property
    def empty(self) -> bool:
        """Whether the view holds nothing."""
        return any(size == 0 for dim in self.dims for size, _ in dim)

    @property
    def distinct(self) -> int:
        """How many different elements of the root the view holds."""
        return math.prod(size for dim in self.dims for size, step in dim if step)


def whole(shape: Sequence[int]) -> Layout:
    """Return the layout of a tensor as a view of itself.

    >>> whole((2, 3)).dims
    (((2, 3),), ((3, 1),))
    """
    dims: list[tuple[Factor, ...]] = []
    step = 1
    for size in reversed(shape):
        dims.append(_merged([(size, step)]))
        step *= size
    return Layout(0, tuple(reversed(dims)))


def _merged(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    out: list[Factor] = []
    for size, step in factors:
        if size == 1:
            continue
        if out and out[-1][1] == size * step:
            out[-1] = (out[-1][0] * size, step)
        else:
            out.append((size, step))
    return tuple(out)


def regrouped(
    layout: Layout,
    old: tuple[Sequence[int], Sequence[int], int],
    new: tuple[Sequence[int], Sequence[int], int],
) -> Layout | None:
    """Return the layout of another view of the same memory, or None where it has no such form.

    Args:
        layout: the layout of the known view.
        old: its sizes, strides and storage offset in elements.
        new: those of the other view.
    """
    places: list[tuple[int, int, int]] = []  # size, stride in memory, step in the root
    for size, stride, dim in zip(old[0], old[1], layout.dims, strict=True):
        inner = stride
        if stride == 0 or size == 1:
            continue
        for count, step in reversed(dim):
            places.append((count, inner, step))
            inner *= count
    places.sort(key=lambda place: place[1])
    # A slice may run across dimensions that follow each other in the root.
    found = _regrouped(layout.offset, places, new, new[2] - old[2])
    return _regrouped(layout.offset, _in_line(places), new, new[2] - old[2]) if found is None else found


def _regrouped(
    offset: int,
    places: list[tuple[int, int, int]],
    new: tuple[Sequence[int], Sequence[int], int],
    rest: int,
) -> Layout | None:
    if rest < 0:
        return None
    last = [0] * len(places)  # the last index along each place, where nothing may carry over to the next
    for at in reversed(range(len(places))):
        _, stride, step = places[at]
        last[at] = rest // stride
        offset += last[at] * step
        rest %= stride
    if rest:
        return None
    dims = []
    for size, stride in zip(new[0], new[1], strict=True):
        split = _split(size, stride, places, last)
        if split is None:
            return None
        dims.append(split)
    if any(index >= count > 0 for index, (count, _, _) in zip(last, places, strict=True)):
        return None
    return Layout(offset, tuple(dims))


def _in_line(places: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join places that follow each other both in memory and in the root."""
    merged: list[tuple[int, int, int]] = []
    for count, inner, step in places:
        if merged and (inner, step) == (merged[-1][0] * merged[-1][1], merged[-1][0] * merged[-1][2]):
            merged[-1] = (merged[-1][0] * count, *merged[-1][1:])
        else:
            merged.append((count, inner, step))
    return merged


def _split(
    size: int, stride: int, places: list[tuple[int, int, int]], last: list[int]
) -> tuple[Factor, ...] | None:
    if size == 1:
        return ()
    if size == 0:
        return ((0, 1),)
    if stride == 0:
        return ((size, 0),)
    factors: list[Factor] = []
    at = max((i for i, place in enumerate(places) if place[1] <= stride), default=None)
    while size > 1:
        if at is None or at >= len(places):
            return None
        count, inner, step = places[at]
        if stride % inner or not count:  # of an empty tensor nothing can be told
            return None
        jump = stride // inner
        if (size - 1) * jump < count:
            factors.append((size, jump * step))
            last[at] += (size - 1) * jump
            break
        if count % jump or size % (count // jump):
            return None
        if count // jump > 1:
            factors.append((count // jump, jump * step))
            last[at] += (count // jump - 1) * jump
        size //= count // jump
        stride = inner * count
        at += 1
        if at < len(places) and places[at][1] != stride:
            return None
    return _merged(list(reversed(factors)))


def composed(outer: Layout, shape: Sequence[int], inner: Layout) -> Layout | None:
    """Return what `inner`, a view of a tensor of that shape, holds of the root that `outer` describes.

    Args:
        outer: the layout of the tensor itself.
        shape: its sizes.
        inner: the layout of a view of it; its dimensions come out one factor each.
    """
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    factors = [factor for dim in inner.dims for factor in dim]
    new = ([size for size, _ in factors], [move for _, move in factors], inner.offset)
    return regrouped(outer, (shape, strides[::-1], 0), new)


def permuted(layout: Layout, order: Sequence[int]) -> Layout:
    """Return the layout with its dimensions in another order."""
    return Layout(layout.offset, tuple(layout.dims[i] for i in order))


def broadcast(layout: Layout, old: Sequence[int], new: Sequence[int]) -> Layout:
    """Return the layout after broadcasting from one shape to another."""
    missing = len(new) - len(old)
    dims: list[tuple[Factor, ...]] = [((size, 0),) if size > 1 else () for size in new[:missing]]
    for before, after, dim in zip(old, new[missing:], layout.dims, strict=True):
        dims.append(dim if before == after else ((after, 0),))
    return Layout(layout.offset, tuple(dims))


def span_along(layout: Layout, shape: Sequence[int], dim: int) -> Span:
    """Return the indices along one dimension of the root that a view holds.

    Args:
        layout: the view.
        shape: the root's sizes.
        dim: the dimension of the root.
    """
    unit = math.prod(shape[dim + 1 :])
    period = unit * shape[dim]
    start = (layout.offset % period) // unit if period else 0
    moves: list[Factor] = []
    for size, step in (factor for factors in layout.dims for factor in factors):
        step = abs(step)
        if step == 0 or size == 1:
            continue
        if step < unit:
            # A factor that merges this dimension with inner ones moves along it from `unit` on.
            inner = unit // step if unit % step == 0 else 0
            if inner and size > inner and size % inner == 0:
                size, step = size // inner, unit
            else:
                continue
        if step >= period:
            continue
        moves.append((min(size, period // step), step // unit))
    moves.sort(key=lambda move: move[1])
    length, runs = 1, [(1, 0)]
    for size, step in moves:
        if step <= length and len(runs) == 1:
            length = (size - 1) * step + length
        else:
            runs.append((size, step))
    if len(runs) == 1:
        return Span(start, length)
    if len(runs) == 2:
        return Span(start, length, runs[1][0], runs[1][1])
    # Runs of runs: keep the outermost box, which holds them all.
    return Span(start, length + sum((size - 1) * step for size, step in runs[1:]))
