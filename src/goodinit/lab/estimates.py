"""Figures with their intervals, and facts that compute themselves whether a statement holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from goodinit.comparing.statistics.intervals import median_interval, share_interval
from goodinit.records import Fact, Interval

__all__ = ["exact", "fact", "geometric_mean", "mean", "median", "said", "share", "short"]


def exact(value: float) -> Interval:
    """Return a figure without error: a count, or a number that nothing random enters.

    >>> exact(27).low
    27.0
    """
    return Interval(float(value), float(value), float(value), 1.0)


def mean(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Return the mean with Student's interval, m ± t·s/√n.

    Args:
        values: at least two independent figures.
        confidence: share of repetitions that the interval covers, exactly so for normal values.

    >>> found = mean([1.0, 2.0, 3.0])
    >>> found.value, round(found.high, 3)
    (2.0, 4.484)

    Source: Student (1908), The probable error of a mean.
    """
    from scipy.special import stdtrit

    found = [float(value) for value in values]
    centre = math.fsum(found) / len(found)
    variance = math.fsum((value - centre) ** 2 for value in found) / (len(found) - 1)
    half = float(stdtrit(len(found) - 1, 0.5 + confidence / 2)) * math.sqrt(variance / len(found))
    return Interval(centre, centre - half, centre + half, confidence)


def geometric_mean(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Return the geometric mean of positive figures, with `mean`'s interval of the logarithms.

    For factors and ratios, whose logarithms are close to normal.

    >>> round(geometric_mean([1.0, 4.0]).value, 12)
    2.0
    """
    found = mean((math.log(value) for value in values), confidence)
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), confidence)


def median(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the median with the interval of its order statistics, see `comparing.statistics`.

    >>> median([3.0, 1.0, 2.0]).value
    2.0
    """
    return median_interval(values, confidence)


def share(count: int, total: int) -> Interval:
    """Return the share count / total with its Wilson interval.

    >>> share(0, 32).high < 0.11
    True
    """
    return share_interval(count, total)


def said(figure: Interval, digits: int = 3) -> str:
    """Return a figure and its interval as words.

    >>> said(Interval(2.0, 1.5, 2.51))
    '2 (1.5 to 2.51)'
    """
    value, low, high = (short(end, digits) for end in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})"


def short(value: float, digits: int = 3) -> str:
    """Return a number with so many digits; thousands are written out.

    >>> short(2043.6), short(0.01234), short(1.2e9)
    ('2,040', '0.0123', '1.2e+09')
    """
    if not 1000 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.0f}"


def fact(
    name: str,
    measured: Interval,
    stated: float | tuple[float, float] | None = None,
    *,
    within: float = 0.0,
    source: str = "",
) -> Fact:
    """Return a fact; it holds unless the statement lies beyond twice the interval.

    That is four standard errors of a normal figure, so that of 10,000 true statements chance
    contradicts about one, where the interval itself would miss 500.

    Args:
        name: what was measured, in words.
        measured: the figure with its interval.
        stated: the number, or the range, that was claimed.
        within: relative error that the claim itself has: "about", rounding, or a limit of infinite
            width. It is shown with the claim.
        source: who states it, a few words.

    >>> fact("mean", Interval(2.0, 1.9, 2.1), 2.05).holds, fact("mean", Interval(2.0, 1.9, 2.1), 3.0).holds
    (True, False)
    """
    if stated is None:
        return Fact(name, measured, source)
    low, high = stated if isinstance(stated, tuple) else (stated, stated)
    margin = within * abs(high)
    reach = 2 * measured.low - measured.value - margin, 2 * measured.high - measured.value + margin
    holds = reach[0] <= high and low <= reach[1]
    words = f"{low:.5g}" if low == high else f"{low:.5g} to {high:.5g}"
    words += f" ±{100 * within:.3g} %" if within else ""
    return Fact(name, measured, f"{words}, {source}" if source else words, holds)
