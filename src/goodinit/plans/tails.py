"""How unlikely a measured moment is: p-values that are never too small, at any number of elements.

The central limit theorem says nothing of the far tails that a false-alarm rate of 1e-6 over
thousands of rows asks about. Where no exact tail is at hand these are Chernoff bounds,
P(S ≥ s) ≤ min over t ≥ 0 of E[exp(tS)]·exp(−ts), which hold for every sample size.
"""

from __future__ import annotations

import math

from goodinit.initializers import Initializer, TruncatedNormal, Uniform

__all__ = ["correlation_tail", "mean_square_tail"]

# A float32 draw lies on a grid of 2⁻²⁴ of its range, so half a step is below 2⁻²³ standard deviations
# and a lone draw may be exactly the mean.
_HALF_STEP = 2.0**-23


def mean_square_tail(initializer: Initializer, ratio: float, count: int, slack: float = 0.0) -> float:
    """Return a two-sided p-value of the mean square deviation of `count` independent draws.

    Exact (a χ² law) for a normal law, a Chernoff bound for a uniform and a truncated one.

    Args:
        initializer: a `Normal`, `Uniform` or `TruncatedNormal`.
        ratio: mean of (x − μ)²/σ² with the planned mean and std.
        count: number of draws.
        slack: relative error that rounding may have put into the ratio.

    >>> from goodinit.initializers import Normal
    >>> mean_square_tail(Normal(), 1.0, 100) > 0.9, mean_square_tail(Normal(), 0.5, 100) < 1e-4
    (True, True)
    """
    below = min(1.0, (math.sqrt(ratio * (1 + slack)) + _HALF_STEP) ** 2)
    above = max(1.0, ratio / (1 + slack))
    bounded = _bounded(initializer)
    if bounded is None:
        from scipy import stats

        shape = count / 2  # a mean of n squares of normal values is a gamma law of shape n/2 and mean 1
        lower = float(stats.gamma.cdf(below, shape, scale=1 / shape))
        upper = float(stats.gamma.sf(above, shape, scale=1 / shape))
    else:
        curvature, square = bounded
        lower = math.exp(count * _exponent(below / square, curvature)) if below < 1 else 1.0
        upper = math.exp(count * _exponent(above / square, curvature)) if above > 1 else 1.0
    return min(1.0, 2 * min(lower, upper))


def correlation_tail(correlation: float, count: int) -> float:
    """Return a two-sided Chernoff bound on the p-value of the correlation of neighbours.

    With S = Σ x_i x_{i+1} over n values of unit variance and τ the root of
    τ(1 + τ²) = (S/n)(1 − τ²):  p ≤ 2·exp(n/2·ln(1 + τ²) − Sτ/(1 + τ²))

    Args:
        correlation: S/(n − 1).
        count: n, at least 2.

    >>> correlation_tail(0.0, 100), correlation_tail(0.8, 100) < 1e-6
    (1.0, True)

    Source: det(1 − tA) ≥ λⁿ, λ = (1 + √(1 − 4t²))/2, for the matrix A of ones beside the diagonal, and
    2t = sin φ, τ = tan φ/2. It holds for normal values and for those with lighter tails in the sense
    E[exp(sx)] ≤ exp(s²/2): uniform and symmetrically truncated normal ones (Barreto, Marchal & Arbel 2024).
    """
    from scipy.optimize import brentq

    total = abs(correlation) * (count - 1)
    mean = total / count
    tau = float(brentq(lambda x: x * (1 + x * x) - mean * (1 - x * x), 0.0, 1.0))
    return min(1.0, 2 * math.exp(count / 2 * math.log1p(tau * tau) - total * tau / (1 + tau * tau)))


def _bounded(initializer: Initializer) -> tuple[float, float] | None:
    """Return (h, L²) of a law on ±Lσ with density ∝ exp(−h(x/Lσ)²); None for an unbounded one."""
    if isinstance(initializer, Uniform):
        return 0.0, 3.0
    if isinstance(initializer, TruncatedNormal) and math.isfinite(initializer.cutoff):
        return initializer.cutoff**2 / 2, (initializer.cutoff * initializer.sigma / initializer.std) ** 2
    return None


def _exponent(share: float, curvature: float) -> float:
    """Return min over h of ln I(h) + share·h, less its value at `curvature`; I(h) = ∫₀¹ exp(−hu²)du.

    The minimum is that of the Chernoff bound, written in h = curvature − tL².
    """
    from scipy.optimize import minimize_scalar

    share = min(share, 1 - 1e-12)

    def bound(h: float) -> float:
        return _log_integral(h) + share * h

    # At the minimum E[u²] = share under the density ∝ exp(−hu²), where E[u²] ≤ 1/(2h) and, for
    # h < 0, E[1 − u²] ≤ 1/|h|.
    low, high = min(-1 / (1 - share), curvature), max(1 / (2 * share), curvature)
    found = float(minimize_scalar(bound, bounds=(low, high), method="bounded").fun)
    return min(0.0, found - bound(curvature))


def _log_integral(h: float) -> float:
    from scipy import special

    if abs(h) < 1e-8:
        return -h / 3
    root = math.sqrt(abs(h))
    if h > 0:
        return math.log(math.sqrt(math.pi) / 2 * float(special.erf(root)) / root)
    return -h + math.log(float(special.dawsn(root)) / root)
