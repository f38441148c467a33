"""Uniform and normal values from random words: the exact arithmetic of both laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from goodinit.rng.elementary import DOUBLE, SINGLE, Floats, Precision, natural_log, sine_cosine
from goodinit.rng.philox import block_words

__all__ = ["normal_blocks", "random_integers", "standard_normal", "uniform_blocks"]

U64 = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.unsignedinteger[Any]]


def random_integers(key: int, blocks: U64, stream: int, precision: Precision) -> Integers:
    """Return one random integer per element, as wide as the precision: shape (4, blocks).

    Single: the element's word of draw 0. Double: that word above the one of draw 1, so that the
    leading bits, and with them the values, agree between the precisions.
    """
    high = block_words(key, blocks, 0, stream)
    if precision is SINGLE:
        return high
    wide = high.astype(np.uint64)
    wide <<= np.uint64(32)
    wide |= block_words(key, blocks, 1, stream)
    return wide


def uniform_blocks(
    key: int, blocks: U64, stream: int, precision: Precision, low: float, span: float, high: float
) -> Floats:
    """Return uniform values of all elements of blocks: min(low + span·u, high), shape (4, blocks).

    u = (w >> 8)·2⁻²⁴ in single, (w >> 11)·2⁻⁵³ in double, so 0 ≤ u < 1.
    """
    kind = precision.real
    shift = precision.bits - precision.mantissa_bits - 1
    integers = random_integers(key, blocks, stream, precision)
    integers >>= precision.unsigned(shift)
    value: Floats = integers.astype(kind)
    value *= kind(2.0 ** -(precision.mantissa_bits + 1))
    value *= kind(span)
    value += kind(low)
    np.minimum(value, kind(high), out=value)
    return value


def normal_blocks(
    key: int, blocks: U64, stream: int, precision: Precision, mean: float, std: float
) -> Floats:
    """Return normal values of all elements of blocks, mean + std·z, shape (4, blocks).

    The elements 2k and 2k + 1 share a block and make one pair of `standard_normal`.
    """
    integers = random_integers(key, blocks, stream, precision)
    value: Floats = np.empty(integers.shape, precision.real)
    value[0::2], value[1::2] = standard_normal(integers[0::2], integers[1::2], precision)
    value *= precision.real(std)
    value += precision.real(mean)
    return value


def standard_normal(even: Integers, odd: Integers, precision: Precision) -> tuple[Floats, Floats]:
    """Return pairs of independent standard normal values.

    u = (w₀ + ½)/2³² (double: ((w₀ >> 11) + ½)/2⁵³), r = √(−2 ln u), z = (r·cos θ, r·sin θ);
    the two leading bits of w₁ are the quarter turns of θ, the rest an angle x in [−π/4, π/4].

    Args:
        even: the integers w₀ of the elements 2k.
        odd: the integers w₁ of the elements 2k + 1, of the same shape.
        precision: `SINGLE` for uint32, `DOUBLE` for uint64.

    Returns:
        The values of the elements 2k and those of the elements 2k + 1; always finite.

    >>> [float(z) for z in standard_normal(np.uint32([2**32 - 1]), np.uint32([0]), SINGLE)[0]]
    [0.0]

    Source: Box and Muller (1958).
    """
    kind, signed, uint = precision.real, precision.signed, precision.unsigned
    if precision is DOUBLE:
        u = (even >> uint(11)).astype(kind)
        u += kind(0.5)
        u *= kind(2.0**-53)
    else:
        u = even.astype(kind)
        u *= kind(2.0**-32)
        u += kind(2.0**-33)
    # The absolute value turns −0, the radius at u = 1, into 0.
    radius = natural_log(u, precision)
    radius *= kind(-2)
    np.abs(radius, out=radius)
    np.sqrt(radius, out=radius)

    x = ((odd << uint(2)) | uint(2)).view(signed).astype(kind)
    x *= kind(math.pi / 4 * 2.0 ** -(precision.bits - 1))
    sine, cosine = sine_cosine(x, precision)

    # A quarter turn swaps sine and cosine, a half turn flips both signs: all on the bits, which is exact
    # and has no branches.
    quadrant = odd >> uint(precision.bits - 2)
    first, second = cosine.view(uint), sine.view(uint)
    swap = first ^ second
    swap &= np.negative(quadrant & uint(1))
    first ^= swap
    second ^= swap
    top = uint(precision.bits - 1)
    half = quadrant >> uint(1)
    second ^= half << top
    first ^= (half ^ quadrant) << top

    cosine *= radius
    sine *= radius
    return cosine, sine
