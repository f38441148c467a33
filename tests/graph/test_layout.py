"""Layouts against index tensors that went through the same views."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodinit.graph import Span
from goodinit.graph.blocks import joined, partition
from goodinit.graph.layout import Layout, composed, regrouped, span_along, whole

SHAPE = (4, 6, 5)


def elements(layout: Layout) -> list[int]:
    """All elements that a layout holds, in order."""
    found = torch.tensor([layout.offset])
    for dim in layout.dims:
        for size, step in dim:
            found = (found[:, None] + step * torch.arange(size)).flatten()
    return found.tolist()


def described(tensor: torch.Tensor) -> tuple[list[int], list[int], int]:
    return list(tensor.shape), list(tensor.stride()), tensor.storage_offset()


@st.composite
def views(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> list[torch.Tensor]:
    """A chain of views of one index tensor."""
    chain = [torch.arange(math.prod(shape)).view(shape)]
    for _ in range(draw(st.integers(0, 4))):
        x = chain[-1]
        kind = draw(st.sampled_from(["slice", "select", "permute", "split", "merge", "unsqueeze", "expand"]))
        dim = draw(st.integers(0, x.dim() - 1)) if x.dim() else 0
        if kind == "slice" and x.dim():
            start = draw(st.integers(0, x.shape[dim] - 1))
            stop = draw(st.integers(start + 1, x.shape[dim]))
            x = x[(slice(None),) * dim + (slice(start, stop, draw(st.integers(1, 2))),)]
        elif kind == "select" and x.dim() > 1:
            x = x.select(dim, draw(st.integers(0, x.shape[dim] - 1)))
        elif kind == "permute":
            x = x.permute(draw(st.permutations(range(x.dim()))))
        elif kind == "split" and x.dim() and x.shape[dim] % 2 == 0:
            x = x.unflatten(dim, (2, x.shape[dim] // 2))
        elif kind == "merge" and x.dim() > 1 and x.is_contiguous():
            x = x.flatten(0, 1)
        elif kind == "unsqueeze":
            x = x.unsqueeze(dim)
        elif kind == "expand":
            x = x.unsqueeze(0).expand(3, *x.shape)
        chain.append(x)
    return chain


def followed(chain: list[torch.Tensor]) -> Layout | None:
    """The layout of the last view, step by step."""
    layout: Layout | None = whole(tuple(chain[0].shape))
    for before, after in itertools.pairwise(chain):
        if layout is not None:
            layout = regrouped(layout, described(before), described(after))
    return layout


@given(views())
def test_a_layout_holds_the_elements_of_the_view(chain: list[torch.Tensor]) -> None:
    layout = followed(chain)
    assert layout is not None
    assert elements(layout) == chain[-1].flatten().tolist()


@given(st.data())
def test_layouts_compose_through_a_copy(data: st.DataObject) -> None:
    first = data.draw(views())
    copy = first[-1].contiguous()
    second = data.draw(views(tuple(copy.shape)))
    outer, inner = followed(first), followed(second)
    assert outer is not None
    assert inner is not None
    both = composed(outer, tuple(copy.shape), inner)
    truth = copy.flatten()[second[-1].flatten()].tolist()
    # Views that cut across merged dimensions have no such form, and must say so.
    assert both is None or elements(both) == truth
    if len(first) == 1:
        assert both is not None


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 6, 1), (3, 50, 1), (3, 50, 2)])
def test_a_slice_may_run_across_dimensions_that_were_merged(start: int, stop: int, step: int) -> None:
    x = torch.arange(120).view(4, 6, 5)
    rows = x.flatten(0, 1)
    flat = rows.flatten(0, 1)
    outer, inner = followed([x]), followed([x, rows, flat, flat[start:stop:step]])
    assert outer is not None
    assert inner is not None
    both = composed(outer, (4, 6, 5), inner)
    assert both is not None
    assert elements(both) == list(range(start, stop, step))


def test_a_slice_that_starts_inside_a_row_carries_over_to_none() -> None:
    x = torch.arange(120).view(4, 6, 5)[..., :4]  # with gaps between the rows
    copy = x.contiguous()
    gaps = followed([torch.arange(120).view(4, 6, 5), x])
    rows = copy.flatten(0, 1)
    flat = rows.flatten(0, 1)
    assert gaps is not None
    for start, whole_rows in ((0, True), (1, True), (3, False)):
        part = flat[start : start + 47 : 2]
        inner = followed([copy, rows, flat, part])
        assert inner is not None
        both = composed(gaps, (4, 6, 4), inner)
        if whole_rows:
            assert both is not None
            assert elements(both) == x.flatten()[start : start + 47 : 2].tolist()
        else:
            assert both is None


@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 2), st.sampled_from([0, 1, 2]))
def test_a_span_names_the_indices_along_a_dimension(start: int, length: int, other: int, dim: int) -> None:
    indices = torch.arange(4 * 6 * 5).view(SHAPE)
    part = indices.narrow(
        dim, min(start, SHAPE[dim] - 1), min(length, SHAPE[dim] - min(start, SHAPE[dim] - 1))
    )
    layout = regrouped(whole(SHAPE), described(indices), described(part))
    assert layout is not None
    units = [30, 5, 1]
    truth = sorted({int(i) // units[dim] % SHAPE[dim] for i in part.flatten()})
    assert span_along(layout, SHAPE, dim).indices() == truth


def test_interleaved_heads_are_runs_with_a_period() -> None:
    heads = torch.arange(3 * 12).view(3, 12)
    part = heads.view(3, 2, 6)[:, :, 2:4]
    layout = regrouped(whole((3, 12)), described(heads), described(part))
    assert layout is not None
    assert span_along(layout, (3, 12), 1) == Span(2, 2, 2, 6)
    assert span_along(layout, (3, 12), 0) == Span(0, 3)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_a_partition_covers_every_index_once(lengths: list[int]) -> None:
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    spans = [Span(a, n) for a, n in zip(starts, lengths, strict=True)]
    size = sum(lengths)
    assert partition(spans, size) == spans
    blocks = partition(spans[:-1], size) if len(spans) > 2 else partition(spans, size)
    assert sorted(i for block in blocks for i in block.indices()) == list(range(size))


def test_overlapping_reads_are_no_blocks() -> None:
    assert partition([Span(0, 4), Span(2, 4)], 6) == [Span(0, 6)]
    assert partition([Span(0, 6), Span(0, 3), Span(3, 3)], 6) == [Span(0, 6)]


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), st.integers(2, 4), st.integers(0, 3))
def test_joined_spans_hold_the_indices_of_both(start: int, a: int, b: int, repeats: int, gap: int) -> None:
    period = a + b + gap
    one, two = Span(start, a, repeats, period), Span(start + a, b, repeats, period)
    union = joined(one, two)
    assert union is not None
    assert union.indices() == sorted(one.indices() + two.indices())
