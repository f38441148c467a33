"""Sketches of parameters, sizes and dead units: against plain computations, and against planted faults."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodinit.signals.monitoring.quick import alive_units, squared_norm
from goodinit.signals.monitoring.sketch import SIZE, sketch

TRIALS = 60
# Relative standard deviation of one squared norm, √(2/SIZE); the mean of TRIALS independent tensors has
# √TRIALS less. 6 standard errors: a false alarm below 2e-9 for a normal mean.
STANDARD_ERROR = math.sqrt(2 / SIZE / TRIALS)


def squared_ratio(tensor: torch.Tensor) -> float:
    short = sketch(tensor)
    return float(short.dot(short)) / float(tensor.double().square().sum())


def plain_sums(tensor: torch.Tensor) -> torch.Tensor:
    """The planted fault: buckets without signs."""
    return tensor.double().reshape(-1, SIZE).sum(dim=0)


def drawn(kind: str, trial: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(trial)
    if kind == "normal":
        return torch.randn(64, 1024, generator=generator)
    if kind == "one direction":
        row = torch.randn(1, 700, generator=generator)
        return torch.randn(300, 1, generator=generator) @ row
    return torch.rand(40, 1024, generator=generator) + 0.5


@pytest.mark.parametrize("kind", ["normal", "one direction", "positive"])
def test_squared_norms_survive_without_bias_and_with_the_stated_spread(kind: str) -> None:
    ratios = torch.tensor([squared_ratio(drawn(kind, trial)) for trial in range(TRIALS)], dtype=torch.float64)
    assert abs(float(ratios.mean()) - 1) < 6 * STANDARD_ERROR
    # χ² with 59 degrees of freedom exceeds 2.5 times its mean with probability below 1e-8.
    assert float(ratios.var()) < 2.5 * 2 / SIZE


def test_buckets_without_signs_would_be_caught() -> None:
    tensor = drawn("positive", 0)
    short = plain_sums(tensor)
    ratio = float(short.dot(short)) / float(tensor.double().square().sum())
    assert abs(ratio - 1) > 6 * STANDARD_ERROR


def test_a_sketch_is_linear_to_rounding() -> None:
    x, change = torch.randn(3_000, 400), 1e-4 * torch.randn(3_000, 400)
    apart = sketch(x + change) - sketch(x)
    true = (x + change).double() - x.double()
    exact = sketch(true)
    assert float((apart - exact).norm() / exact.norm()) < 0.02
    assert float(apart.norm()) == pytest.approx(float(true.norm()), rel=6 * math.sqrt(0.5 / SIZE))


def test_angles_survive() -> None:
    x, other = torch.randn(500, 400), torch.randn(500, 400)
    for share in (0.0, 0.3, 0.9, 1.0):
        y = math.sqrt(share) * x + math.sqrt(1 - share) * other
        a, b = sketch(x), sketch(y)
        cosine = float(a.dot(b) / (a.norm() * b.norm()))
        u, v = x.double().flatten(), y.double().flatten()
        true = float(u.dot(v) / (u.norm() * v.norm()))
        # Standard deviation at most 1/√SIZE, none where the vectors are equal.
        assert abs(cosine - true) <= 6 * (1 - share) / math.sqrt(SIZE) + 1e-6


def test_a_short_tensor_is_kept_whole() -> None:
    x = torch.randn(32, 32)
    assert torch.equal(sketch(x), x.double().flatten())


def test_tensors_beyond_one_chunk_are_signed_anew_in_each() -> None:
    # Were the signs repeated, each bucket would hold twice the same sum and the square be twice too large.
    half = torch.randn(1 << 20)
    twice = torch.cat([half, half])
    short = sketch(twice)
    assert float(short.dot(short)) == pytest.approx(float(twice.double().square().sum()), rel=6 * 0.0442)


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1.0, 1e25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_squares_neither_overflow_nor_underflow(scale: float, dtype: torch.dtype) -> None:
    x = (torch.randn(700, 500) * scale).to(dtype)
    assert float(squared_norm(x)) == pytest.approx(float(x.double().square().sum()), rel=2e-5, abs=0)
    assert float(squared_norm(x[:, ::3])) == pytest.approx(
        float(x[:, ::3].double().square().sum()), rel=2e-5, abs=0
    )


def test_squares_that_float32_holds_with_few_digits_are_exact() -> None:
    # (4e-23)² lies between two of float32's smallest numbers.
    x = torch.full((1000,), 4e-23)
    assert float(squared_norm(x)) == pytest.approx(float(x.double().square().sum()), rel=1e-6, abs=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_shows_in_the_size(bad: float) -> None:
    x = torch.randn(1000)
    x[7] = bad
    assert not math.isfinite(float(squared_norm(x)))
    assert math.isfinite(float(squared_norm(x.nan_to_num(0, 0, 0))))


@given(
    shape=st.sampled_from([(3,), (1, 4), (40, 5), (40, 3, 4), (17, 6, 3, 2), ()]),
    zero=st.floats(0.5, 1.0),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_alive_units_are_those_of_a_plain_computation(
    shape: tuple[int, ...], zero: float, seed: int, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) >= zero)
    axis = data.draw(st.integers(0, max(len(shape) - 1, 0)))
    alive = alive_units(x, axis)
    if not shape:
        assert alive.tolist() == [bool(x != 0)]
    else:
        assert alive.tolist() == [bool((part != 0).any()) for part in x.unbind(axis)]


def test_a_unit_that_lives_in_the_last_sample_only_is_alive() -> None:
    x = torch.zeros(64, 5)
    x[-1, 3] = 1e-30
    assert alive_units(x, 1).tolist() == [False, False, False, True, False]
