"""The p-values of moments are never too small: at no number of elements, however far out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from goodinit.initializers import Initializer, Normal, TruncatedNormal, Uniform
from goodinit.plans.tails import correlation_tail, mean_square_tail

CUTOFF = TruncatedNormal(cutoff=1.5)
COUNTS = [1, 2, 3, 10, 70]
# Of this many samples the share below a level exceeds it by 5.2 standard errors in 1e-7 of all runs.
SAMPLES = 40_000


def unit_draws(initializer: Initializer, count: int) -> np.ndarray:
    """Samples of shape (SAMPLES, count) with mean 0 and std 1."""
    rng = np.random.default_rng(count)
    if isinstance(initializer, Uniform):
        return rng.uniform(-(3**0.5), 3**0.5, (SAMPLES, count))
    if isinstance(initializer, TruncatedNormal):
        u = rng.uniform(
            stats.norm.cdf(-initializer.cutoff), stats.norm.cdf(initializer.cutoff), (SAMPLES, count)
        )
        return stats.norm.ppf(u) * initializer.sigma
    return rng.standard_normal((SAMPLES, count))


def share_below(level: float, p_values: list[float]) -> float:
    return float(np.mean(np.array(p_values) < level))


def most(level: float) -> float:
    return level + 5.2 * math.sqrt(level / SAMPLES)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("initializer", [Normal(), Uniform(-1.0, 1.0), CUTOFF], ids=repr)
def test_the_mean_square_of_true_draws_is_seldom_called_unlikely(
    initializer: Initializer, count: int
) -> None:
    ratios = np.sort((unit_draws(initializer, count) ** 2).mean(axis=1))
    tails = [*ratios[:400], *ratios[-400:]]  # no p-value below 0.01 stands elsewhere
    found = [mean_square_tail(initializer, float(ratio), count) for ratio in tails]
    for level in (1e-2, 1e-3, 1e-4):
        assert share_below(level, found) * len(tails) / SAMPLES <= most(level)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_central_limit_p_value_would_cry_wolf(count: int) -> None:
    # The planted fault of the test above: a gamma law of the right variance, for uniform draws.
    ratios = np.sort((unit_draws(Uniform(-1.0, 1.0), count) ** 2).mean(axis=1))[:400]
    shape = count / 0.8  # (kurtosis − 1) of a uniform law
    found = list(2 * stats.gamma.cdf(ratios, shape, scale=1 / shape))
    assert share_below(1e-4, found) * 400 / SAMPLES > 10 * most(1e-4)


@pytest.mark.parametrize("count", [2, 3, 10, 70])
def test_the_correlation_of_true_draws_is_seldom_called_unlikely(count: int) -> None:
    draws = unit_draws(Normal(), count)
    sizes = np.sort(np.abs((draws[:, 1:] * draws[:, :-1]).mean(axis=1)))[-800:]
    found = [correlation_tail(float(size), count) for size in sizes]
    by_limit = list(2 * stats.norm.sf(sizes * math.sqrt(count - 1)))
    for level in (1e-2, 1e-3, 1e-4):
        assert share_below(level, found) * 800 / SAMPLES <= most(level)
    if count <= 10:  # the fault that the bound cures; more values bring it further out
        assert share_below(1e-4, by_limit) * 800 / SAMPLES > most(1e-4)


@given(
    st.sampled_from(
        [Normal(), Uniform(-1.0, 1.0), TruncatedNormal(cutoff=0.3), CUTOFF, TruncatedNormal(cutoff=9)]
    ),
    st.integers(1, 10**8),
    st.floats(0, 1e6),
)
@settings(max_examples=300, deadline=None)
def test_p_values_are_probabilities_and_fall_with_the_distance(
    initializer: Initializer, count: int, ratio: float
) -> None:
    p_value = mean_square_tail(initializer, ratio, count)
    assert 0 <= p_value <= 1
    further = ratio * 1.5 if ratio > 1 else ratio / 1.5
    assert mean_square_tail(initializer, further, count) <= p_value * (1 + 1e-6)


@pytest.mark.parametrize("initializer", [Normal(), Uniform(-1.0, 1.0), CUTOFF], ids=repr)
@pytest.mark.parametrize("ratio", [0.9**2, 1.1**2])
def test_a_std_wrong_by_a_tenth_is_certain_at_ten_thousand_elements(
    initializer: Initializer, ratio: float
) -> None:
    assert mean_square_tail(initializer, ratio, 10_000) < 1e-15


def test_a_correlation_of_a_tenth_is_certain_at_ten_thousand_elements() -> None:
    assert correlation_tail(0.1, 10_000) < 1e-15
