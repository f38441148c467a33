"""The statistics of depth: slopes, and the noise of finite width."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodinit.signals.judging.depth import effect, noise, trend
from goodinit.signals.judging.units import expected_dead
from goodinit.theory import finite_width_fluctuation

logs = st.lists(st.floats(-20, 20), min_size=2, max_size=40)


@given(st.floats(-3, 3), st.integers(2, 40))
def test_a_geometric_course_is_measured_exactly(slope: float, points: int) -> None:
    seen = trend([math.exp(slope * k) for k in range(points)])
    assert seen.total == pytest.approx(slope * (points - 1), abs=1e-9)
    assert abs(seen.steady) == pytest.approx(abs(slope) * (points - 1), abs=1e-9)


@given(logs, st.floats(-5, 5))
def test_a_common_factor_changes_nothing(values: list[float], shift: float) -> None:
    one, other = trend([math.exp(v) for v in values]), trend([math.exp(v + shift) for v in values])
    assert one.total == pytest.approx(other.total, abs=1e-6)
    assert one.steady == pytest.approx(other.steady, abs=1e-6)
    assert one.ends == pytest.approx(other.ends, abs=1e-6)


@given(logs)
def test_turning_the_course_turns_the_sign(values: list[float]) -> None:
    one, other = trend([math.exp(v) for v in values]), trend([math.exp(v) for v in values[::-1]])
    assert one.total == pytest.approx(-other.total, abs=1e-6)
    assert one.ends == pytest.approx(-other.ends, abs=1e-6)


def test_one_outlier_does_not_move_the_slope_much() -> None:
    values = [1.0] * 20
    values[7] = 1e9
    assert abs(trend(values).total) < 1e-9


def test_a_step_is_no_steady_trend() -> None:
    seen = trend([1.0] * 10 + [1e6] * 10)
    assert seen.steady == 0.0
    assert seen.ends == pytest.approx(math.log(1e6))


def test_width_noise_matches_simulated_relu_networks() -> None:
    """The log second moment of 400 networks has the predicted mean and std.

    Depth 10 of width 50: v = 1, so the mean is −0.5 ± 0.05 and the std 1 ± 0.035; the
    bounds are 6 of those standard errors (2e-9) plus 0.1 for the order 1/n² beyond the
    formula. A network without ReLU's factor (linear, v = 0.4) falls outside.
    """
    generator = torch.Generator().manual_seed(0)

    def spread(relu: bool) -> tuple[float, float]:
        x = torch.ones(400, 1, 50)
        for _ in range(10):
            weights = torch.randn(400, 50, 50, generator=generator) * ((2.0 if relu else 1.0) / 50) ** 0.5
            x = x @ weights
            x = x.relu() if relu else x
        logs = x.pow(2).mean((1, 2)).log()
        return float(logs.mean()), float(logs.std())

    expected = noise([50] * 10)
    assert (expected.mean, expected.std) == pytest.approx((-0.5, 1.0))
    mean, std = spread(relu=True)
    assert mean == pytest.approx(expected.mean, abs=0.4)
    assert std == pytest.approx(expected.std, abs=0.3)
    assert spread(relu=False)[1] != pytest.approx(expected.std, abs=0.3)


def test_an_even_course_has_less_noise_than_its_widths_allow() -> None:
    even = [math.exp(0.2 * k) for k in range(30)]
    assert noise([16] * 29, even).std < 1e-6
    assert noise([16] * 29).std > 3
    # Too few steps to trust their spread.
    assert noise([16] * 5, even[:6]).std == noise([16] * 5).std


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 0.99])
def test_two_samples_are_both_negative_with_sheppards_probability(correlation: float) -> None:
    # Sheppard 1899: P = 1/4 + asin(c)/2π.
    wanted = 0.25 + math.asin(correlation) / (2 * math.pi)
    assert expected_dead(1.0 - correlation, 2) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("units", [[80] * 16, [64, 32, 128], [1024] * 50])
def test_the_noise_is_that_of_relu_networks_in_theory(units: list[int]) -> None:
    told = math.log1p(finite_width_fluctuation("relu", units) ** 2)
    assert noise(units).std ** 2 == pytest.approx(told, rel=1e-6)
    assert noise(units).std ** 2 != pytest.approx(
        math.log1p(finite_width_fluctuation("tanh", units) ** 2), rel=0.1
    )


def test_what_keeps_its_size_is_no_finding_at_any_depth() -> None:
    """Chance makes a second moment fall by e^(−v/2); one that does not fall has not grown.

    Without that, residual networks of 200 blocks of 8 units and orthogonal ones of 500 layers of 16
    were said to explode, or to vanish by a factor of one.
    """
    generator = torch.Generator().manual_seed(0)
    waver = torch.randn(500, generator=generator, dtype=torch.float64) * 0.3
    for depth, units in ((40, 4), (500, 16), (500, 4)):
        steady = waver[:depth].exp().tolist()
        assert noise([units] * (depth - 1), steady).high >= 0.0
        assert effect(steady, [units] * (depth - 1), 1.0) is None
        assert effect([1.0] * depth, [units] * (depth - 1), 1.0) is None
        grows = [value * 3.0**at for at, value in enumerate(steady)]
        found = effect(grows, [units] * (depth - 1), 1.0)
        assert found is not None
        assert found.size > 0
