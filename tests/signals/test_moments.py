"""Moments are exact where float32 would overflow, underflow or cancel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from goodinit.signals.moments import moments, varying_part


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False),
    )
)
def test_moments_equal_numpys(values: np.ndarray) -> None:
    seen = moments(torch.from_numpy(values))
    assert seen.count == values.size
    assert seen.nonfinite == 0
    assert seen.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    assert seen.second_moment == pytest.approx((values**2).mean(), rel=1e-9, abs=1e-12)
    assert seen.std == pytest.approx(values.std(), rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 5), st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(-1e3, 1e3, allow_subnormal=False),
    )
)
def test_the_varying_part_and_the_common_part_add_up_to_the_second_moment(values: np.ndarray) -> None:
    varying = varying_part(torch.from_numpy(values))
    common = (values.mean(axis=0) ** 2).mean()
    assert varying is not None
    assert varying + common == pytest.approx((values**2).mean(), rel=1e-9, abs=1e-9)


def test_squares_of_huge_and_tiny_float32_values_stay_finite() -> None:
    assert moments(torch.full((4,), 1e30)).second_moment == pytest.approx(1e60, rel=1e-6)
    assert moments(torch.full((4,), 1e-30)).second_moment == pytest.approx(1e-60, rel=1e-6)


def test_a_large_mean_does_not_hide_a_small_std() -> None:
    seen = moments(torch.tensor([1e6, 1e6 + 1], dtype=torch.float32))
    assert seen.std == pytest.approx(0.5)


def test_non_finite_values_are_counted_and_left_out() -> None:
    seen = moments(torch.tensor([1.0, math.nan, math.inf, 3.0]))
    assert (seen.count, seen.nonfinite, seen.mean) == (4, 2, 2.0)


def test_a_tensor_without_finite_values_has_no_moments() -> None:
    seen = moments(torch.tensor([math.nan]))
    assert math.isnan(seen.mean)
    assert seen.nonfinite == 1


def test_a_complex_number_counts_as_two_reals() -> None:
    seen = moments(torch.tensor([3 + 4j]))
    assert (seen.count, seen.second_moment) == (2, 12.5)


def test_a_sparse_tensor_counts_its_zeros() -> None:
    seen = moments(torch.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse())
    assert (seen.count, seen.mean) == (4, 0.5)


def test_one_sample_has_no_varying_part() -> None:
    assert varying_part(torch.ones(1, 3)) is None
