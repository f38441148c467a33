"""The curves of many seeds as a median and a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from goodinit.comparing.statistics.intervals import quantile
from goodinit.records.comparisons import Curve

__all__ = ["curve"]


def curve(
    steps: Sequence[int],
    rows: Sequence[Sequence[float]],
    *,
    worst: float,
    levels: tuple[float, float] = (0.1, 0.9),
) -> Curve:
    """Return median and quantile band over members at each step; NaN counts as the worst value.

    A member that diverged is thus in every step from there on, where leaving it out would show the
    survivors' curve.

    Args:
        steps: the evaluated steps.
        rows: one row of values for each member, as long as `steps`.
        worst: ∞ where lower is better, −∞ where higher is.
        levels: of the band.

    >>> curve([0, 10], [[4.0, 1.0], [4.0, 3.0], [4.0, float("nan")]], worst=float("inf")).median
    (4.0, 3.0)
    """
    values = np.asarray(rows, dtype=np.float64)
    values = np.where(np.isnan(values), worst, values)
    low, median, high = (
        tuple(float(v) for v in quantile(values, level, axis=0)) for level in (levels[0], 0.5, levels[1])
    )
    return Curve(tuple(steps), median, low, high, levels)
