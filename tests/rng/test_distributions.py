"""Do many draws follow their law? Each test errs with probability below 1e-6 and catches a planted fault.

The seeds are fixed, so a test that passes once passes always; the rate says how much a passing
test means. Thresholds are quantiles of the statistic under the law, for 1e-6 or less.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special as special
import scipy.stats as stats
import torch

from goodinit.rng import derive_key, fill_normal_, fill_truncated_normal_, fill_uniform_

COUNT = 1 << 20
ALARM = 1e-6
SIGMAS = 4.9  # two-sided normal quantile of 1e-6
KS = math.sqrt(math.log(2 / ALARM) / 2)  # Kolmogorov: P(√n·D > KS) < ALARM (Massart 1990)

LAWS: dict[str, tuple[Callable[[torch.Tensor, int], torch.Tensor], stats.distributions.rv_frozen]] = {
    "uniform": (lambda t, key: fill_uniform_(t, key, -1.0, 3.0), stats.uniform(-1, 4)),
    "normal": (lambda t, key: fill_normal_(t, key, 1.0, 2.0), stats.norm(1, 2)),
}
for _low, _high in (
    (-2.0, 2.0),
    (2.0, 4.0),
    (-1.0, 3.0),
    (-math.inf, math.inf),
    (-0.5, math.inf),
    (-7.0, -6.0),
):
    LAWS[f"truncated {_low} {_high}"] = (
        lambda t, key, low=_low, high=_high: fill_truncated_normal_(t, key, 0.0, 1.0, low, high),
        stats.truncnorm(_low, _high),
    )

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def draws(law: str, dtype: torch.dtype = torch.float32, name: str = "a", count: int = COUNT) -> np.ndarray:
    return LAWS[law][0](torch.empty(count, dtype=dtype), derive_key(11, name)).double().numpy()


def cumulative(law: stats.distributions.rv_frozen, x: np.ndarray) -> np.ndarray:
    """Return the law's distribution function; scipy's own is far slower for truncated normals."""
    if law.dist.name != "truncnorm":
        return np.asarray(law.cdf(x))
    low, high = law.args
    if low > 0:
        return (special.ndtr(-low) - special.ndtr(-x)) / (special.ndtr(-low) - special.ndtr(-high))
    return (special.ndtr(x) - special.ndtr(low)) / (special.ndtr(high) - special.ndtr(low))


def distance(values: np.ndarray, law: stats.distributions.rv_frozen) -> float:
    """Kolmogorov's √n·D."""
    n = values.size
    below = cumulative(law, np.sort(values))
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * max(np.max(steps[1:] - below), np.max(below - steps[:-1]))


def moment_errors(values: np.ndarray, law: stats.distributions.rv_frozen) -> list[float]:
    """Errors of the mean and of the variance around the law's mean, in standard errors."""
    mean, variance, excess = (float(m) for m in law.stats("mvk"))
    n = values.size
    error = (values.mean() - mean) / math.sqrt(variance / n)
    spread = ((values - mean) ** 2).mean() / variance - 1
    return [abs(error), abs(spread) / math.sqrt((excess + 2) / n)]


@both_dtypes
@pytest.mark.parametrize("law", LAWS)
def test_draws_follow_their_law(law: str, dtype: torch.dtype) -> None:
    values, expected = draws(law, dtype), LAWS[law][1]
    assert distance(values, expected) < KS
    assert max(moment_errors(values, expected)) < SIGMAS


@pytest.mark.parametrize("law", LAWS)
def test_a_planted_wrong_law_is_caught(law: str) -> None:
    values, expected = draws(law), LAWS[law][1]
    center = expected.mean()
    assert max(moment_errors(center + 1.02 * (values - center), expected)) > SIGMAS
    assert max(moment_errors(values + 0.01 * expected.std(), expected)) > SIGMAS
    # The mean and the variance are right, the shape is not.
    ranks = (np.arange(COUNT) + 0.5) / COUNT
    other = stats.laplace(0, math.sqrt(0.5)).ppf(ranks)
    assert distance(center + expected.std() * other, expected) > KS


@both_dtypes
@pytest.mark.parametrize("law", ["normal", "truncated -inf inf"])
def test_far_tails_have_their_share(law: str, dtype: torch.dtype) -> None:
    count = 1 << 22
    values = draws(law, dtype, "tails", count)
    z = np.abs(values - LAWS[law][1].mean()) / LAWS[law][1].std()

    def alarm(z: np.ndarray, sigma: float) -> bool:
        beyond, rate = int((z > sigma).sum()), 2 * special.ndtr(-sigma)
        binomial = stats.binom(count, rate)
        return bool(min(binomial.cdf(beyond), binomial.sf(beyond - 1)) < ALARM / 2)

    for sigma in (3.0, 4.0, 4.5, 5.0):
        assert not alarm(z, sigma)
    # Planted: a law cut at 4 sigma, and a scale 3 % too wide.
    assert alarm(np.minimum(z, 4.0), 4.0)
    assert alarm(z * 1.03, 3.0)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """√n times the correlation: standard normal for independent draws."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).mean() / (a.std() * b.std()) * math.sqrt(a.size))


# Some sixty correlations are looked at below: 5.9 keeps the rate of all together below 1e-6.
INDEPENDENT = 5.9


@pytest.mark.parametrize("law", ["uniform", "normal", "truncated -2.0 2.0"])
def test_neighbours_are_uncorrelated_in_value_and_in_size(law: str) -> None:
    x = draws(law)
    x = x - x.mean()
    for lag in (1, 2, 3, 4, 64, 1024):
        assert abs(correlation(x[:-lag], x[lag:])) < INDEPENDENT
        assert abs(correlation(x[:-lag] ** 2, x[lag:] ** 2)) < INDEPENDENT
    assert abs(correlation(x[0::2], x[1::2])) < INDEPENDENT
    leaking = x[1:] + 0.01 * x[:-1]
    assert abs(correlation(x[:-1], leaking)) > INDEPENDENT


@pytest.mark.parametrize("law", ["uniform", "normal", "truncated -2.0 2.0"])
def test_other_names_and_streams_and_near_keys_are_uncorrelated(law: str) -> None:
    x, other = draws(law), draws(law, name="b")
    assert abs(correlation(x, other)) < INDEPENDENT
    assert abs(correlation(x**2, other**2)) < INDEPENDENT
    key = derive_key(11, "a")
    near = LAWS[law][0](torch.empty(COUNT), key ^ 1).double().numpy()
    assert abs(correlation(x, near)) < INDEPENDENT
    assert abs(correlation(x, 0.01 * x + near)) > INDEPENDENT


def test_streams_of_one_key_are_uncorrelated() -> None:
    key = derive_key(11, "a")
    x, y = (fill_normal_(torch.empty(COUNT), key, 0.0, 1.0, stream=s).double().numpy() for s in (0, 1))
    assert abs(correlation(x, y)) < INDEPENDENT


def test_pairs_of_neighbours_fill_the_square_evenly() -> None:
    u = (draws("uniform", count=1 << 21) + 1) / 4

    def alarm(u: np.ndarray) -> bool:
        cells = np.bincount((u[0::2] * 32).astype(int) * 32 + (u[1::2] * 32).astype(int), minlength=1024)
        return bool(stats.chisquare(cells).pvalue < ALARM)

    assert not alarm(u)
    planted = u.copy()
    planted[1::2] = np.where(np.arange(COUNT) % 50 == 0, u[0::2], u[1::2])
    assert alarm(planted)
