"""ln, sin and cos from operations that IEEE 754 fixes exactly.

Only integer operations, int→float conversion, +, −, ×, ÷ and √ are used, one NumPy ufunc each and
never fused, so any back end that does the same operations in the same order gets the same bits.
Both precisions run the same code with the constants of a `Precision`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DOUBLE", "SINGLE", "Precision", "horner", "natural_log", "sine_cosine"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Precision:
    """The number formats and constants of one precision; sequences are lowest power first."""

    real: type[np.floating[Any]]
    signed: type[np.signedinteger[Any]]
    unsigned: type[np.unsignedinteger[Any]]
    bits: int
    mantissa_bits: int
    sqrt_half_bits: int
    ln2_high: float
    ln2_low: float
    log_series: tuple[float, ...]
    sine_series: tuple[float, ...]
    cosine_series: tuple[float, ...]


def _log_series(terms: int) -> tuple[float, ...]:
    # ln((1 + s)/(1 − s)) = 2s + s·R,  R = s²·Σ 2s²ⁿ/(2n + 3)
    return tuple(float(Fraction(2, 2 * n + 3)) for n in range(terms))


def _circle_series(first: int, terms: int) -> tuple[float, ...]:
    # Taylor: Σ (−1)ⁿ x²ⁿ/(2n + first)!
    return tuple(float(Fraction((-1) ** n, math.factorial(2 * n + first))) for n in range(terms))


# The number of terms is the least whose truncation stays below a tenth of the last place on the
# reduced ranges |s| ≤ 0.1716 and |x| ≤ π/4. ln 2 is split so that e·ln2_high is exact: 9 leading
# bits in single (Cephes, logf), 33 in double (fdlibm, e_log.c); sqrt_half_bits is √½ rounded.
SINGLE = Precision(
    real=np.float32,
    signed=np.int32,
    unsigned=np.uint32,
    bits=32,
    mantissa_bits=23,
    sqrt_half_bits=0x3F3504F3,
    ln2_high=0.693359375,
    ln2_low=-2.1219444005469058277e-4,
    log_series=_log_series(4),
    sine_series=_circle_series(1, 5),
    cosine_series=_circle_series(0, 6),
)
DOUBLE = Precision(
    real=np.float64,
    signed=np.int64,
    unsigned=np.uint64,
    bits=64,
    mantissa_bits=52,
    sqrt_half_bits=0x3FE6A09E667F3BCD,
    ln2_high=6.93147180369123816490e-01,
    ln2_low=1.90821492927058770002e-10,
    log_series=_log_series(10),
    sine_series=_circle_series(1, 9),
    cosine_series=_circle_series(0, 9),
)


def horner(coefficients: tuple[float, ...], x: Floats, precision: Precision) -> Floats:
    """Return Σ coefficients[n]·xⁿ by Horner's rule, each operation rounded to the precision.

    >>> horner((1.0, 2.0, 3.0), np.float32([2.0]), SINGLE)
    array([17.], dtype=float32)
    """
    kind = precision.real
    total: Floats = x * kind(coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        total += kind(coefficient)
        total *= x
    total += kind(coefficients[0])
    return total


def natural_log(u: Floats, precision: Precision) -> Floats:
    """Return ln u for positive normal u.

    u = 2^e·m with √½ ≤ m < √2;  f = m − 1;  s = f/(2 + f);  R = 2s²/3 + 2s⁴/5 + …
    ln u = e·ln 2 + 2s + s·R = e·ln 2 + f − s(f − R)

    f is exact and the rest is small beside it, so the last form loses less than the first.

    Args:
        u: array of the precision's float type, positive and not subnormal.
        precision: `SINGLE` or `DOUBLE`.

    Returns:
        Array like u; the error is below 1 unit in the last place.

    >>> float(natural_log(np.float32([1.0]), SINGLE)[0])
    0.0

    Source: the series of artanh; the reduction by integer operations is that of musl's logf.
    """
    kind, integer = precision.real, precision.signed
    offset = integer(precision.sqrt_half_bits)
    bits = u.view(integer) - offset
    exponent = (bits >> integer(precision.mantissa_bits)).astype(kind)
    bits &= integer((1 << precision.mantissa_bits) - 1)
    bits += offset
    f = bits.view(kind) - kind(1)
    s = f / (f + kind(2))
    square = s * s
    total = horner(precision.log_series, square, precision)
    total *= square
    np.subtract(f, total, out=total)
    total *= s
    np.subtract(exponent * kind(precision.ln2_low), total, out=total)
    total += f
    total += exponent * kind(precision.ln2_high)
    return total


def sine_cosine(x: Floats, precision: Precision) -> tuple[Floats, Floats]:
    """Return sin x and cos x for |x| ≤ π/4 by their Taylor series.

    Args:
        x: angles in radians, of the precision's float type.
        precision: `SINGLE` or `DOUBLE`.

    Returns:
        Two arrays like x; the errors are below 1.2 units in the last place.

    >>> [float(value[0]) for value in sine_cosine(np.float32([0.0]), SINGLE)]
    [0.0, 1.0]
    """
    square = x * x
    sine = horner(precision.sine_series, square, precision)
    sine *= x
    return sine, horner(precision.cosine_series, square, precision)
