"""The arithmetic of the reference in Triton: words, elementary functions, laws.

Philox is `philox`, the functions are those of `elementary`, `laws` and `truncated`, and their constants
are taken from there. The steps are those of csrc/, which are the reference's with scalings by powers of
two moved to where they cost nothing: the same bits. Launch with ``enable_fp_fusion=False``, for a
product and a sum that are contracted into one operation are rounded once instead of twice.

What is checked where Triton runs: every operation rounds as IEEE 754 says. ``tl.div_rn`` and
``tl.sqrt_rn`` do so on a GPU, where ``/`` and ``tl.sqrt`` do not.
"""
# mypy: ignore-errors
# Triton compiles this text itself; its types are not Python's.

from __future__ import annotations

import math

import triton
import triton.language as tl

from goodinit.rng import quantile_coefficients as coefficients
from goodinit.rng.elementary import DOUBLE as _DOUBLE
from goodinit.rng.elementary import SINGLE as _SINGLE
from goodinit.rng.philox import _M0, _M1, _W0, _W1

__all__ = ["normal_pair", "philox", "truncated", "uniform"]

# A kernel may read a global only where it is a tl.constexpr. Series are lowest power first.
M0, M1 = tl.constexpr(int(_M0)), tl.constexpr(int(_M1))
W0, W1 = tl.constexpr(int(_W0)), tl.constexpr(int(_W1))
LOG_32, LOG_64 = tl.constexpr(_SINGLE.log_series), tl.constexpr(_DOUBLE.log_series)
SINE_32, SINE_64 = tl.constexpr(_SINGLE.sine_series), tl.constexpr(_DOUBLE.sine_series)
COSINE_32, COSINE_64 = tl.constexpr(_SINGLE.cosine_series), tl.constexpr(_DOUBLE.cosine_series)
CENTRE_32 = tl.constexpr(coefficients.CENTRE_FLOAT32)
CENTRE_64 = tl.constexpr(coefficients.CENTRE_FLOAT64)
NUMERATOR_32 = tl.constexpr(coefficients.TAIL_NUMERATOR_FLOAT32)
NUMERATOR_64 = tl.constexpr(coefficients.TAIL_NUMERATOR_FLOAT64)
DENOMINATOR_32 = tl.constexpr(coefficients.TAIL_DENOMINATOR_FLOAT32)
DENOMINATOR_64 = tl.constexpr(coefficients.TAIL_DENOMINATOR_FLOAT64)
SQRT_HALF_32, SQRT_HALF_64 = tl.constexpr(_SINGLE.sqrt_half_bits), tl.constexpr(_DOUBLE.sqrt_half_bits)
LN2_HIGH_32, LN2_HIGH_64 = tl.constexpr(_SINGLE.ln2_high), tl.constexpr(_DOUBLE.ln2_high)
LN2_LOW_32, LN2_LOW_64 = tl.constexpr(_SINGLE.ln2_low), tl.constexpr(_DOUBLE.ln2_low)
ANGLE_32 = tl.constexpr(math.pi / 4 * 2.0**-31)
ANGLE_64 = tl.constexpr(math.pi / 4 * 2.0**-63)
SQRT_2 = tl.constexpr(math.sqrt(2))


