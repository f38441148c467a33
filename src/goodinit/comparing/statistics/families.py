"""Many tests at once: Holm's correction over those that could have found anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["holm"]

Floats = NDArray[np.float64]


def holm(p: ArrayLike, least: ArrayLike | None = None, alpha: float = 0.05) -> Floats:
    """Return p-values that may each be held against `alpha` although there are many.

    Of m tests sorted by p: max over j ≤ i of min(1, (m − j + 1)·p_(j)). The probability of one false
    finding or more is at most `alpha`, however the tests depend on each other.

    A test whose smallest possible p-value exceeds `alpha` (too few untied seeds) can find nothing,
    so it costs the others nothing: it is not counted in m, and its own corrected value is 1.

    Args:
        p: p-values, shape (..., m); the correction is over the last axis.
        least: smallest value that each could have taken, given how many seeds tie; same shape.
        alpha: the level.

    Returns:
        float64, shape (..., m).

    >>> [round(float(v), 3) for v in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure; Tarone (1990), A
    modified Bonferroni method for discrete data, on tests that cannot reject.
    """
    p = np.asarray(p, dtype=np.float64)
    able = np.ones(p.shape, dtype=bool) if least is None else np.asarray(least) <= alpha
    # Tests that take no part sort behind all others and are counted by none.
    order = np.argsort(np.where(able, p, np.inf), axis=-1)
    factor = able.sum(-1, keepdims=True) - np.arange(p.shape[-1])
    ranked = np.take_along_axis(p, order, -1) * factor
    ranked = np.where(factor > 0, np.minimum(1.0, np.maximum.accumulate(ranked, -1)), 1.0)
    corrected = np.empty_like(ranked)
    np.put_along_axis(corrected, order, ranked, -1)
    return corrected
