"""Paired tests, Holm's correction, power and the choice of a rate, against independent computations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats as stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from goodinit.comparing.statistics.choosing import at_rates, best_rates
from goodinit.comparing.statistics.families import holm
from goodinit.comparing.statistics.paired import (
    differences,
    least_p,
    rank_biserial,
    sign_test,
    signed_rank_test,
    tally,
)
from goodinit.comparing.statistics.sample_size import MOST, least_seeds, seeds_needed, sign_power

scores = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3) | st.just(math.inf))
# Few distinct values, so that ties are common.
gains = arrays(np.float64, st.integers(1, 9), elements=st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.0, math.inf]))


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_sign_test_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert float(sign_test(wins, losses)) == pytest.approx(expected, rel=1e-9)
    assert float(sign_test(wins, losses)) >= float(least_p(wins, losses)) * (1 - 1e-9)


@given(gains)
def test_the_signed_rank_test_counts_every_pattern_of_signs(values: np.ndarray) -> None:
    untied = values[values != 0]
    if not untied.size:
        assert signed_rank_test(values) == 1.0
        return
    ranks = stats.rankdata(np.abs(untied))
    middle = ranks.sum() / 2
    away = abs(ranks[untied > 0].sum() - middle)
    patterns = [abs(np.dot(signs, ranks) - middle) for signs in itertools.product((0, 1), repeat=untied.size)]
    expected = np.mean(np.array(patterns) >= away - 1e-9)
    assert signed_rank_test(values) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [20, 256])
def test_the_signed_rank_test_is_scipys_without_ties(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count) + 0.1
    assert signed_rank_test(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_many_seeds_take_the_normal_law_of_the_signed_ranks(shift: float) -> None:
    values = np.random.default_rng(7).standard_normal(257) + shift
    exact = stats.wilcoxon(values, method="exact").pvalue
    assert signed_rank_test(values) == pytest.approx(exact, abs=2e-4)


@given(scores, st.randoms(use_true_random=False))
def test_two_that_diverged_tie_and_one_that_diverged_loses(values: np.ndarray, random: object) -> None:
    other = np.where(np.arange(values.size) % 3 == 0, values, values[::-1])
    gaps = differences(values, other)
    assert not np.isnan(gaps).any()
    assert np.array_equal(gaps, -differences(other, values))
    assert np.array_equal(gaps > 0, values > other)
    assert np.array_equal(gaps == 0, values == other)
    assert sum(int(part) for part in tally(gaps)) == values.size


@given(gains)
def test_the_effect_is_the_share_of_ranks_for_minus_against(values: np.ndarray) -> None:
    untied = values[values != 0]
    ranks = stats.rankdata(np.abs(untied))
    expected = (np.sign(untied) * ranks).sum() / ranks.sum() if untied.size else 0.0
    assert rank_biserial(values) == pytest.approx(expected)
    assert rank_biserial(-values) == pytest.approx(-expected)


def test_the_effect_runs_from_always_worse_to_always_better() -> None:
    assert rank_biserial([1.0, 5.0, math.inf]) == 1.0
    assert rank_biserial([-1.0, -5.0]) == -1.0
    assert rank_biserial([0.0, 0.0]) == 0.0


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: np.ndarray) -> None:
    corrected = holm(p)
    assert (corrected >= p).all()
    for level in (0.01, 0.05, 0.2, *np.minimum(corrected, 0.999)):
        rejected = np.zeros(p.size, dtype=bool)
        for place, which in enumerate(np.argsort(p, kind="stable")):
            if p[which] * (p.size - place) > level:
                break
            rejected[which] = True
        assert np.array_equal(corrected <= level, rejected)


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 0.04)), st.integers(0, 5))
def test_tests_that_can_find_nothing_cost_the_others_nothing(p: np.ndarray, idle: int) -> None:
    every = np.concatenate([np.full(idle, 0.0625), p])
    found = holm(every, np.concatenate([np.full(idle, 0.0625), np.zeros(p.size)]))
    assert np.array_equal(found[idle:], holm(p))
    assert (found[:idle] == 1).all()
    if idle and (p > 0).any():
        assert (holm(every)[idle:] > holm(p))[p > 0].any()


def test_holm_corrects_each_row_by_itself() -> None:
    p = np.random.default_rng(0).random((4, 3, 5))
    assert np.array_equal(holm(p)[2, 1], holm(p[2, 1]))


@pytest.mark.parametrize("alpha", [0.05, 0.003, 0.05 / 48, 1e-6])
@pytest.mark.parametrize("share", [0.5, 0.7, 1.0])
def test_power_is_the_probability_of_the_outcomes_that_the_test_rejects(alpha: float, share: float) -> None:
    for seeds in (*range(1, 40), 100, 999):
        wins = np.arange(seeds + 1)
        rejected = sign_test(wins, seeds - wins) <= alpha
        expected = stats.binom.pmf(wins, seeds, share)[rejected].sum()
        assert float(sign_power(seeds, share, alpha)) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0.5, 1.0), st.sampled_from([0.05, 0.01, 0.001]))
def test_seeds_needed_is_the_least_from_which_on_power_holds(share: float, alpha: float) -> None:
    needed = seeds_needed(share, alpha)
    if needed is None:
        assert float(sign_power(MOST, share, alpha)) < 0.81
        return
    assert float(sign_power(needed - 1, share, alpha)) < 0.8
    later = np.arange(needed, min(3 * needed + 100, MOST))
    assert (sign_power(later, share, alpha) >= 0.8).all()
    assert seeds_needed(1 - share, alpha) == pytest.approx(needed, abs=1)


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.05 / 3, 0.03125, 0.001])
def test_the_least_number_of_seeds_is_the_first_that_can_reject(alpha: float) -> None:
    least = least_seeds(alpha)
    assert float(sign_test(least, 0)) <= alpha
    assert float(sign_test(least - 1, 0)) > alpha


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9)),
        elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, math.inf]),
    )
)
def test_the_best_rate_has_the_lowest_median_then_the_fewest_failures(cost: np.ndarray) -> None:
    chosen = best_rates(cost)
    for plan, rates in enumerate(np.sort(cost, -1)):
        count = rates.shape[1]
        medians = (rates[:, (count - 1) // 2] + rates[:, count // 2]) / 2
        keys = [(medians[rate], np.isinf(rates[rate]).sum(), rate) for rate in range(len(rates))]
        assert chosen[plan] == min(keys)[2]
        assert np.array_equal(at_rates(cost, chosen)[plan], cost[plan, chosen[plan]])
