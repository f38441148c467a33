"""The quantile of the truncated normal against mpmath, and its host-side constants."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.rng import truncated
from goodinit.rng.elementary import DOUBLE, SINGLE, Precision
from goodinit.rng.exact_tail import central_mass, upper_tail
from goodinit.rng.truncated import standard_values, truncate

INF = math.inf
INTERVALS = [
    *((-2, 2), (-3, 3), (-INF, INF), (2, 4), (6, 7), (20, 25), (30, INF), (99.9, INF), (-40, -3), (0, 1)),
    *((0, INF), (1e-3, 2e-3), (-1e-6, 1e-6), (-1e-6, 5), (-5, 1e-9), (1, 1.000001), (3, 3.0001), (-0.5, 12)),
    *((3.29, 3.31), (50, 50.001), (-1e-15, 3), (-1, 0.25), (0.1, 8)),
]
# Largest relative errors of z; measured: 2.1e-7 and 9e-16.
TOLERANCE = {SINGLE: 3e-7, DOUBLE: 2e-15}


def upper(z: mp.mpf) -> mp.mpf:
    return mp.erfc(z / mp.sqrt(2)) / 2


def quantile(q: mp.mpf) -> mp.mpf:
    """Return z ≥ 0 with upper tail q."""
    if q > 0.2:
        return mp.sqrt(2) * mp.erfinv(1 - 2 * q)
    target = -mp.log(q)
    z = mp.sqrt(max(mp.mpf("0.5"), 2 * target - mp.log(4 * mp.pi * target)))
    for _ in range(60):
        step = (-mp.log(upper(z)) - target) * upper(z) / mp.npdf(z)
        z -= step
        if abs(step) < mp.mpf(10) ** -35 * z:
            return z
    raise ArithmeticError


def exact_value(integer: int, low: float, high: float, bits: int, left_count: int) -> mp.mpf:
    """Return the quantile of the middle of an integer's cell; for one-sided intervals its magnitude."""
    a, b = mp.mpf(low), mp.mpf(high)
    if b <= 0:
        a, b = -b, -a
    if integer < left_count:
        return -exact_value(left_count - 1 - integer, 0.0, float(-a), 0, -left_count)
    count, d = (-left_count, integer) if left_count < 0 else (2**bits - left_count, integer - left_count)
    inner = max(a, mp.mpf(0))
    mass = upper(inner) - (upper(b) if mp.isfinite(b) else 0)
    depth = mass * (d + mp.mpf("0.5")) / count
    if inner == 0 and depth < mp.mpf("0.3"):
        return mp.sqrt(2) * mp.erfinv(2 * depth)
    return quantile(upper(inner) - depth)


def worst_error(low: float, high: float, integers: list[int], precision: Precision) -> float:
    bits = 32 if precision is SINGLE else 53
    cut = truncate(0.0, 1.0, float(low), float(high), bits)
    found = standard_values(np.array(integers, precision.unsigned), cut, precision)
    flip = -1 if cut.mirrored and high > 0 else 1  # a side too thin for one integer was mirrored away
    if flip < 0:
        low, high = -high, -low
    worst = 0.0
    with mp.workdps(60):
        for integer, value in zip(integers, found.tolist(), strict=True):
            exact = exact_value(integer, low, high, bits, cut.left_count)
            worst = max(worst, float(abs(value / exact - 1)))
    return worst


def edge_integers(bits: int, left_count: int) -> list[int]:
    """Integers next to the outer edges and to the boundary between the sides, and random ones."""
    top = 2**bits
    steps = [0, 1, 2, 100, *(2**n for n in range(10, bits - 1, 3))]
    near = [base + sign * step for base in (0, top - 1, left_count) for sign in (-1, 1) for step in steps]
    random = np.random.default_rng(3).integers(0, top, 40, np.uint64).tolist()
    return sorted({n for n in (*near, *random) if 0 <= n < top})


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_the_quantile_is_exact_to_the_stated_error(low: float, high: float, precision: Precision) -> None:
    bits = 32 if precision is SINGLE else 53
    integers = edge_integers(bits, truncate(0.0, 1.0, float(low), float(high), bits).left_count)
    assert worst_error(low, high, integers, precision) < TOLERANCE[precision]


