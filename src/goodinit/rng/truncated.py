"""The truncated normal by its quantile function: one random integer per element, no rejection.

The interval is standardised and, where it lies left of 0, mirrored. Each side of 0 that it covers
gets its share of the integers. An integer is counted twice: from its side's outer edge (k) and
from its inner edge (d). The count from the outside gives the tail mass q with full relative
precision in the tail, the count from the inside the central mass x = 1 − 2q with full relative
precision near 0. Masses are scaled by the tail mass at the side's inner edge, Q_ref, so that
nothing underflows however far out the interval lies:

    v = q/Q_ref = v₀ + (k + ½)·step_v,   x = x₀ + (d + ½)·step_x
    centre, q ≥ 2⁻¹¹:  z = x·P(w − 2),   w = −ln(4q(1 − q)) = W₀ − ln(v(C − D·v))
    tail,   q < 2⁻¹¹:  z = √2·t − N(t)/D(t),  t = √(−ln q) = √(L₀ − ln v)

The tail uses −ln q instead of the w of the centre because z is smooth in it: one rational function
then reaches to 102 sigma. Which piece an element uses depends on v alone. The constants come from
decimal arithmetic (`exact_tail`): libm's, and so SciPy's, differ in the last place between machines.
Largest relative error of z: 2.1e-7 in single, 9e-16 in double.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from goodinit.errors import ArgumentError
from goodinit.rng import quantile_coefficients as coefficients
from goodinit.rng.elementary import DOUBLE, SINGLE, Floats, Precision, horner, natural_log
from goodinit.rng.exact_tail import CONTEXT, central_mass, upper_tail
from goodinit.rng.laws import random_integers

__all__ = ["FARTHEST_SIGMA", "Truncation", "standard_values", "truncate", "truncated_blocks"]

FARTHEST_SIGMA = 100
"""An interval may begin at most this many standard deviations from the mean."""

_SPLIT = Decimal(2) ** -11  # upper-tail mass between the two pieces of the fit
_SHIFT = 2.0  # tools/fit_quantile.py, CENTRE_SHIFT
# Below it a step would leave the normal float32 numbers and with them the exact arithmetic.
_SMALLEST_STEP = 2.0**-120
_CENTRE = {SINGLE: coefficients.CENTRE_FLOAT32, DOUBLE: coefficients.CENTRE_FLOAT64}
_NUMERATOR = {SINGLE: coefficients.TAIL_NUMERATOR_FLOAT32, DOUBLE: coefficients.TAIL_NUMERATOR_FLOAT64}
_DENOMINATOR = {SINGLE: coefficients.TAIL_DENOMINATOR_FLOAT32, DOUBLE: coefficients.TAIL_DENOMINATOR_FLOAT64}


@dataclass(frozen=True)
class Side:
    """Constants of one side of 0: v = v_outer + (k + ½)·v_step, x = x_inner + (d + ½)·x_step."""

    v_outer: float
    v_step: float
    x_inner: float
    x_step: float


@dataclass(frozen=True)
class Truncation:
    """Constants of one standardised interval.

    `left_count` integers, of 2³² or 2⁵³, belong to the left side; 0 where there is one side only.
    `mirrored` says that the signs of all values are to be flipped. In the formulas above `w_inner` is
    W₀, `c` and `d` are C = 1/(1 − Q_ref) and D = Q_ref·C, `l_inner` is L₀ = −ln Q_ref; the tail begins
    below `v_split`.
    """

    left_count: int
    mirrored: bool
    left: Side
    right: Side
    w_inner: float
    c: float
    d: float
    l_inner: float
    v_split: float


@functools.lru_cache(maxsize=256)
def truncate(mean: float, std: float, low: float, high: float, count_bits: int) -> Truncation:
    """Return the constants for a normal law cut to [low, high].

    Args:
        mean: mean of the parent law.
        std: standard deviation of the parent law, positive.
        low: lower bound, may be −inf.
        high: upper bound, above low, may be +inf.
        count_bits: an element's integer is below 2**count_bits: 32 or 53.

    Returns:
        The constants, computed to 35 digits and rounded.

    Raises:
        ArgumentError: if the interval begins more than 100 standard deviations from the mean, or
            ends less than about 1e-27 of them from it.
    """
    with localcontext(CONTEXT):
        a, b = ((Decimal(x) - Decimal(mean)) / Decimal(std) for x in (low, high))
        total = 2**count_bits
        mirrored = b <= 0
        if mirrored:
            a, b = -b, -a
        left_count = 0
        if a < 0:
            left_mass, right_mass = central_mass(-a), central_mass(b)
            left_count = int((total * left_mass / (left_mass + right_mass)).to_integral_value())
            if left_count == total:
                mirrored, left_count = not mirrored, 0
                a, b = -b, -a
        if a > FARTHEST_SIGMA:
            raise ArgumentError(
                f"the interval [{low}, {high}] begins {float(a):.4g} standard deviations from the mean "
                f"{mean} (std {std}), at most {FARTHEST_SIGMA} are supported: move low and high nearer"
            )
        inner = max(a, Decimal(0))
        q_inner = upper_tail(inner)
        right = _side(inner, b, q_inner, total - left_count)
        left = _side(Decimal(0), -a, q_inner, left_count) if left_count else right
        if q_inner >= _SPLIT and right.x_step < _SMALLEST_STEP:
            raise ArgumentError(
                f"the interval [{low}, {high}] is too narrow beside std {std} to be told from a uniform law: "
                "use a uniform law or a smaller std"
            )
        return Truncation(
            left_count=left_count,
            mirrored=mirrored,
            left=left,
            right=right,
            w_inner=float(-(4 * q_inner * (1 - q_inner)).ln()),
            c=float(1 / (1 - q_inner)),
            d=float(q_inner / (1 - q_inner)),
            l_inner=float(-q_inner.ln()),
            v_split=float(min(_SPLIT / q_inner, Decimal(2))),
        )


def _side(inner: Decimal, outer: Decimal, q_inner: Decimal, count: int) -> Side:
    q_outer = upper_tail(outer)
    mass = central_mass(outer) - central_mass(inner) if inner < 1 else q_inner - q_outer
    return Side(
        v_outer=float(q_outer / q_inner),
        v_step=float(mass / q_inner / count),
        x_inner=float(2 * central_mass(inner)),
        x_step=float(2 * mass / count),
    )


def standard_values(
    integers: npt.NDArray[np.unsignedinteger[Any]], cut: Truncation, precision: Precision
) -> Floats:
    """Return the quantiles z ≥ 0 in magnitude, negative on the left side, not yet mirrored.

    Args:
        integers: uniform integers below 2³² (uint32) or 2⁵³ (uint64), shape (n,).
        cut: constants from `truncate`.
        precision: `SINGLE` or `DOUBLE`.

    Returns:
        Array of shape (n,) of the precision's float type.

    Source: Giles (2010) and Wichura (1988), AS 241, for the variables of the two pieces.
    """
    kind, uint = precision.real, precision.unsigned
    top = uint(2**32 - 1 if precision is SINGLE else 2**53 - 1)
    d = integers - uint(cut.left_count % 2**precision.bits)
    k = integers ^ top
    if cut.left_count:
        # All ones on the left side: it turns n − k into k without a branch, since −n − 1 is ~n.
        is_left = np.negative((integers < uint(cut.left_count)).astype(uint))
        d ^= is_left
        k ^= is_left & top
    else:
        is_left = None

    def pick(name: str) -> Any:
        return _pick(is_left, kind(getattr(cut.left, name)), kind(getattr(cut.right, name)), uint)

    v = k.astype(kind)
    v += kind(0.5)
    v *= pick("v_step")
    v += pick("v_outer")
    v_split = kind(cut.v_split)
    tail = np.flatnonzero(v < v_split)

    if tail.size < v.size:
        x = d.astype(kind)
        x += kind(0.5)
        x *= pick("x_step")
        x += pick("x_inner")
        w = kind(cut.c) - kind(cut.d) * v
        w *= v
        w = kind(cut.w_inner) - natural_log(w, precision)
        w -= kind(_SHIFT)
        z = horner(_CENTRE[precision], w, precision)
        z *= x
    else:
        z = np.empty(v.shape, kind)
    if tail.size:
        t = kind(cut.l_inner) - natural_log(v[tail], precision)
        np.sqrt(t, out=t)
        correction = horner(_NUMERATOR[precision], t, precision)
        correction /= horner(_DENOMINATOR[precision], t, precision)
        t *= kind(math.sqrt(2))
        t -= correction
        z[tail] = t
    if is_left is not None:
        bits = z.view(uint)
        bits ^= is_left << uint(precision.bits - 1)
    return z


def _pick(is_left: Any, left: Any, right: Any, uint: Any) -> Any:
    """One constant where both sides share it, else one per element, chosen on the bits."""
    if is_left is None or left == right:
        return right
    base = right.view(uint)
    return (base ^ (is_left & (base ^ left.view(uint)))).view(type(right))


def truncated_blocks(
    key: int,
    blocks: npt.NDArray[np.uint64],
    stream: int,
    precision: Precision,
    mean: float,
    std: float,
    low: float,
    high: float,
) -> Floats:
    """Return truncated normal values of all elements of blocks, shape (4, blocks).

    value = min(max(mean + std·z, low), high); the bounds are rounded to the precision.
    """
    kind = precision.real
    cut = truncate(mean, std, low, high, 32 if precision is SINGLE else 53)
    integers = random_integers(key, blocks, stream, precision).reshape(-1)
    if precision is DOUBLE:
        integers >>= np.uint64(11)
    value = standard_values(integers, cut, precision)
    value *= kind(-std if cut.mirrored else std)
    value += kind(mean)
    np.maximum(value, kind(low), out=value)
    np.minimum(value, kind(high), out=value)
    return value.reshape(4, -1)
