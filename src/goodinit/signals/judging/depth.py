"""How a positive quantity changes over depth, and how much of that is chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

__all__ = [
    "Effect",
    "Noise",
    "Trend",
    "allowed",
    "effect",
    "expected",
    "factor",
    "interval",
    "noise",
    "severity",
    "trend",
]

# Factors of the second moment that healthy networks show beyond chance, from simulation over the families
# of tests/signals/test_calibration.py. `steady` holds for both halves of the depth, which a polynomial drift
# (tanh with Xavier: 1/depth) or one step at a pooling layer does not; it needs enough points to have halves.
_STEADY, _STEADY_POINTS = 20.0, 8
# A drift of a tenth per layer is what self-normalising networks have at depth 50 (SELU with LeCun's std:
# 1.07);
# it may add up to 200.
_PER_LAYER_DRIFT, _STEADY_MOST = 1.1, 200.0
_TOTAL, _TOTAL_POINTS = 1e4, 4
_ENDS = 1e6

# In powers of two of the second moment. 2⁻²⁴ is float32's rounding unit: what is larger by that ratio of stds
# drowns the rest. What fades, optimizers that divide by the gradient's size make up for, down to 2⁻⁵¹ in
# benchmarks/corpus.py.
_LOST, _FADED = 48, 80

# Relative variance that one layer of n units adds to a second moment is c/n, with c = E[φ⁴]/E[φ²]² − 1 of the
# units it sums: 5 for ReLU of a normal, 2 for linear, less for bounded ones. Hanin and Nica 2019, Theorem 1.
_PER_LAYER = 5.0
# Two-sided 3 sigma of a normal is 3e-3; the factors that healthy design may add to it (in travel) come on top
# and make false alarms rarer than 1e-4, see tests/signals/test_calibration.py.
_SIGMAS = 3.0

# Steps needed to trust their own spread; the factor that makes their median absolute deviation a
# normal's std; and the margin for estimating it from so few (its 95 % upper limit at ten steps).
_ENOUGH = 10
_MAD = 1.4826
_CAUTION = 1.5


@dataclass(frozen=True)
class Trend:
    """Natural logarithms of factors over the whole depth.

    `total` follows the median slope of all points, `steady` the gentlest of that and
    the two halves' slopes (0 if they disagree in sign), `ends` compares the medians of
    the last and the first third.
    """

    points: int
    total: float
    steady: float
    ends: float


@dataclass(frozen=True)
class Noise:
    """The log of a second moment after depth is close to normal, with this mean and std."""

    mean: float
    std: float

    @property
    def low(self) -> float:
        """Lower edge of what chance explains, as a logarithm."""
        return self.mean - _SIGMAS * self.std

    @property
    def high(self) -> float:
        """Upper edge of what chance explains, as a logarithm; to keep its size is nothing to explain."""
        return max(self.mean + _SIGMAS * self.std, 0.0)


def noise(units: Sequence[int], values: Sequence[float] = ()) -> Noise:
    """Return how far finite width alone moves a second moment over these layers.

    v = Σ_l 5/n_l; the logarithm is normal with mean −v/2 and variance v. Chance makes
    independent steps, so where there are enough of them their own spread is an upper
    bound as well, and the smaller of the two counts.

    Args:
        units: of each layer passed.
        values: the second moments along the way, if at hand.

    Source: Hanin and Nica, Products of many large random matrices and gradients in
    deep neural networks, 2019, Theorem 1.

    >>> noise([80] * 16)
    Noise(mean=-0.5, std=1.0)
    """
    variance = sum(_PER_LAYER / max(n, 1) for n in units)
    steps = [math.log(after / before) for before, after in pairwise(values)]
    if len(steps) >= _ENOUGH:
        middle = median(steps)
        spread = _CAUTION * _MAD * median(abs(step - middle) for step in steps)
        variance = min(variance, spread**2 * len(steps))
    return Noise(-variance / 2, math.sqrt(variance))


def trend(values: Sequence[float]) -> Trend:
    """Fit the change of log values over depth with slopes that single outliers do not move.

    The slope is Theil and Sen's: the median over all pairs of points.

    Args:
        values: positive, in order of depth, at least two.

    >>> round(trend([1.0, 2.0, 4.0, 8.0, 16.0]).total / math.log(2), 6)
    4.0
    """
    logs = [math.log(value) for value in values]
    steps = len(logs) - 1
    middle = max(1, len(logs) // 2)
    whole = _slope(logs)
    # A course that starts over (small adapters between large layers) falls in both halves alone.
    slopes = (whole, _slope(logs[: middle + 1]), _slope(logs[min(middle, steps - 1) :]))
    same = all(slope > 0 for slope in slopes) or all(slope < 0 for slope in slopes)
    third = max(1, len(logs) // 3)
    return Trend(
        points=len(logs),
        total=whole * steps,
        steady=min(slopes, key=abs) * steps if same else 0.0,
        ends=median(logs[-third:]) - median(logs[:third]),
    )


def _slope(logs: Sequence[float]) -> float:
    return median((logs[j] - logs[i]) / (j - i) for i, j in combinations(range(len(logs)), 2))


@dataclass(frozen=True)
class Effect:
    """A change beyond chance and beyond what healthy networks show; logarithms."""

    size: float
    noise: Noise
    slack: float


def effect(
    values: Sequence[float],
    units: Sequence[int],
    loose: float,
    *,
    chance: Noise | None = None,
    steady_points: int = _STEADY_POINTS,
) -> Effect | None:
    """Return the change over depth if it is more than chance and healthy design explain.

    Args:
        values: second moments along the way, positive.
        units: of each layer passed, for `noise`.
        loose: factor by which the allowed change is widened.
        chance: instead of what `noise` gives.
        steady_points: how many points a steady course needs.
    """
    change = trend(values)
    chance = noise(units, values) if chance is None else chance
    tests = [(change.ends, change.ends, _ENDS)]
    if change.points >= _TOTAL_POINTS:
        tests.insert(0, (change.total, change.total, _TOTAL))
    if change.points >= steady_points:
        drift = _PER_LAYER_DRIFT ** min(change.points - 1, 100)
        tests.insert(0, (change.steady, change.total, min(max(_STEADY, drift), _STEADY_MOST)))
    for size, reported, most in tests:
        slack = math.log(most * loose)
        if not chance.low - slack <= size <= chance.high + slack:
            return Effect(reported, chance, slack)
    return None


def factor(log: float) -> float:
    """Return e^log, kept within float64's range."""
    return math.exp(min(max(log, -700.0), 700.0))


def interval(found: Effect) -> tuple[float, float] | None:
    """Return the effect's factor less and plus what chance adds; None where that is nothing."""
    if found.noise.std == 0:
        return None
    spread = _SIGMAS * found.noise.std
    return factor(found.size - spread), factor(found.size + spread)


def expected(found: Effect) -> tuple[float, float]:
    """Return the factors that chance and healthy design explain."""
    return factor(found.noise.low - found.slack), allowed(found)


def allowed(found: Effect) -> float:
    """Return the largest factor that chance and healthy design explain."""
    return factor(found.noise.high + found.slack)


def severity(found: Effect) -> str:
    """Return "error" where such a change leaves nothing to learn from, else "warning"."""
    most = _LOST if found.size > 0 else _FADED
    return "error" if abs(found.size) > most * math.log(2) else "warning"
