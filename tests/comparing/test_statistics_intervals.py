"""Medians, quantiles and shares: exact where theory is exact, and covering what they promise.

Coverage is a share of 20,000 samples, whose own error (one σ) is at most 0.0018; a law that is covered with
probability 0.939 to 0.961 leaves [0.93, 0.97] in fewer than one run in 1e6.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats as stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from goodinit.comparing.statistics.curves import curve
from goodinit.comparing.statistics.intervals import (
    median_interval,
    median_intervals,
    quantile,
    share_interval,
)
from goodinit.errors import ArgumentError

REPEATS = 20_000
COVERED = (0.93, 0.97)

finite = st.floats(-1e6, 1e6)
samples = arrays(
    np.float64, st.integers(1, 40), elements=finite | st.sampled_from([math.inf, -math.inf, 0.0])
)

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
# Law -> how to draw it, and its median.
LAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda g, shape: g.standard_normal(shape), 0.0),
    "skewed": (lambda g, shape: np.exp(2 * g.standard_normal(shape)), 1.0),
    "heavy": (lambda g, shape: g.standard_cauchy(shape), 0.0),
    "heavy and skewed": (lambda g, shape: g.pareto(0.5, shape), 3.0),
    "a third diverged": (lambda g, shape: (lambda u: np.where(u < 0.7, u, np.inf))(g.random(shape)), 0.5),
}


def coverage(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def percentile_bootstrap(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap of the median of an odd number, with infinitely many resamples.

    The middle of a resample is at most x_(k) when more than half of it comes from the k smallest.
    """
    count = samples.shape[-1]
    ordered = np.sort(samples, -1)
    reached = stats.binom.sf(count // 2, count, np.arange(1, count + 1) / count)
    low, high = (int(np.searchsorted(reached, tail)) for tail in (0.025, 0.975))
    return ordered[:, low], ordered[:, high]


def mean_interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = stats.t.ppf(0.975, samples.shape[1] - 1) * samples.std(1, ddof=1) / math.sqrt(samples.shape[1])
    return samples.mean(1) - half, samples.mean(1) + half


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seeds", [8, 9, 16, 32, 64, 256])
def test_95_percent_intervals_of_the_median_cover_it_in_93_to_97_percent(law: str, seeds: int) -> None:
    draw, truth = LAWS[law]
    _, low, high, confidence = median_intervals(draw(np.random.default_rng(seeds), (REPEATS, seeds)))
    assert confidence == 0.95
    assert COVERED[0] <= coverage(low, high, truth) <= COVERED[1]


@pytest.mark.parametrize(("law", "seeds"), [("skewed", 16), ("skewed", 256), ("heavy and skewed", 32)])
def test_an_interval_of_the_mean_would_fail_the_same_check(law: str, seeds: int) -> None:
    draw, truth = LAWS[law]
    low, high = mean_interval(draw(np.random.default_rng(seeds), (REPEATS, seeds)))
    assert not COVERED[0] <= coverage(low, high, truth) <= COVERED[1]


@pytest.mark.parametrize("law", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("seeds", [7, 13, 23])
def test_a_bootstrap_misses_where_order_statistics_hold(law: str, seeds: int) -> None:
    draw, truth = LAWS[law]
    samples = draw(np.random.default_rng(seeds), (REPEATS, seeds))
    _, low, high, _ = median_intervals(samples)
    assert COVERED[0] <= coverage(low, high, truth) <= COVERED[1]
    assert coverage(*percentile_bootstrap(samples), truth) < COVERED[0]


@pytest.mark.parametrize("seeds", [7, 13])
def test_that_bootstrap_is_scipys(seeds: int) -> None:
    sample = np.random.default_rng(seeds).standard_normal(seeds)
    # Resamples pass each end's level by more than 25 of their standard errors.
    found = stats.bootstrap(
        (sample,), np.median, n_resamples=200_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == tuple(end[0] for end in percentile_bootstrap(sample[None]))


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_too_few_seeds_say_the_confidence_that_their_range_has(seeds: int) -> None:
    samples = np.random.default_rng(seeds).standard_normal((REPEATS, seeds))
    _, low, high, confidence = median_intervals(samples)
    assert confidence == 1 - 2 ** (1 - seeds)
    assert np.array_equal(low, samples.min(1))
    assert np.array_equal(high, samples.max(1))
    # One σ is at most 0.0035.
    assert coverage(low, high, 0.0) == pytest.approx(confidence, abs=4.9 * 0.0035)


@given(samples, st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_an_interval_holds_its_median_and_grows_with_confidence(values: np.ndarray, level: float) -> None:
    one, wider = median_interval(values, level), median_interval(values, 0.999)
    assert wider.low <= one.low <= one.value <= one.high <= wider.high
    assert one.confidence <= level


@given(samples)
def test_turning_the_values_around_turns_the_interval_around(values: np.ndarray) -> None:
    one, other = median_interval(values), median_interval(-values)
    assert (one.low, one.value, one.high) == pytest.approx((-other.high, -other.value, -other.low))


@given(arrays(np.float64, (5, 7), elements=finite), st.floats(0, 1))
def test_quantiles_of_finite_values_are_numpys(values: np.ndarray, level: float) -> None:
    assert quantile(values, level) == pytest.approx(np.quantile(values, level, axis=-1), rel=1e-9, abs=1e-6)
    assert quantile(values, level, axis=0) == pytest.approx(
        np.quantile(values, level, axis=0), rel=1e-9, abs=1e-6
    )


@given(samples, st.floats(0, 1))
def test_quantiles_of_infinite_values_are_never_nan_and_stay_inside(values: np.ndarray, level: float) -> None:
    found = float(quantile(values, level))
    assert values.min() <= found <= values.max()


@pytest.mark.parametrize(
    ("values", "level", "expected"),
    [
        ([1.0, 2.0, math.inf, math.inf], 0.5, math.inf),
        ([-math.inf, -math.inf, 1.0, 2.0], 0.5, -math.inf),
        ([-math.inf, math.inf], 0.5, 0.0),
        ([-math.inf, math.inf], 0.4, -math.inf),
        ([-math.inf, math.inf], 0.6, math.inf),
        ([math.inf, math.inf], 0.3, math.inf),
        ([0.0, 1.0, math.inf], 0.5, 1.0),
    ],
)
def test_half_failures_make_a_failure_of_the_median(
    values: list[float], level: float, expected: float
) -> None:
    assert float(quantile(values, level)) == expected


def average_coverage(interval: Callable[[int, int], tuple[float, float]], total: int) -> float:
    """The share covered, exactly summed over counts and averaged over true shares from 0.02 to 0.98."""
    shares, counts = np.linspace(0.02, 0.98, 193), np.arange(total + 1)
    ends = np.array([interval(int(count), total) for count in counts])
    held = (ends[:, :1] <= shares) & (shares <= ends[:, 1:])
    return float((held * stats.binom.pmf(counts[:, None], total, shares)).sum(0).mean())


def wilson(count: int, total: int) -> tuple[float, float]:
    interval = share_interval(count, total)
    return interval.low, interval.high


def wald(count: int, total: int) -> tuple[float, float]:
    share = count / total
    half = 1.96 * math.sqrt(share * (1 - share) / total)
    return share - half, share + half


@pytest.mark.parametrize("total", [8, 16, 32, 64, 256])
def test_intervals_of_shares_cover_93_to_97_percent_on_average(total: int) -> None:
    assert COVERED[0] <= average_coverage(wilson, total) <= COVERED[1]


@pytest.mark.parametrize("total", [8, 16, 32])
def test_walds_interval_would_fail_the_same_check(total: int) -> None:
    assert average_coverage(wald, total) < COVERED[0]


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_of_shares_are_scipys(drawn: tuple[int, int]) -> None:
    found, expected = share_interval(*drawn), stats.binomtest(*drawn).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("bad", [(0, 0), (3, 2), (-1, 5)])
def test_a_share_of_nothing_is_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(ArgumentError, match="count must lie in"):
        share_interval(*bad)


def test_an_interval_never_leaves_out_the_finite_end_because_the_next_value_is_infinite() -> None:
    assert median_interval([1.0, *[math.inf] * 7]).low == 1.0
    assert median_interval([1.0, *[-math.inf] * 7]).high == 1.0


def test_a_curve_counts_those_that_diverged_as_the_worst_from_there_on() -> None:
    rows = [[1.0, 0.5, 0.1]] * 6 + [[1.0, math.nan, math.nan]] * 3 + [[1.0, 0.5, math.nan]] * 2
    shown = curve([0, 5, 10], rows, worst=math.inf)
    assert shown.steps == (0, 5, 10)
    assert shown.median == (1.0, 0.5, 0.1)
    assert shown.low == (1.0, 0.5, 0.1)
    assert shown.high == (1.0, math.inf, math.inf)
    survivors = curve([0, 5, 10], rows[:6], worst=math.inf)
    assert survivors.high != shown.high
    assert curve([0, 5, 10], rows, worst=-math.inf).low == (1.0, -math.inf, -math.inf)