@settings(max_examples=60)
@given(st.floats(-99, 99), st.floats(1e-3, 100), st.data(), st.sampled_from([SINGLE, DOUBLE]))
def test_any_interval_gives_exact_quantiles(
    low: float, width: float, data: st.DataObject, precision: Precision
) -> None:
    high = min(low + width, 150.0)
    bits = 32 if precision is SINGLE else 53
    integers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=3, max_size=8))
    assert worst_error(low, high, integers, precision) < TOLERANCE[precision]


def test_the_same_measure_catches_a_wrong_coefficient(monkeypatch: pytest.MonkeyPatch) -> None:
    centre = list(truncated._CENTRE[SINGLE])
    centre[3] *= 1.001
    numerator = list(truncated._NUMERATOR[SINGLE])
    numerator[2] *= 1.0001
    integers = edge_integers(32, 2**31)
    monkeypatch.setitem(truncated._CENTRE, SINGLE, tuple(centre))
    assert worst_error(-2, 2, integers, SINGLE) > TOLERANCE[SINGLE]
    monkeypatch.undo()
    monkeypatch.setitem(truncated._NUMERATOR, SINGLE, tuple(numerator))
    assert worst_error(6, 7, integers, SINGLE) > TOLERANCE[SINGLE]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE], ids=["single", "double"])
def test_larger_integers_never_give_values_further_left(
    low: float, high: float, precision: Precision
) -> None:
    # Rounding may break ties between neighbours, so that a step back is at most the stated error.
    bits = 32 if precision is SINGLE else 53
    cut = truncate(0.0, 1.0, float(low), float(high), bits)
    integers = np.array(edge_integers(bits, cut.left_count), precision.unsigned)
    z = standard_values(integers, cut, precision)
    assert (np.diff(z) >= -2 * TOLERANCE[precision] * np.abs(z[1:])).all()


def test_the_sides_share_the_integers_by_their_mass() -> None:
    cut = truncate(0.0, 1.0, -1.0, 2.0, 32)
    assert cut.left_count / 2**32 == pytest.approx(0.34134474606854 / 0.81859461412137, abs=2e-10)
    assert truncate(0.0, 1.0, -2.0, 2.0, 32).left_count == 2**31


def test_a_side_too_thin_for_one_integer_is_left_out() -> None:
    assert truncate(0.0, 1.0, -1e-15, 3.0, 32).left_count == 0
    mirrored = truncate(0.0, 1.0, -3.0, 1e-15, 32)
    assert mirrored.left_count == 0
    assert mirrored.mirrored


def test_the_largest_magnitude_of_an_uncut_law_is_beyond_6_sigma() -> None:
    cut = truncate(0.0, 1.0, -INF, INF, 32)
    z = standard_values(np.array([0, 2**32 - 1], np.uint32), cut, SINGLE)
    assert z[0] == -z[1]
    assert z[1] > 6.3


def test_tail_masses_agree_with_mpmath_to_35_digits() -> None:
    with mp.workdps(60):
        for text in ("0", "1e-20", "0.3", "1", "2.5", "5.999", "6", "6.001", "9", "40", "100", "900"):
            z = mp.mpf(text)
            exact = upper(z)
            assert abs(mp.mpf(str(upper_tail(Decimal(text)))) / exact - 1) < mp.mpf(10) ** -35
            centre = mp.erf(z / mp.sqrt(2)) / 2
            found = mp.mpf(str(central_mass(Decimal(text))))
            assert abs(found - centre) <= centre * mp.mpf(10) ** -35


def test_a_programs_decimal_context_does_not_change_the_constants() -> None:
    expected = truncate.__wrapped__(0.3, 1.7, -2.0, 9.0, 53)
    with decimal.localcontext() as context:
        context.prec, context.rounding = 5, decimal.ROUND_UP
        assert truncate.__wrapped__(0.3, 1.7, -2.0, 9.0, 53) == expected


def test_intervals_beyond_100_sigma_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"begins 101 standard deviations from the mean .* at most 100"):
        truncate(0.0, 1.0, 101.0, INF, 32)
    with pytest.raises(ArgumentError, match="begins 150 standard deviations"):
        truncate(1.0, 2.0, -INF, -299.0, 32)


def test_an_interval_around_the_mean_that_is_far_too_narrow_is_refused() -> None:
    with pytest.raises(ArgumentError, match="too narrow beside std"):
        truncate(0.0, 1.0, -1e-30, 1e-30, 32)
