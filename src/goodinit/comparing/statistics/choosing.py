"""The learning rate that suits each plan, and a test of plans that takes this choice into account."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodinit.comparing.statistics.intervals import quantile
from goodinit.comparing.statistics.paired import differences, signed_ranks

__all__ = ["at_rates", "best_rates", "swap_test"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Most swaps of a test, and how many at least as extreme end it early: a p-value near 0.05 then has a
# relative error of 7 %, a large one costs a few hundred swaps.
_SWAPS, _ENOUGH = 9_999, 200
# Swaps at a time, bounded by the memory of their values.
_ROWS, _VALUES = 500, 4_000_000


def best_rates(cost: ArrayLike) -> Counts:
    """Return which rate has the lowest median cost over seeds.

    Of rates that tie, the one at which fewer seeds fail is taken, then the first.

    Args:
        cost: final metrics turned so that lower is better, infinite where a member diverged; shape
            (..., rates, seeds).

    Returns:
        Index of the rate, shape (...).

    >>> int(best_rates([[1.0, 1.0, 9.0], [2.0, 2.0, 2.0]]))
    0
    """
    cost = np.asarray(cost, dtype=np.float64)
    median = quantile(cost, 0.5)
    tied = median == median.min(-1, keepdims=True)
    failed = (~np.isfinite(cost)).sum(-1)
    return np.asarray(np.argmin(np.where(tied, failed, cost.shape[-1] + 1), axis=-1))


def at_rates(values: ArrayLike, chosen: ArrayLike) -> NDArray[np.float64]:
    """Return the values at the chosen rates: shape (..., rates, seeds) to (..., seeds)."""
    values = np.asarray(values, dtype=np.float64)
    return np.take_along_axis(values, np.asarray(chosen)[..., None, None], -2)[..., 0, :]


def _statistics(cost: Floats, failed: Floats, test: str) -> tuple[Floats, Floats]:
    """How far two plans are apart at their best rates, in scores and in failures; (..., 2, rates, seeds)."""
    chosen = best_rates(cost)
    found = []
    for values in (cost, failed):
        first, second = np.moveaxis(at_rates(values, chosen), -2, 0)
        gains = differences(second, first)
        ranked = signed_ranks(gains) if test == "wilcoxon" and values is cost else np.sign(gains)
        found.append(np.abs(ranked.sum(-1)))
    return found[0], found[1]


def swap_test(cost: ArrayLike, failed: ArrayLike, test: str = "sign") -> tuple[float, float]:
    """Return p-values of two plans, each at its best rate, for scores and for failures.

    If the plans are the same, then at any seed the members of one could as well be those of the
    other. So all members of a seed change sides or stay, at random, both rates are chosen again,
    and p is the share of such swaps with plans at least as far apart (in wins minus losses) as
    these. That is exact for whatever way of choosing; a test that takes the rates as given is not,
    and choosing for each seed by the other seeds makes it worse: of 100 seeds at five equally good
    rates it finds a difference between identical plans in a quarter of cases.

    The swaps are the same for the same number of seeds; once 200 were as extreme, p is 200 over
    their number.

    Args:
        cost: final metrics turned so that lower is better, infinite where a member diverged; shape
            (2, rates, seeds).
        failed: whether a member failed, same shape.
        test: ``"sign"``, or ``"wilcoxon"`` for signed ranks of the scores.

    >>> cost = np.arange(16.0) + np.array([0.0, 20.0])[:, None, None] + np.zeros((2, 3, 1))
    >>> swap_test(cost, np.zeros_like(cost))[0] < 0.001
    True

    Source: Fisher (1935), The design of experiments, section 21 (randomization); Besag & Clifford
    (1991), Sequential Monte Carlo p-values.
    """
    cost, failed = np.asarray(cost, dtype=np.float64), np.asarray(failed, dtype=np.float64)
    seeds = cost.shape[-1]
    here = _statistics(cost, failed, test)
    bits = np.random.PCG64(seeds)
    rows = max(1, min(_ROWS, _VALUES // cost.size))
    exceeding: list[list[NDArray[np.bool_]]] = [[], []]
    drawn = 0
    while drawn < _SWAPS and any(sum(int(part.sum()) for part in half) < _ENOUGH for half in exceeding):
        rows = min(rows, _SWAPS - drawn)
        # The generator's own words are the same in every version of NumPy.
        words = bits.random_raw(-(-rows * seeds // 64)).view(np.uint8)
        swapped = np.unpackbits(words)[: rows * seeds].reshape(rows, 1, 1, seeds).astype(bool)
        there = _statistics(
            np.where(swapped, cost[::-1], cost), np.where(swapped, failed[::-1], failed), test
        )
        for half, one, other in zip(exceeding, here, there, strict=True):
            half.append(other >= one)
        drawn += rows
    return _sequential(np.concatenate(exceeding[0])), _sequential(np.concatenate(exceeding[1]))


def _sequential(exceeding: NDArray[np.bool_]) -> float:
    """Return Besag and Clifford's p-value of a sequence of draws."""
    reached = np.flatnonzero(np.cumsum(exceeding) == _ENOUGH)
    if reached.size:
        return float(_ENOUGH / (reached[0] + 1))
    return float((exceeding.sum() + 1) / (exceeding.size + 1))
