"""Simulated comparisons: identical plans are seldom told apart, different ones as often as promised.

Shares are held against the 1 − 1e-6 quantile of the binomial law at the promised probability, so a statistic
that keeps its promise exactly fails one run in 1e6; every check has a wrong statistic beside it that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import scipy.stats as stats

from goodinit.comparing.statistics.choosing import best_rates, swap_test
from goodinit.comparing.statistics.paired import sign_test, tally
from goodinit.comparing.statistics.pairs import Pairs, compare_pairs
from goodinit.comparing.statistics.sample_size import seeds_needed, sign_power

ALARM = 1e-6

Draw = Callable[[np.random.Generator, tuple[int, int, int, int]], np.ndarray]


def smooth(g: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Skewed losses of which most is the seed's, alike for all plans and rates."""
    return np.exp(2 * g.standard_normal((shape[0], 1, 1, shape[3])) + g.standard_normal(shape))


def tied(g: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Accuracies on 20 examples: many seeds tie."""
    return -g.binomial(20, 0.8, shape) / 20


def divergent(g: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Heavy tails, and 40 % of the members diverge."""
    return np.where(g.random(shape) < 0.4, np.inf, g.standard_cauchy(shape))


def graded(g: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Rates that are a little better than others, so that the choice among them is often wrong."""
    return g.standard_normal(shape) + 0.15 * np.arange(shape[2])[:, None]


LAWS: dict[str, Draw] = {law.__name__: law for law in (smooth, tied, divergent, graded)}


def judged(law: Draw, shape: tuple[int, int, int, int]) -> Pairs:
    cost = law(np.random.default_rng(shape[1:]), shape)
    return compare_pairs(cost, ~np.isfinite(cost))


def any_found(*p: np.ndarray) -> int:
    return int(np.any([(each <= 0.05).any((-1, -2)) for each in p], axis=0).sum())


def at_most(repeats: int, share: float = 0.05) -> int:
    return int(stats.binom.isf(ALARM, repeats, share))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(4000, 2, 1, 8), (4000, 2, 1, 32), (4000, 4, 1, 12), (1000, 6, 1, 32)])
def test_identical_plans_are_told_apart_in_at_most_5_percent(
    law: str, shape: tuple[int, int, int, int]
) -> None:
    found = judged(LAWS[law], shape)
    assert any_found(found.p_holm, found.failure_p_holm) <= 0.05 * shape[0]


@pytest.mark.parametrize("law", ["smooth", "tied", "divergent"])
def test_four_identical_plans_at_three_rates_are_told_apart_in_at_most_5_percent(law: str) -> None:
    repeats = 60
    found = judged(LAWS[law], (repeats, 4, 3, 12))
    assert found.p.shape == (repeats, 4, 6)
    assert any_found(found.p_holm, found.failure_p_holm) <= at_most(repeats)
    # Without the correction the same check fails.
    assert any_found(found.p, found.failure_p) > at_most(repeats)


def leave_one_out(cost: np.ndarray) -> np.ndarray:
    """Scores at the rate that is best for each seed by the median of the others; an even number of seeds."""
    middle = cost.shape[-1] // 2
    ordered = np.sort(cost, -1)
    lower, upper = ordered[..., middle - 1 : middle], ordered[..., middle : middle + 1]
    chosen = np.where(cost <= lower, upper, lower).argmin(-2)
    return np.take_along_axis(cost, chosen[..., None, :], -2)[..., 0, :]


@pytest.mark.parametrize("law", ["smooth", "graded"])
def test_identical_plans_at_their_best_rates_are_told_apart_in_at_most_5_percent(law: str) -> None:
    repeats, seeds = 100, 32
    cost = LAWS[law](np.random.default_rng(40), (repeats, 2, 3, seeds))
    p = np.array([swap_test(each, np.zeros_like(each))[0] for each in cost])
    assert int((p <= 0.05).sum()) <= at_most(repeats)


def test_choosing_each_seeds_rate_by_the_other_seeds_would_fail_the_same_check() -> None:
    repeats = 300
    cost = np.random.default_rng(41).standard_normal((repeats, 2, 5, 100))
    first, second = np.moveaxis(leave_one_out(cost), 1, 0)
    wins, losses, _ = tally(second - first)
    assert int((sign_test(wins, losses) <= 0.05).sum()) > at_most(repeats)


@pytest.mark.parametrize("test", ["sign", "wilcoxon"])
@pytest.mark.parametrize("seed", range(6))
def test_the_swap_test_counts_all_swaps(seed: int, test: str) -> None:
    g = np.random.default_rng(seed)
    cost = g.standard_normal((2, 3, 7)) + np.array([0.0, seed / 4])[:, None, None]
    cost[g.random(cost.shape) < 0.2] = np.inf

    def failures_apart(sides: np.ndarray) -> int:
        first, second = (np.isinf(side[best_rates(side)]).sum() for side in sides)
        return abs(int(first) - int(second))

    def apart(sides: np.ndarray) -> float:
        first, second = (side[best_rates(side)] for side in sides)
        with np.errstate(invalid="ignore"):
            gains = np.where(first == second, 0.0, second - first)
        if test == "sign":
            return float(abs(np.sign(gains).sum()))
        ranks = stats.rankdata(np.abs(gains)) - (gains == 0).sum()
        return float(abs((np.sign(gains) * ranks).sum()))

    swaps = [np.where(np.array(each), cost[::-1], cost) for each in product((False, True), repeat=7)]
    exact = np.mean([apart(each) >= apart(cost) - 1e-9 for each in swaps])
    found, failures = swap_test(cost, ~np.isfinite(cost), test)
    # 200 of the swaps as extreme leave a relative σ of 1/√200 at most.
    assert found == pytest.approx(exact, rel=4.9 / np.sqrt(200), abs=0.002)
    exact = np.mean([failures_apart(each) >= failures_apart(cost) for each in swaps])
    assert failures == pytest.approx(exact, rel=4.9 / np.sqrt(200), abs=0.002)


def test_pairs_at_their_best_rates_are_judged_by_swaps() -> None:
    cost = graded(np.random.default_rng(8), (1, 3, 3, 20))[0]
    failed = cost > 1
    found = compare_pairs(cost, failed)
    for place, pair in enumerate(found.index):
        p = swap_test(cost[list(pair)], failed[list(pair)])
        assert (found.p[-1, place], found.failure_p[-1, place]) == p


def test_at_one_rate_the_swap_test_is_the_sign_test() -> None:
    cost = np.random.default_rng(3).standard_normal((2, 1, 25))
    cost[1] += 0.4
    wins, losses, _ = tally(cost[1, 0] - cost[0, 0])
    expected = float(sign_test(wins, losses))
    assert swap_test(cost, np.zeros_like(cost))[0] == pytest.approx(
        expected, rel=4.9 / np.sqrt(200), abs=0.002
    )


def test_many_swaps_as_extreme_end_the_test_early_and_few_do_not() -> None:
    g = np.random.default_rng(0)
    alike, apart = g.standard_normal((2, 2, 30)), g.standard_normal((2, 2, 30))
    apart[1] += 9
    assert swap_test(alike, np.zeros_like(alike))[0] > 0.02
    assert swap_test(apart, np.zeros_like(apart)) == (1 / 10_000, 1.0)


@pytest.mark.parametrize("seeds", [12, 32, 100])
@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_planted_differences_are_found_with_the_predicted_power(seeds: int, shift: float) -> None:
    repeats = 4000
    g = np.random.default_rng((seeds, int(10 * shift)))
    luck = 3 * g.standard_normal((repeats, 1, 1, seeds))
    cost = luck + g.standard_normal((repeats, 2, 1, seeds)) + shift * np.array([0, 1])[:, None, None]
    found = any_found(compare_pairs(cost, np.zeros_like(cost)).p_holm)
    predicted = float(sign_power(seeds, stats.norm.cdf(shift / np.sqrt(2))))
    low, high = stats.binom.ppf([ALARM / 2, 1 - ALARM / 2], repeats, predicted)
    assert low <= found <= high
    # Pairs of different seeds: the seed's luck hides the difference.
    cost[:, 1] = np.roll(cost[:, 1], 1, axis=-1)
    assert any_found(compare_pairs(cost, np.zeros_like(cost)).p_holm) < low


@pytest.mark.parametrize("share", [0.65, 0.8, 0.95])
def test_the_number_of_seeds_that_is_said_to_settle_it_does_in_80_percent(share: float) -> None:
    seeds, repeats = seeds_needed(share), 4000
    assert seeds is not None
    g = np.random.default_rng(int(100 * share))

    def found(count: int) -> int:
        wins = (g.random((repeats, count)) < share).sum(-1)
        return int((sign_test(wins, count - wins) <= 0.05).sum())

    assert found(seeds) >= stats.binom.ppf(ALARM, repeats, 0.8)
    assert found(seeds * 2 // 3) < stats.binom.ppf(ALARM, repeats, 0.8)


def test_a_difference_in_failures_alone_is_found() -> None:
    failed = np.zeros((2, 1, 32), dtype=bool)
    failed[1, 0, :9] = True
    alike = np.ones((2, 1, 32))
    found = compare_pairs(alike, failed)
    assert found.failure_p[0, 0] == 2 * 0.5**9
    # The scores tie on every seed, so they cost the failures nothing.
    assert found.failure_p_holm[0, 0] == found.failure_p[0, 0]
    assert found.p_holm[0, 0] == 1
    assert found.family == 1
