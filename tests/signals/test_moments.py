"""Moments are exact where float32 would overflow, underflow or cancel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from goodinit.signals.probing.moments import (
    _on_device,
    as_moments,
    merged,
    moments,
    share_of_small,
    share_of_zeros,
    sums,
    varying,
    varying_part,
)

# Larger than what is measured in float64 throughout, and no multiple of any block.
MANY = 300_007


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


def _wide(values: torch.Tensor) -> np.ndarray:
    wide = values.double().numpy()
    return wide[np.isfinite(wide)]


def _draws(dtype: torch.dtype, mean: float, std: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(MANY, generator=generator, dtype=torch.float64) * std + mean).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.1), (3e4, 2e3), (0.0, 1e-5), (1e4, 1e-3)])
def test_large_tensors_are_exact_to_a_millionth_in_every_precision(
    dtype: torch.dtype, mean: float, std: float
) -> None:
    values = _draws(dtype, mean, std)
    exact = _wide(values)
    for seen in (moments(values), as_moments(_on_device(values, False))):
        assert seen.mean == pytest.approx(exact.mean(), rel=1e-6, abs=1e-6 * exact.std())
        assert seen.second_moment == pytest.approx((exact**2).mean(), rel=1e-6)
        assert seen.std == pytest.approx(exact.std(), rel=1e-6)


def test_plain_float32_arithmetic_would_not_pass() -> None:
    values = _draws(torch.float32, 1e4, 1e-3)
    exact = _wide(values)
    naive = (values.square().mean() - values.mean() ** 2).clamp(min=0).sqrt().item()
    assert naive != pytest.approx(exact.std(), rel=1e-2)
    squares = _draws(torch.float16, 3e4, 2e3)
    assert math.isinf(squares.square().mean().item())


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-42, 1e18, 1e-14])
@pytest.mark.parametrize("count", [5, MANY])
def test_squares_of_huge_and_tiny_values_stay_finite(scale: float, count: int) -> None:
    values = _draws(torch.float32, 0.0, 1.0)[:count] * scale
    exact = _wide(values)
    assert moments(values).second_moment == pytest.approx((exact**2).mean(), rel=1e-6)
    assert moments(values).std == pytest.approx(exact.std(), rel=1e-6)


def test_a_large_mean_does_not_hide_a_small_std() -> None:
    seen = moments(torch.tensor([1e6, 1e6 + 1], dtype=torch.float32))
    assert seen.std == pytest.approx(0.5)


@pytest.mark.parametrize("count", [4, MANY])
def test_non_finite_values_are_counted_and_left_out(count: int) -> None:
    values = torch.full((count,), 3.0)
    values[0], values[1], values[-1] = 1.0, math.nan, math.inf
    for seen in (moments(values), as_moments(_on_device(values, False))):
        assert (seen.count, seen.nonfinite) == (count, 2)
        assert seen.mean == pytest.approx((1 + 3 * (count - 3)) / (count - 2))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1000, MANY])
def test_zeros_and_subnormals_are_counted_one_by_one(dtype: torch.dtype, count: int) -> None:
    limits = torch.finfo(dtype)
    values = torch.ones(count, dtype=dtype)
    values[:10] = 0.0
    values[10:17] = -limits.tiny * (1 - limits.eps)  # the largest subnormal
    values[17:20] = limits.tiny  # the smallest normal number
    for seen in (sums(values, counts=True), _on_device(values, True)):
        assert share_of_zeros(seen) == 10 / count
        assert share_of_small(seen) == 17 / count


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=0, max_size=6), min_size=1, max_size=5).filter(
        lambda parts: any(parts)
    )
)
def test_merged_parts_equal_the_whole(parts: list[list[float]]) -> None:
    vectors = [sums(torch.tensor(part, dtype=torch.float64), counts=True) for part in parts if part]
    whole = sums(torch.tensor([x for part in parts for x in part], dtype=torch.float64), counts=True)
    # Differences to the mean are exact to 1e-16 of the largest value, here 1e3, squared.
    torch.testing.assert_close(merged(vectors), whole, rtol=1e-9, atol=1e-9)


def test_averaging_the_parts_moments_would_not_pass() -> None:
    one, two = torch.tensor([1.0, 3.0]), torch.tensor([8.0])
    together = moments(torch.cat([one, two]))
    assert as_moments(merged([sums(one), sums(two)])) == together
    assert (moments(one).std + moments(two).std) / 2 != pytest.approx(together.std, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 5), st.integers(1, 5), st.integers(1, 4)),
        elements=st.floats(-1e3, 1e3, allow_subnormal=False),
    )
)
def test_the_varying_part_and_the_common_part_add_up_to_the_second_moment(values: np.ndarray) -> None:
    part = varying_part(torch.from_numpy(values))
    common = (values.mean(axis=0) ** 2).mean()
    assert part is not None
    assert part + common == pytest.approx((values**2).mean(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 0.0])
def test_the_varying_part_is_exact_beside_a_large_common_part(spread: float) -> None:
    generator = torch.Generator().manual_seed(2)
    common = torch.randn(1, 50_003, generator=generator)
    samples = common + spread * torch.randn(7, 50_003, generator=generator)
    exact = samples.double().var(dim=0, correction=0).mean().item()
    total, count = varying(samples).tolist()
    assert count == 7
    assert total / count == pytest.approx(exact, rel=1e-6, abs=0.0)
    if 0 < spread < 1e-4:
        naive = (samples.square().mean() - samples.mean(dim=0).square().mean()).item()
        assert naive != pytest.approx(exact, rel=0.1)


def test_one_sample_has_no_varying_part() -> None:
    assert varying_part(torch.ones(1, 3)) is None
