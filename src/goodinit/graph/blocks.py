"""The blocks into which a packed weight falls, from how its result is taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from goodinit.graph.flow import Link, Part, Site
from goodinit.graph.layout import Layout, Span, span_along

__all__ = ["LOOKUPS", "Block", "covered", "joined", "parameter_block", "parameter_dims", "partition"]

# Operations that pick rows of a table.
LOOKUPS = frozenset({"index", "index_select", "gather", "_unsafe_index"})

# More pieces than this are columns that happen to be read one by one, not blocks.
_MOST = 32

Block = Span | None


def covered(link: Link, shape: Sequence[int], dim: int) -> Span:
    """Return the features of a result that a link reads."""
    return span_along(link.layout, shape, dim)


def partition(spans: Sequence[Span], size: int) -> list[Span]:
    """Return disjoint blocks of `size` features from the spans that are read; one block where they overlap.

    >>> partition([Span(0, 4), Span(4, 8), Span(0, 2)], 12)
    [Span(start=0, length=4, repeats=1, period=0), Span(start=4, length=8, repeats=1, period=0)]
    """
    everything = [Span(0, size)]
    distinct = list(dict.fromkeys(spans))
    if not distinct or len(distinct) > 4 * _MOST or any(span.size >= size for span in distinct):
        return everything
    outer = [
        span
        for span in distinct
        if not any(other != span and other.size > span.size and other.contains(span) for other in distinct)
    ]
    if len(outer) < 2 or len(outer) > _MOST:
        return everything
    done = 0
    for start, stop in sorted(run for span in outer for run in span.runs()):
        if start < done:
            return everything
        if start > done:
            outer.append(Span(done, start - done))
        done = stop
    if done < size:
        outer.append(Span(done, size - done))
    return sorted(outer, key=lambda span: span.start) if len(outer) <= _MOST else everything


def joined(first: Span, second: Span) -> Span | None:
    """Return the union of two spans that follow each other, or None.

    >>> joined(Span(0, 2, 3, 4), Span(2, 2, 3, 4))
    Span(start=0, length=12, repeats=1, period=0)
    """
    if first.start > second.start:
        first, second = second, first
    if first.start + first.length != second.start or first.repeats != second.repeats:
        return None
    if first.repeats > 1 and first.period != second.period:
        return None
    length = first.length + second.length
    if first.repeats > 1 and length == first.period:
        return Span(first.start, length * first.repeats)
    return Span(first.start, length, first.repeats, first.period)


def parameter_block(
    part: Part, shape: Sequence[int], site: Site, dim: int | None, span: Span | None
) -> tuple[Span, ...] | None:
    """Return which indices of a parameter take part, dimension by dimension; None for all of them.

    Args:
        part: the parameter inside the operand.
        shape: the parameter's sizes.
        site: the operation.
        dim: the operand's dimension that `span` narrows, or None.
        span: a block of that dimension.
    """
    layout = part.layout
    if layout is None:
        return None
    if dim is not None and span is not None and span.size < site.shape[dim]:
        narrowed = _narrowed(layout, dim, span)
        if narrowed is not None:
            layout = narrowed
    spans = [span_along(layout, shape, d) for d in range(len(shape))]
    if LOOKUPS.intersection(part.through):
        # Which rows are picked depends on the example; all of them may be.
        spans[0] = Span(0, shape[0])
    if all(span.size == size for span, size in zip(spans, shape, strict=True)):
        return None
    return tuple(spans)


def _narrowed(layout: Layout, dim: int, span: Span) -> Layout | None:
    factors = layout.dims[dim]
    if len(factors) != 1:
        return None
    step = factors[0][1]
    new = ((span.repeats, span.period * step), (span.length, step))
    kept = tuple(factor for factor in new if factor[0] > 1)
    dims = (*layout.dims[:dim], kept, *layout.dims[dim + 1 :])
    return Layout(layout.offset + span.start * step, dims)


def parameter_dims(layout: Layout | None, shape: Sequence[int], dims: Iterable[int]) -> tuple[int, ...]:
    """Return the parameter's dimensions along which some dimensions of the operand move."""
    if layout is None:
        return ()
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    strides.reverse()
    found: set[int] = set()
    for dim in dims:
        for size, move in layout.dims[dim] if dim < len(layout.dims) else ():
            while size > 1 and move:
                at = next(i for i, s in enumerate(strides) if s <= move or i == len(strides) - 1)
                while shape[at] == 1 and at + 1 < len(shape):
                    at += 1
                found.add(at)
                room = max(shape[at] * strides[at] // move, 1)
                size, move = -(-size // room), strides[at] * shape[at]
                if at == 0:
                    break
    return tuple(sorted(found))
