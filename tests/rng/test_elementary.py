"""ln, sin, cos and the pairs of normal values, against libm in double and mpmath."""

from __future__ import annotations

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest

from goodinit.rng.elementary import DOUBLE, SINGLE, Precision, natural_log, sine_cosine
from goodinit.rng.laws import standard_normal


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """Largest error in units of the last place of float32 results."""
    return float((np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))).max())


def all_floats(low: float, high: float) -> np.ndarray:
    """Every float32 in [low, high)."""
    ends = np.array([low, high], np.float32).view(np.int32)
    return np.arange(*ends, dtype=np.int32).view(np.float32)


@pytest.mark.parametrize("low", [2.0**-33, 0.25, 0.5])
def test_single_logarithms_are_within_one_ulp_on_whole_binades(low: float) -> None:
    u = all_floats(low, 2 * low)
    assert ulps(natural_log(u, SINGLE), np.log(u.astype(np.float64))) < 1


def test_single_sines_and_cosines_are_within_1_2_ulp() -> None:
    x = np.linspace(0, math.pi / 4, 1_000_001, dtype=np.float32)[1:]
    sine, cosine = sine_cosine(x, SINGLE)
    assert ulps(sine, np.sin(x.astype(np.float64))) < 1.2
    assert ulps(cosine, np.cos(x.astype(np.float64))) < 1.2


def test_the_same_measure_catches_a_missing_term() -> None:
    short = dataclasses.replace(
        SINGLE, log_series=SINGLE.log_series[:-1], cosine_series=SINGLE.cosine_series[:-1]
    )
    u = all_floats(0.5, 1.0)
    assert ulps(natural_log(u, short), np.log(u.astype(np.float64))) > 1
    x = np.linspace(0, math.pi / 4, 1_000_001, dtype=np.float32)[1:]
    assert ulps(sine_cosine(x, short)[1], np.cos(x.astype(np.float64))) > 1.2


def test_double_results_are_within_1_2_ulp_of_mpmath() -> None:
    generator = np.random.default_rng(1)
    u = np.concatenate([generator.random(700), 2.0 ** -generator.uniform(0, 54, 700), [0.5, 2.0**-54]])
    x = generator.uniform(-math.pi / 4, math.pi / 4, 700)
    sine, cosine = sine_cosine(x, DOUBLE)
    with mp.workdps(40):
        for found, arguments, exact in (
            (natural_log(u, DOUBLE), u, mp.log),
            (sine, x, mp.sin),
            (cosine, x, mp.cos),
        ):
            for value, argument in zip(found.tolist(), arguments.tolist(), strict=True):
                assert abs(mp.mpf(value) - exact(mp.mpf(argument))) < 1.2 * math.ulp(value)


@pytest.mark.parametrize(("precision", "tolerance"), [(SINGLE, 4e-7), (DOUBLE, 8e-16)])
def test_normal_pairs_are_the_box_muller_transform(precision: Precision, tolerance: float) -> None:
    generator = np.random.default_rng(2)
    top = 2**precision.bits
    even = generator.integers(0, top, 500, precision.unsigned)
    odd = generator.integers(0, top, 500, precision.unsigned)
    first, second = standard_normal(even, odd, precision)
    with mp.workdps(40):
        for i in range(500):
            w, v = int(even[i]), int(odd[i])
            # The exact law of the integers; only u is first rounded to the precision, as specified.
            if precision is SINGLE:
                u = mp.mpf(
                    float(np.float32(np.float32(even[i]) * np.float32(2.0**-32)) + np.float32(2.0**-33))
                )
            else:
                u = mp.mpf(float(np.float64(w >> 11) + 0.5)) / 2**53
            rest = ((v << 2) | 2) % top
            angle = mp.mpf(rest - top if rest >= top // 2 else rest) / (top // 2) * mp.pi / 4
            angle += mp.pi / 2 * (v >> (precision.bits - 2))
            radius = mp.sqrt(-2 * mp.log(u))
            assert abs(first[i] - radius * mp.cos(angle)) <= tolerance * radius
            assert abs(second[i] - radius * mp.sin(angle)) <= tolerance * radius
        assert w >= 0


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
def test_normal_values_are_finite_for_extreme_integers_and_reach_beyond_6_sigma(precision: Precision) -> None:
    top = 2**precision.bits - 1
    edges = [0, 1, 2, 255, 256, 2047, 2048, top // 4, top // 2, top // 2 + 1, top - 2048, top - 1, top]
    grid = np.meshgrid(np.array(edges, precision.unsigned), np.array(edges, precision.unsigned))
    first, second = standard_normal(grid[0].reshape(-1), grid[1].reshape(-1), precision)
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    assert first.dtype == second.dtype == precision.real
    assert max(np.abs(first).max(), np.abs(second).max()) > (6.7 if precision is SINGLE else 8.5)


def test_every_quadrant_is_used_with_its_own_signs() -> None:
    odd = np.array([1, 2**30 + 1, 2**31 + 1, 3 * 2**30 + 1], np.uint32) + np.uint32(2**28)
    first, second = standard_normal(np.full(4, 2**20, np.uint32), odd, SINGLE)
    assert np.sign(first).tolist() == [1, -1, -1, 1]
    assert np.sign(second).tolist() == [1, 1, -1, -1]
