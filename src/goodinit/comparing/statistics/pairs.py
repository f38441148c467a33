"""Every pair of plans at every learning rate, tested in one family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodinit.comparing.statistics.choosing import at_rates, best_rates, swap_test
from goodinit.comparing.statistics.families import holm
from goodinit.comparing.statistics.paired import differences, least_p, sign_test, signed_rank_test, tally

__all__ = ["ALPHA", "Pairs", "at_each_level", "compare_pairs"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# The share of comparisons of identical plans that may bring a finding.
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Pairs:
    """Tests of pairs of plans; arrays of shape (..., levels, pairs), the pairs in the order of `index`.

    Attributes:
        index: the two plans of each pair.
        wins: seeds at which the first plan is better; `losses` the second; `ties` neither.
        p: p-value of the scores; `p_holm` after the correction over all tests of scores and failures.
        failure_p: p-value of the failures, `failure_p_holm` likewise.
        chosen: each plan's best rate, shape (..., plans); None where there is only one.
        family: how many tests share the error rate; those that could find nothing are not counted.
    """

    index: tuple[tuple[int, int], ...]
    wins: Counts
    losses: Counts
    ties: Counts
    p: Floats
    p_holm: Floats
    failure_p: Floats
    failure_p_holm: Floats
    family: Counts
    chosen: Counts | None


def at_each_level(values: ArrayLike, chosen: Counts | None) -> NDArray[np.float64]:
    """Return values by (..., level, plan, seed): each learning rate, then each plan's chosen one.

    Args:
        values: shape (..., plans, rates, seeds).
        chosen: index of the rate, shape (..., plans); None where there was no choice.
    """
    values = np.asarray(values, dtype=np.float64)
    levels = np.moveaxis(values, -2, -3)
    if chosen is None:
        return levels
    return np.concatenate([levels, at_rates(values, chosen)[..., None, :, :]], axis=-3)


def compare_pairs(cost: ArrayLike, failed: ArrayLike, *, test: str = "sign") -> Pairs:
    """Test every pair of plans on the same seeds, at every learning rate and, of several, at the best.

    One family for everything that may be reported as found: the probability that identical plans
    bring one finding or more, in scores or in failures, is at most 5 %.

    Args:
        cost: final metrics turned so that lower is better, infinite where a member diverged; shape
            (..., plans, rates, seeds).
        failed: whether a member diverged or died, same shape.
        test: ``"sign"`` or ``"wilcoxon"``, for the scores; failures take the sign test (McNemar's).
    """
    cost, failed = np.asarray(cost, dtype=np.float64), np.asarray(failed, dtype=np.float64)
    chosen = best_rates(cost) if cost.shape[-2] > 1 else None
    index = tuple(combinations(range(cost.shape[-3]), 2))
    sides = [i for i, _ in index], [j for _, j in index]
    p, least, counts = [], [], []
    for values, kind in ((cost, test), (failed, "sign")):
        first, second = (at_each_level(values, chosen)[..., side, :] for side in sides)
        gains = differences(second, first)
        wins, losses, ties = tally(gains)
        counts.append((wins, losses, ties))
        p.append(sign_test(wins, losses) if kind == "sign" else _each(signed_rank_test, gains))
        least.append(least_p(wins, losses))
    if chosen is not None:
        for each, found in zip(p, _at_best(cost, failed, index, test), strict=True):
            each[..., -1, :] = found
        for each, values in zip(least, (cost, failed), strict=True):
            # Whatever rates are chosen, seeds at which two plans differ at none cannot tell them apart.
            unlike = (values[..., sides[0], :, :] != values[..., sides[1], :, :]).any(-2).sum(-1)
            each[..., -1, :] = least_p(unlike, 0)

    lead = p[0].shape[:-2]
    reachable = np.stack(least, -1).reshape(*lead, -1)
    corrected = holm(np.stack(p, -1).reshape(*lead, -1), reachable).reshape(*p[0].shape, 2)
    family = (reachable <= ALPHA).sum(-1)
    return Pairs(index, *counts[0], p[0], corrected[..., 0], p[1], corrected[..., 1], family, chosen)


def _each(function: Callable[[Floats], float], rows: Floats) -> Floats:
    """Apply a function of one sample along the last axis."""
    flat = rows.reshape(-1, rows.shape[-1])
    return np.array([function(row) for row in flat]).reshape(rows.shape[:-1])


def _at_best(
    cost: Floats, failed: Floats, index: tuple[tuple[int, int], ...], test: str
) -> tuple[Floats, Floats]:
    """Return p-values of scores and of failures at the best rates, shape (..., pairs)."""
    lead = cost.shape[:-3]
    found = np.array(
        [
            [swap_test(cost[each][list(pair)], failed[each][list(pair)], test) for pair in index]
            for each in np.ndindex(lead)
        ]
    ).reshape(*lead, len(index), 2)
    return found[..., 0], found[..., 1]