@triton.jit
def philox(block, key, draw, stream):
    """The four words of each block, uint32; blocks and key are uint64."""
    c0, c1 = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    c2, c3 = tl.full(c0.shape, draw, tl.uint32), tl.full(c0.shape, stream, tl.uint32)
    k0, k1 = key.to(tl.uint32), (key >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        p0, p1 = c0.to(tl.uint64) * M0, c2.to(tl.uint64) * M1
        c0 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1, c3 = p1.to(tl.uint32), p0.to(tl.uint32)
        # In 64 bits, for the interpreter refuses a sum that leaves 32.
        k0 = (k0.to(tl.uint64) + W0).to(tl.uint32)
        k1 = (k1.to(tl.uint64) + W1).to(tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def horner(x, series: tl.constexpr, scale: tl.constexpr):
    """Sum of scale·series[n]·xⁿ; the scale is a power of two, negative or not, so no rounding changes."""
    total = x * (scale * series.value[len(series.value) - 1])
    for n in tl.static_range(len(series.value) - 2, 0, -1):
        total = (total + scale * series.value[n]) * x
    return total + scale * series.value[0]


@triton.jit
def divide(a, b, double: tl.constexpr):
    """a/b, correctly rounded, as / itself is in double alone."""
    return a / b if double else tl.div_rn(a, b)


@triton.jit
def square_root(a, double: tl.constexpr):
    """√a, correctly rounded, as tl.sqrt is in double alone."""
    return tl.sqrt(a) if double else tl.sqrt_rn(a)


@triton.jit
def natural_log(u, scale: tl.constexpr, down: tl.constexpr, double: tl.constexpr):
    """scale·ln(u/2^down), scale 1 or −2, of positive normal u."""
    real: tl.constexpr = tl.float64 if double else tl.float32
    signed: tl.constexpr = tl.int64 if double else tl.int32
    mantissa_bits: tl.constexpr = 52 if double else 23
    sqrt_half: tl.constexpr = SQRT_HALF_64 if double else SQRT_HALF_32
    ln2_low: tl.constexpr = LN2_LOW_64 if double else LN2_LOW_32
    ln2_high: tl.constexpr = LN2_HIGH_64 if double else LN2_HIGH_32
    series: tl.constexpr = LOG_64 if double else LOG_32

    shifted = u.to(signed, bitcast=True) - (sqrt_half + (down << mantissa_bits))
    exponent = (shifted >> mantissa_bits).to(real)
    fraction = shifted & ((1 << mantissa_bits) - 1)
    if scale == 1:
        f = (fraction + sqrt_half).to(real, bitcast=True) - 1.0
    else:
        f = 2.0 - (fraction + (sqrt_half + (1 << mantissa_bits))).to(real, bitcast=True)
    s = divide(f, f + 2.0 * scale, double)
    square = s * s
    total = (f - horner(square, series, scale) * square) * s
    return exponent * (ln2_low * scale) - total + f + exponent * (ln2_high * scale)


@triton.jit
def uniform(integer, low, span, high, double: tl.constexpr):
    """min(low + span·u, high)."""
    if double:
        value = (integer >> 11).to(tl.int64).to(tl.float64) * (2.0**-53)
    else:
        value = (integer >> 8).to(tl.int32).to(tl.float32) * (2.0**-24)
    value = value * span + low
    return tl.where(value < high, value, high)


@triton.jit
def normal_pair(even, odd, mean, std, double: tl.constexpr):
    """Values mean + std·z of the elements 2k and 2k + 1."""
    real: tl.constexpr = tl.float64 if double else tl.float32
    signed: tl.constexpr = tl.int64 if double else tl.int32
    unsigned: tl.constexpr = tl.uint64 if double else tl.uint32
    sign: tl.constexpr = 2**63 if double else 2**31
    angle: tl.constexpr = ANGLE_64 if double else ANGLE_32
    sines: tl.constexpr = SINE_64 if double else SINE_32
    cosines: tl.constexpr = COSINE_64 if double else COSINE_32

    if double:
        minus_2_log = natural_log((even >> 11).to(real) + 0.5, -2, 53, double)
    else:
        minus_2_log = natural_log(even.to(real) + 0.5, -2, 32, double)
    radius = square_root(minus_2_log, double)
    x = ((odd << 2) | 2).to(signed, bitcast=True).to(real) * angle
    square = x * x
    sine = (horner(square, sines, 1) * x).to(unsigned, bitcast=True)
    cosine = horner(square, cosines, 1).to(unsigned, bitcast=True)
    # The leading bits: a quarter turn swaps sine and cosine, a half turn flips both signs.
    quarter = (odd << 1).to(signed, bitcast=True) < 0
    first = tl.where(quarter, sine, cosine) ^ ((odd ^ (odd << 1)) & sign)
    second = tl.where(quarter, cosine, sine) ^ (odd & sign)
    z0 = first.to(real, bitcast=True) * radius
    z1 = second.to(real, bitcast=True) * radius
    return z0 * std + mean, z1 * std + mean


@triton.jit
def truncated(integer, numbers, left_count, sides: tl.constexpr, pieces: tl.constexpr, double: tl.constexpr):
    """min(max(mean + scale·z, low), high); `numbers` are those of a `Law`, then its sides.

    sides is 2 where the interval covers both sides of 0; pieces names those of the quantile that it meets.
    """
    real: tl.constexpr = tl.float64 if double else tl.float32
    unsigned: tl.constexpr = tl.uint64 if double else tl.uint32
    sign: tl.constexpr = 2**63 if double else 2**31
    largest: tl.constexpr = 2**53 - 1 if double else 2**32 - 1
    all_ones: tl.constexpr = 2**64 - 1 if double else 2**32 - 1

    if double:
        integer = integer >> 11
    mean, scale = tl.load(numbers), tl.load(numbers + 1)
    low, high = tl.load(numbers + 2), tl.load(numbers + 3)
    v_outer, v_step = tl.load(numbers + 13), tl.load(numbers + 14)
    x_inner, x_step = tl.load(numbers + 15), tl.load(numbers + 16)
    inside, outside = integer, integer ^ largest
    if sides == 2:
        count = left_count.to(unsigned)
        is_left = integer < count
        inside = (integer.to(tl.int64) - count.to(tl.int64)).to(unsigned)
        outside = tl.where(is_left, integer, outside)
        inside = tl.where(is_left, inside ^ all_ones, inside)
        v_outer = tl.where(is_left, tl.load(numbers + 9), v_outer)
        v_step = tl.where(is_left, tl.load(numbers + 10), v_step)
        x_inner = tl.where(is_left, tl.load(numbers + 11), x_inner)
        x_step = tl.where(is_left, tl.load(numbers + 12), x_step)
    v = (outside.to(real) + 0.5) * v_step + v_outer
    if pieces != "tail":
        x = (inside.to(real) + 0.5) * x_step + x_inner
        c, d = tl.load(numbers + 5), tl.load(numbers + 6)
        w = tl.load(numbers + 4) - natural_log((c - d * v) * v, 1, 0, double)
        z = horner(w - 2.0, CENTRE_64 if double else CENTRE_32, 1) * x
    if pieces != "centre":
        t = square_root(tl.load(numbers + 7) - natural_log(v, 1, 0, double), double)
        above = horner(t, NUMERATOR_64 if double else NUMERATOR_32, 1)
        below = horner(t, DENOMINATOR_64 if double else DENOMINATOR_32, 1)
        far = t * SQRT_2 - divide(above, below, double)
        if pieces == "tail":
            z = far
        else:
            z = tl.where(v < tl.load(numbers + 8), far, z)
    if sides == 2:
        z = tl.where(is_left, (z.to(unsigned, bitcast=True) ^ sign).to(real, bitcast=True), z)
    value = z * scale + mean
    value = tl.where(value > low, value, low)
    return tl.where(value < high, value, high)
