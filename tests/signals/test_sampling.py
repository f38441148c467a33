"""Subsamples meet all units, and histograms count them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.signals.probing.sampling import histogram, sample, spaced


@given(st.integers(1, 500), st.integers(1, 70))
def test_spaced_places_are_at_most_so_many_evenly_apart_and_hold_the_last(count: int, most: int) -> None:
    places = list(range(count))[spaced(count, most)]
    assert 1 <= len(places) <= most
    assert len(places) > min(count, most) // 2
    assert places[-1] == count - 1
    assert len({b - a for a, b in pairwise(places)}) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 900), st.integers(2, 900))
def test_a_sample_is_bounded_and_meets_more_than_a_few_units(rows: int, units: int) -> None:
    unit = torch.arange(units, dtype=torch.float64).repeat(rows)
    seen = sample(unit.view(rows, units))
    assert min(rows * units, 150) <= len(seen) <= 2048
    # With a stride coprime to the size each unit is as likely as any other.
    assert len(seen.unique()) >= min(units, len(seen)) * 0.9


def test_a_stride_that_divides_the_width_would_meet_one_unit_only() -> None:
    values = torch.arange(768).repeat(2048)
    assert len(values[:: values.numel() // 2048].unique()) == 1
    assert len(sample(values.double()).unique()) > 700


def test_a_histogram_counts_like_numpy() -> None:
    values = torch.randn(2000, dtype=torch.float64)
    seen = histogram([values[:500], values[500:]])
    counts, edges = np.histogram(values.numpy(), bins=len(seen.counts))
    assert (seen.low, seen.high) == (edges[0], edges[-1])
    assert seen.sampled == 2000
    # An element on an edge may fall to either side.
    assert np.abs(np.array(seen.counts) - counts).max() <= 1


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [float("nan"), 2.0, float("inf"), 2.0, 2.0]])
def test_equal_values_are_one_bin_and_non_finite_ones_are_left_out(values: list[float]) -> None:
    seen = histogram([torch.tensor(values)])
    assert (seen.low, seen.high, seen.sampled) == (2.0, 2.0, 3)


def test_without_finite_values_there_is_no_histogram() -> None:
    assert histogram([torch.tensor([float("nan")])]) is None
    assert histogram([torch.empty(0)]) is None
