"""Critical points: the σ_w and σ_b at which deep signals and gradients neither vanish nor explode."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import ActivationMoments, moments, raw_moments

__all__ = ["CriticalPoint", "critical_point"]

# q is searched on this grid of decades; beyond it no network computes anything.
_LOW, _HIGH, _PER_DECADE = 1e-8, 1e4, 4
_SAME = 1e-9  # two sides of an equation that differ by this share are equal (moments: 1e-10)
_MARGIN = 1e-6  # chi_par at most 1 + this counts as stable: at 1 an error neither grows nor shrinks


@dataclass(frozen=True)
class CriticalPoint:
    """Where a deep network of one activation is critical, or the nearest thing to it.

    At `q_star` with `sigma_w` and `sigma_b` the second moment keeps its value; a layer
    multiplies the gradient's second moment by `chi_perp` and an error in q by `chi_par`.
    Where `exists` is False no choice gives chi_perp = 1 at a fixed point that is stable:
    then one layer multiplies the second moment at q = 1 by `forward_factor` and the
    gradient's by `chi_perp`, with forward_factor · chi_perp = 1 wherever both can be had.
    `explanation` says it in words.
    """

    sigma_w: float
    sigma_b: float
    q_star: float
    chi_perp: float
    chi_par: float
    forward_factor: float
    exists: bool
    explanation: str


def critical_point(function: ActivationLike, q: float | None = None) -> CriticalPoint:
    """Return the critical (σ_w, σ_b) of an activation.

    chi_perp = 1 and q a fixed point  ⇔  σ_w² = 1 / E[φ′²],  σ_b² = q − E[φ²] / E[φ′²] ≥ 0

    So each q has at most one critical point. Without q, the choice is: (1) no biases,
    σ_b = 0, where that gives a fixed point that is not unstable (chi_par ≤ 1): every q for
    a scale-invariant φ such as ReLU (then q = 1), the limit q → 0 for tanh, or the root
    nearest to 1; (2) with biases, the q nearest to 1 whose point is not unstable (GELU, SiLU:
    there chi_par = chi_perp = 1); (3) none exists: q = 1, σ_b = 0, σ_w² = 1/√(E[φ²] E[φ′²]),
    so that the two passes err by equal factors in opposite directions. Where E[φ′²] is 0 or
    infinite the forward gain is taken.

    With q, the point on the critical line at that q: a fixed point that a tanh network
    reaches and keeps, at the price of biases.

    Args:
        function: what `activation` takes.
        q: second moment wished at the fixed point, positive, or None.

    Raises:
        ArgumentError: if q is out of range, or as `moments`.

    >>> point = critical_point("tanh")
    >>> round(point.sigma_w, 6), point.sigma_b, point.q_star
    (1.0, 0.0, 0.0)
    >>> point = critical_point("gelu")
    >>> round(point.sigma_w**2, 6), round(point.sigma_b**2, 6)
    (1.983058, 0.172922)

    Source: Poole et al. 2016; Schoenholz et al. 2017, section 3; Hayou et al. 2019,
    section 3; Roberts, Yaida and Hanin 2022, section 5.3 (GELU and SiLU).
    """
    resolved = activation(function)
    moments(resolved, 1.0 if q is None else q)
    if q is None:
        return _chosen(resolved)
    if not q > 0:
        raise ArgumentError(f"q is {q!r}; give a positive second moment, or None for the choice by rule")
    point = _on_line(resolved, q)
    if point is None:
        return _least_bad(
            resolved, q, f"no bias makes {resolved.name} critical at q={q:g}: it would need sigma_b² < 0"
        )
    return point


def _slack(found: ActivationMoments) -> float:
    """σ_b² σ_w⁻² of the critical point at q, as a share of E[φ²]: (q E[φ′²] − E[φ²]) / E[φ²]."""
    derivative = found.derivative_second_moment * found.inputs
    if not found.second_moment:
        return math.inf
    return (found.q * derivative - found.second_moment) / found.second_moment


def _par(found: ActivationMoments) -> float:
    """chi_par of the critical point at q."""
    derivative = found.derivative_second_moment * found.inputs
    return found.slope / derivative if 0 < derivative < math.inf else math.inf


def _on_line(function: Activation, q: float, words: str = "") -> CriticalPoint | None:
    found = raw_moments(function, q)
    derivative = found.derivative_second_moment * found.inputs
    if not 0 < derivative < math.inf or _slack(found) < -_SAME:
        return None
    bias = max(0.0, q - found.second_moment / derivative)
    if bias <= _SAME * q:
        bias = 0.0
    par = _par(found)
    stable = par <= 1 + _MARGIN
    tail = (
        f"an error in q shrinks by {par:.3g} a layer"
        if par < 1 - _MARGIN
        else "to first order an error in q stays as it is"
        if stable
        else f"but an error in q grows by {par:.3g} a layer"
    )
    return CriticalPoint(
        sigma_w=1 / math.sqrt(derivative),
        sigma_b=math.sqrt(bias),
        q_star=q,
        chi_perp=1.0,
        chi_par=par,
        forward_factor=1.0,
        exists=stable,
        explanation=words
        or f"{function.name} is critical at q={q:.4g} with sigma_w={1 / math.sqrt(derivative):.4g} and "
        f"sigma_b={math.sqrt(bias):.4g}: chi_perp is 1, and {tail}",
    )


def _least_bad(function: Activation, q: float, why: str) -> CriticalPoint:
    found = raw_moments(function, q)
    derivative = found.derivative_second_moment * found.inputs
    if not found.second_moment > 0:
        raise ArgumentError(
            f"activation {function.name!r} is zero almost everywhere; no weight can carry a signal"
        )
    forward = q / found.second_moment
    if 0 < derivative < math.inf:
        square = math.sqrt(forward / derivative)
        cost = (
            f"with sigma_w²={square:.4g} a layer multiplies the second moment by {square / forward:.4g} and "
            f"the gradient's by {square * derivative:.4g}; a residual path or a normalization would help"
        )
    else:
        square = forward
        cost = f"its gradient's second moment is {derivative:g}; another activation would help"
    return CriticalPoint(
        sigma_w=math.sqrt(square),
        sigma_b=0.0,
        q_star=q,
        chi_perp=square * derivative,
        chi_par=square * found.slope,
        forward_factor=square / forward,
        exists=False,
        explanation=f"{why}; {cost}",
    )


@functools.lru_cache(maxsize=1024)
def _chosen(function: Activation) -> CriticalPoint:
    steps = round(math.log10(_HIGH / _LOW)) * _PER_DECADE
    grid: list[ActivationMoments] = []
    for step in range(steps + 1):
        try:
            grid.append(raw_moments(function, _LOW * 10 ** (step / _PER_DECADE)))
        except ArgumentError:
            break  # the moments cease to exist here, so they do beyond
    unit = raw_moments(function, 1.0)
    if abs(_slack(unit)) <= _SAME and all(abs(_slack(item)) <= _SAME for item in grid):
        point = _on_line(
            function,
            1.0,
            f"{function.name} is scale-invariant: every q is a fixed point without biases, and chi_perp is 1",
        )
        if point is not None and point.exists:
            return point
    unbiased = _without_bias(function, grid)
    if unbiased is not None:
        return unbiased
    biased = _with_bias(function, grid)
    if biased is not None:
        return biased
    return _least_bad(function, 1.0, f"{function.name} has no critical point that is stable")


def _without_bias(function: Activation, grid: list[ActivationMoments]) -> CriticalPoint | None:
    roots = [
        root
        for root in _crossings(function, grid, _slack)
        if (point := _on_line(function, root)) is not None and point.exists
    ]
    if roots:
        return _on_line(function, min(roots, key=lambda root: abs(math.log(root))))
    # The limit q → 0: φ(0) = 0 and 0 < φ′(0)² < ∞, and E[φ²] falls behind q φ′(0)² as q grows.
    least = raw_moments(function, 1e-24)
    slope = least.derivative_second_moment * least.inputs
    small = grid[0]
    if 0 < slope < math.inf and abs(_slack(least)) <= 1e-6 and abs(_slack(small)) <= 1e-3:
        onward = raw_moments(function, 1e-4)
        if onward.second_moment <= onward.q * slope * (1 + _SAME):
            return CriticalPoint(
                sigma_w=1 / math.sqrt(slope),
                sigma_b=0.0,
                q_star=0.0,
                chi_perp=1.0,
                chi_par=1.0,
                forward_factor=1.0,
                exists=True,
                explanation=f"{function.name} is critical without biases at "
                f"sigma_w={1 / math.sqrt(slope):.4g}: chi_perp reaches 1 as q falls to 0, which it does "
                "slowly (as 1/depth). Give q to critical_point for a point with biases whose q stays",
            )
    return None


def _with_bias(function: Activation, grid: list[ActivationMoments]) -> CriticalPoint | None:
    unit = _on_line(function, 1.0)
    if unit is not None and unit.exists:
        return unit
    # The ends of the allowed stretches of q are where one of the two conditions turns.
    ends = _crossings(function, grid, _slack) + _crossings(function, grid, lambda item: _par(item) - 1)
    usable = grid[round(-math.log10(_LOW) - 4) * _PER_DECADE :]  # q ≥ 1e-4: below, all is linear
    points = [_on_line(function, q) for q in [*ends, *(item.q for item in usable)]]
    stable = [point for point in points if point is not None and point.exists and point.q_star >= 1e-4]
    return min(stable, key=lambda point: abs(math.log(point.q_star)), default=None)


def _crossings(
    function: Activation, grid: list[ActivationMoments], measure: Callable[[ActivationMoments], float]
) -> list[float]:
    found: list[float] = []
    for before, after in itertools.pairwise(grid):
        one, other = float(measure(before)), float(measure(after))
        if max(abs(one), abs(other)) <= _SAME or not (math.isfinite(one) and math.isfinite(other)):
            continue
        if (one > 0) != (other > 0):
            from scipy.optimize import brentq

            root = brentq(
                lambda x: measure(raw_moments(function, math.exp(x))),
                math.log(before.q),
                math.log(after.q),
                xtol=1e-13,
            )
            found.append(math.exp(float(root)))
    return found
