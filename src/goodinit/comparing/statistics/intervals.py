"""Medians, quantiles and shares with intervals that cover what they promise, infinite values included."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodinit.errors import ArgumentError
from goodinit.records.comparisons import Interval

__all__ = ["median_interval", "median_intervals", "quantile", "share_interval"]

Floats = NDArray[np.float64]


def _between(start: ArrayLike, end: ArrayLike, part: float) -> Floats:
    """Return the point `part` of the way from `start` to `end`; an infinite end pulls it all the way."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    if part in (0.0, 1.0):
        return end if part else start
    with np.errstate(invalid="ignore"):
        point = np.clip((1 - part) * start + part * end, np.minimum(start, end), np.maximum(start, end))
    # Any number halves values of which one half is −∞ and the other ∞; 0 favours neither.
    torn = 0.0 if part == 0.5 else (start if part < 0.5 else end)
    return np.where(np.isnan(point), torn, point)


def quantile(values: ArrayLike, level: float, axis: int = -1) -> Floats:
    """Return a quantile of values that may be infinite: linear between order statistics.

    x_(1+h), h = (n − 1)·level; between a finite and an infinite order statistic it is the infinite
    one, because a share of failures that reaches the level is a failure of the level.

    Args:
        values: numbers without NaN, any shape with at least one value along `axis`.
        level: from 0 to 1.
        axis: along which.

    Returns:
        float64, the shape of `values` without `axis`.

    >>> float(quantile([1.0, 2.0, np.inf], 0.5)), float(quantile([1.0, 2.0, np.inf], 0.9))
    (2.0, inf)

    Source: definition 7 of Hyndman & Fan (1996), Sample quantiles in statistical packages.
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1), axis=-1)
    place = (ordered.shape[-1] - 1) * level
    below = math.floor(place)
    above = min(below + 1, ordered.shape[-1] - 1)
    return _between(ordered[..., below], ordered[..., above], place - below)


def _depth(count: int, confidence: float) -> tuple[int, float, float]:
    """Depth d of the order statistics, how far to go on to depth d + 1, and the confidence that results."""
    from scipy.special import bdtr

    depths = np.arange(1, max(count // 2, 1) + 1)
    covered = 1.0 - 2.0 * bdtr(depths - 1, count, 0.5)
    if covered[0] <= confidence:
        return 1, 0.0, float(max(covered[0], 0.0))
    enough = np.flatnonzero(covered >= confidence)[-1]
    depth, here = int(depths[enough]), float(covered[enough])
    # The next pair inwards, were it the middle, would cover nothing.
    further = float(1.0 - 2.0 * bdtr(depth, count, 0.5)) if 2 * depth < count else 0.0
    excess = (here - confidence) / (here - max(further, 0.0))
    return depth, (count - depth) * excess / (depth + (count - 2 * depth) * excess), confidence


def median_intervals(values: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats, Floats, float]:
    """Return medians along the last axis, the ends of their intervals, and the confidence reached.

    The interval between the d-th smallest and the d-th largest value covers the median of any
    continuous law with probability 1 − 2·P(Bin(n, ½) < d). Of the two depths around the wanted
    confidence the ends are interpolated: (1 − λ)·x_(d) + λ·x_(d+1), λ = (n − d)·I/(d + (n − 2d)·I),
    I = (γ_d − γ)/(γ_d − γ_{d+1}). It is what a bootstrap of the median estimates, without its
    resampling error and without its loss of coverage at few values.

    Args:
        values: numbers without NaN, shape (..., n), n ≥ 1; may be infinite.
        confidence: the wanted share of repetitions that the interval covers.

    Returns:
        median, low and high (shape (...)) and the confidence: as wanted, or less where n is so small
        that not even the range reaches it (five values: 0.9375).

    >>> median, low, high, confidence = median_intervals([3.0, 1.0, 2.0])
    >>> float(low), float(high), confidence
    (1.0, 3.0, 0.75)

    Source: Hettmansperger & Sheather (1986), Confidence intervals based on interpolated order statistics.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ordered.shape[-1]
    depth, part, reached = _depth(count, confidence)
    last = min(depth, count - 1)
    ends = []
    for outer, inner in ((depth - 1, last), (count - depth, count - 1 - last)):
        one, other = ordered[..., outer], ordered[..., inner]
        # There is no way to interpolate towards infinity; the outer one covers more.
        other = np.where(np.isinf(other), one, other)
        ends.append(_between(one, other, part))
    low, high = ends
    return quantile(ordered, 0.5), low, high, reached


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the median of one sample with its interval (see `median_intervals`).

    >>> median_interval(range(32)).value
    15.5
    """
    median, low, high, reached = median_intervals(np.ravel(np.asarray(values, dtype=np.float64)), confidence)
    return Interval(float(median), float(low), float(high), reached)


def share_interval(count: int, total: int, confidence: float = 0.95) -> Interval:
    """Return a share with its Wilson interval, which stays inside [0, 1] and never has width 0.

    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        count: how many have the property.
        total: of how many, at least 1.
        confidence: average share of repetitions that the interval covers.

    Raises:
        ArgumentError: for a total below 1 or a count outside [0, total].

    >>> share_interval(0, 32).high < 0.11
    True

    Source: Wilson (1927), Probable inference; Brown, Cai & DasGupta (2001), Interval estimation for a
    binomial proportion, who compare it with others.
    """
    from scipy.special import ndtri

    if total < 1 or not 0 <= count <= total:
        raise ArgumentError(
            f"share_interval: count must lie in [0, total] and total be positive, found {count}/{total}"
        )
    share, spread = count / total, float(ndtri(0.5 + confidence / 2)) ** 2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # At the borders the exact end is the border; rounding must not cross it.
    low = 0.0 if count == 0 else max(0.0, centre - half)
    high = 1.0 if count == total else min(1.0, centre + half)
    return Interval(share, low, high, confidence)
