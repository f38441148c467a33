"""How many seeds a sign test needs."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MOST", "least_seeds", "seeds_needed", "sign_power"]

# Beyond this nobody trains seeds to settle a difference; it is said to be out of reach.
MOST = 10_000


def sign_power(seeds: ArrayLike, share: float, alpha: float = 0.05) -> NDArray[np.float64]:
    """Return the probability that a two-sided sign test finds a plan that wins `share` of untied seeds.

    Args:
        seeds: numbers of untied seeds, any shape.
        share: true probability that the first plan wins a seed.
        alpha: level of the test.

    >>> round(float(sign_power(32, 0.8)), 3)
    0.91
    """
    from scipy.special import bdtr, bdtrc, ndtri

    seeds = np.asarray(seeds, dtype=np.int64)
    # The most losses at which the test still rejects, from the normal law and then exactly;
    # negative where it never does.
    most = np.floor(seeds / 2 + ndtri(alpha / 2) * np.sqrt(seeds) / 2).astype(np.int64) + 2
    while (wrong := (most >= 0) & (2 * bdtr(most, seeds, 0.5) > alpha)).any():
        most = most - wrong
    kept = np.clip(most, 0, np.maximum(seeds - 1, 0))
    power = bdtr(kept, seeds, share) + bdtrc(seeds - kept - 1, seeds, share)
    return np.asarray(np.where(most >= 0, power, 0.0))


@lru_cache(maxsize=4096)
def seeds_needed(share: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return the number of untied seeds from which on a sign test finds a plan that wins `share` of them.

    Exact: power rises in saw teeth with the number of seeds, and this is the first from which on it
    does not fall below `power` again.

    Args:
        share: probability that the plan wins a seed.
        alpha: level of the test, after whatever correction it is subject to.
        power: wanted probability of finding the difference.

    Returns:
        A number of seeds, or None where 10,000 are not enough.

    >>> seeds_needed(0.75), seeds_needed(0.5)
    (35, None)
    """
    from scipy.special import ndtri

    away = abs(share - 0.5)
    if away < 1e-12:
        return None
    # The normal approximation brackets the exact answer (Noether 1987, equation 5).
    z = float(ndtri(1 - alpha / 2) + ndtri(power))
    guess = z * z / (4 * away * away)
    if guess > 2 * MOST:
        return None
    seeds = np.arange(1, min(MOST, math.ceil(1.5 * guess) + 60) + 1)
    short = np.flatnonzero(sign_power(seeds, share, alpha) < power)
    last = int(seeds[short[-1]]) if short.size else 0
    return last + 1 if last < seeds[-1] else None


def least_seeds(alpha: float = 0.05) -> int:
    """Return the fewest untied seeds with which a sign test can reject at all: 2^(1 − n) ≤ alpha.

    >>> least_seeds(0.05)
    6
    """
    return math.ceil(1 - math.log2(alpha) - 1e-12)
