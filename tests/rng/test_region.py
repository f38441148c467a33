"""Regions against plain NumPy indexing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.rng import Region


@st.composite
def regions(draw: st.DrawFn, smallest: int = 0, shape: tuple[int, ...] | None = None) -> Region:
    """Boxes in small tensors of 0 to 4 dimensions."""
    if shape is None:
        shape = tuple(draw(st.lists(st.integers(max(1, smallest), 6), max_size=4)))
    start, size = [], []
    for extent in shape:
        length = draw(st.integers(smallest, extent))
        size.append(length)
        start.append(draw(st.integers(0, extent - length)))
    return Region(shape, tuple(start), tuple(size))


def global_indices(region: Region) -> np.ndarray:
    """The specification: cut the box out of a tensor that holds its own indices."""
    everything = np.arange(math.prod(region.shape), dtype=np.uint64).reshape(region.shape)
    return everything[tuple(slice(a, a + n) for a, n in zip(region.start, region.size, strict=True))]


@given(regions(), st.data())
def test_indices_are_those_of_the_box_in_the_global_tensor(region: Region, data: st.DataObject) -> None:
    expected = global_indices(region).reshape(-1)
    low = data.draw(st.integers(0, region.numel))
    high = data.draw(st.integers(low, region.numel))
    np.testing.assert_array_equal(region.indices(), expected)
    np.testing.assert_array_equal(region.indices(low, high), expected[low:high])


@given(regions(smallest=1))
def test_runs_are_the_indices_in_order(region: Region) -> None:
    starts, length = region.runs()
    runs = (starts[:, None] + np.arange(length, dtype=np.uint64)).reshape(-1)
    np.testing.assert_array_equal(runs, global_indices(region).reshape(-1))


def test_a_whole_tensor_is_one_run() -> None:
    starts, length = Region.whole((3, 4, 5)).runs()
    assert starts.tolist() == [0]
    assert length == 60


@given(regions(), st.integers(1, 40))
def test_chunks_tile_the_box_and_stay_under_the_limit(region: Region, limit: int) -> None:
    local = np.zeros(region.size, np.int64)
    rebuilt = np.zeros(region.size, np.uint64)
    for index, part in region.chunks(limit):
        assert part.numel <= limit
        local[index] += 1
        rebuilt[index] = global_indices(part).reshape(rebuilt[index].shape)
    assert (local == 1).all()
    np.testing.assert_array_equal(rebuilt, global_indices(region))


@given(regions(smallest=1), st.data())
def test_narrow_cuts_like_a_slice(region: Region, data: st.DataObject) -> None:
    if not region.size:
        return
    dim = data.draw(st.integers(-len(region.size), len(region.size) - 1))
    start = data.draw(st.integers(0, region.size[dim]))
    length = data.draw(st.integers(0, region.size[dim] - start))
    expected = np.take(global_indices(region), range(start, start + length), axis=dim)
    np.testing.assert_array_equal(global_indices(region.narrow(dim, start, length)), expected)


@given(st.data())
def test_an_intersection_holds_what_both_hold(data: st.DataObject) -> None:
    first = data.draw(regions(smallest=1))
    second = data.draw(regions(smallest=1, shape=first.shape))
    shared = first.intersect(second)
    expected = np.intersect1d(global_indices(first), global_indices(second))
    if shared is None:
        assert expected.size == 0
    else:
        np.testing.assert_array_equal(global_indices(shared).reshape(-1), expected)
        np.testing.assert_array_equal(global_indices(first)[shared.slices_in(first)], global_indices(shared))


def test_indices_reach_the_end_of_64_bits() -> None:
    region = Region.whole((2**64,))
    assert region.indices(2**64 - 3, 2**64).tolist() == [2**64 - 3, 2**64 - 2, 2**64 - 1]
    corner = Region((2**32, 2**32), (2**32 - 1, 2**32 - 2), (1, 2))
    assert corner.indices().tolist() == [2**64 - 2, 2**64 - 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((4, 4), (0,), (4, 4)), "of one length"),
        (((4,), (2,), (3,)), "must lie inside"),
        (((4,), (-1,), (3,)), "must lie inside"),
        (((2**33, 2**32), (0, 0), (1, 1)), "at most"),
    ],
)
def test_an_impossible_region_is_refused(fields: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Region(*fields)


def test_operations_that_leave_the_region_are_refused() -> None:
    region = Region.whole((4, 5))
    with pytest.raises(ArgumentError, match="found start=3, length=2"):
        region.narrow(0, 3, 2)
    with pytest.raises(ArgumentError, match="dim must be"):
        region.narrow(2, 0, 1)
    with pytest.raises(ArgumentError, match="different global shapes"):
        region.intersect(Region.whole((5, 4)))
    with pytest.raises(ArgumentError, match="does not lie inside"):
        region.slices_in(region.narrow(0, 1, 2))
    with pytest.raises(ArgumentError, match="positions must be"):
        region.indices(0, 21)
