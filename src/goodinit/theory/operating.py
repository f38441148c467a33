"""The operating point of a plain deep network: at which second moment to run an activation.

Without normalization or residual connections a network of depth L has two freedoms for
each activation: the second moment q at which its pre-activations live, and the weight
scale σ_w. Choosing σ_w² = q / E[φ(√q z)²] holds q fixed exactly, layer after layer; the
gradient then changes by χ_perp(q) = σ_w² E[φ′(√q z)²] per layer. So the best q is one
where χ_perp is as near to 1 as the depth asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import moments
from goodinit.theory.mean_field import chi_par

__all__ = ["OperatingPoint", "end_correlation", "operating_point"]

# Second moments that are tried: float16 still holds their squares at both ends.
_GRID = [10 ** (step / 4) for step in range(-16, 17)]
# Bounds over the whole depth: a third of the factor of ten that gradients may change, and a
# doubling of errors in q. Points where errors hardly grow come first, for a growing error
# may meet ever faster growth (SiLU near 0).
_GRADIENT_FACTOR = 3.0
_ERROR_FACTOR = 2.0
_STEADY_ERROR_FACTOR = 1.25
# Of ln q where χ_perp is 1; each step of the search gains half its digits again.
_ROOT_TOLERANCE, _MOST_STEPS = 1e-10, 100


@dataclass(frozen=True)
class OperatingPoint:
    """Where a plain network of `depth` layers runs its activation, and what that costs.

    Attributes:
        q: second moment of the pre-activations, the same in every layer.
        sigma_w: multiplier of the weights' std 1/√fan_in that holds it.
        chi_perp: factor of the gradient's second moment per layer.
        chi_par: factor of a small error in q per layer; within ±1 errors heal.
        depth: number of layers.
        gradient_factor: χ_perp^depth, the predicted change of the gradient's second moment.
        good: True where gradient and errors stay within bounds over the whole depth.
    """

    q: float
    sigma_w: float
    chi_perp: float
    chi_par: float
    depth: int
    gradient_factor: float
    good: bool


def operating_point(function: ActivationLike, depth: int) -> OperatingPoint:
    """Return the operating point of an activation in a plain network of some depth.

    Among the second moments q at which the gradient changes by less than a factor of 3
    over the depth, and errors in q grow by less than 1.25 (else by less than 2), the one
    nearest to 1; where there is none, the q that costs least.

    Args:
        function: a name, an ``nn.Module`` or an elementwise callable.
        depth: number of weight layers, at least 1.

    Raises:
        ArgumentError: if depth is below 1, or the activation is zero everywhere.

    >>> point = operating_point("tanh", 50)
    >>> point.good, round(point.chi_perp, 2)
    (True, 1.02)

    Source: the fixed-point analysis of Poole et al. (2016) and Schoenholz et al. (2017),
    with σ_b = 0 and the forward map held at its start.
    """
    if depth < 1:
        raise ArgumentError(f"depth must be at least 1, found {depth}")
    return _chosen(activation(function), depth)


def end_correlation(function: ActivationLike, depth: int, start: float = 0.0) -> float:
    """Return how alike two inputs have become in the last of `depth` layers at the operating point.

    c_{l+1} = E[φ(u₁) φ(u₂)] / E[φ(u₁)²],  u₁, u₂ ~ N(0, q) with correlation c_l,  c₁ = start

    Correlation here is the cosine between the two inputs' pre-activations.

    Args:
        function: what `activation` takes.
        depth: number of weight layers, at least 1.
        start: correlation in the first layer, in [−1, 1].

    Raises:
        ArgumentError: as `operating_point`, or if start is no correlation.

    >>> round(end_correlation("tanh", 50), 6), round(end_correlation("relu", 50), 2)
    (0.0, 0.99)

    Source: Poole et al. (2016), equations 4 and 5; Cho and Saul (2009) for ReLU.
    """
    if not -1 <= start <= 1:
        raise ArgumentError(f"start is {start!r}; a correlation is in [-1, 1]")
    return _end_correlation(activation(function), depth, float(start))


# Every weight of a chain asks the same question.
@lru_cache(maxsize=512)
def _end_correlation(function: Activation, depth: int, start: float) -> float:
    shares = _hermite_shares(function, operating_point(function, depth).q)
    c = start
    for _ in range(depth - 1):
        c = float(np.polynomial.polynomial.polyval(c, shares))
    return c


# Of ReLU, whose kink makes the series slow, 3e-5 of E[φ²] is beyond 400 terms.
_TERMS = 400


@lru_cache(maxsize=128)
def _hermite_shares(function: Activation, q: float) -> NDArray[np.float64]:
    """Return the share a_k² / Σ a² of each Hermite polynomial in φ(√q z): c′ = Σ shares_k c^k."""
    z = np.linspace(
        -30.0, 30.0, 60_001
    )  # the highest polynomial times its weight reaches to √(4·400) = 40/√2
    with torch.no_grad():
        value = function(torch.from_numpy(z * math.sqrt(q))).numpy()
    root = np.exp(-0.25 * z * z) * math.sqrt((z[1] - z[0]) / math.sqrt(2 * math.pi))
    value = np.where(root > 1e-150, value, 0.0) * root  # overflow where the Gaussian has no weight
    total, before, now = float(value @ value), np.zeros_like(z), root
    squares = []
    for k in range(_TERMS):
        squares.append(float(value @ now) ** 2)
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    shares = np.array(squares) / total
    shares[-1] += max(1.0 - float(shares.sum()), 0.0)  # equal inputs stay equal
    return np.asarray(shares)


@lru_cache(maxsize=512)
def _chosen(function: Activation, depth: int) -> OperatingPoint:
    candidates = list(_candidates(function, depth))
    if not candidates:
        raise ArgumentError(
            f"{function.name} passes no signal at any second moment from {_GRID[0]:g} to {_GRID[-1]:g}"
        )
    good = [point for point in candidates if point.good]
    steady = [p for p in good if p.depth * _growth(p.chi_par) <= math.log(_STEADY_ERROR_FACTOR)]
    if good := steady or good:
        return min(good, key=lambda point: abs(math.log(point.q)))
    # Of equal ones, as for a power of x, the one farthest from underflow and overflow.
    return min(candidates, key=lambda point: (round(_cost(point), 6), abs(math.log(point.q))))


def _cost(point: OperatingPoint) -> float:
    return point.depth * (abs(math.log(point.chi_perp)) + max(0.0, _growth(point.chi_par)))


def _growth(par: float) -> float:
    """Return ln|χ_par|: an error that changes sign at each layer grows or shrinks like any other."""
    return math.log(max(abs(par), 1e-300))


def _candidates(function: Activation, depth: int) -> Iterator[OperatingPoint]:
    grid = [point for q in _GRID if (point := _at(function, q, depth)) is not None]
    yield from grid
    for left, right in pairwise(grid):
        # Of a homogeneous activation χ is 1 at every q, to rounding: there is no crossing to find.
        if (left.chi_perp - 1) * (right.chi_perp - 1) < -1e-20:
            root = _root(function, left.q, right.q)
            point = _at(function, root, depth)
            if point is not None:
                yield point


def _root(function: Activation, low: float, high: float) -> float:
    """Return the q between two others at which χ_perp is 1, by regula falsi with Illinois's halving."""

    # No scipy: importing its solvers takes longer than all moments of a plan.
    def excess(log_q: float) -> float:
        found = moments(function, math.exp(log_q))
        back = found.inputs * found.derivative_second_moment
        return math.log(math.exp(log_q) * back / found.second_moment)

    left, right = math.log(low), math.log(high)
    at_left, at_right = excess(left), excess(right)
    middle, before = left, math.inf
    for _ in range(_MOST_STEPS):
        before, middle = middle, (left * at_right - right * at_left) / (at_right - at_left)
        at_middle = excess(middle)
        if at_middle == 0 or min(abs(middle - before), abs(right - left)) < _ROOT_TOLERANCE:
            break
        if at_middle * at_right < 0:
            left, at_left = right, at_right
        else:
            at_left /= 2
        right, at_right = middle, at_middle
    return math.exp(middle)


def _at(function: Activation, q: float, depth: int) -> OperatingPoint | None:
    try:
        found = moments(function, q)
    except ArgumentError:
        return None  # grows too fast to have moments there
    if not (found.second_moment > 0 and found.derivative_second_moment > 0):
        return None
    sigma_w = math.sqrt(q) / math.sqrt(found.second_moment)
    if not sigma_w < 1e30:
        return None
    chi = sigma_w**2 * found.inputs * found.derivative_second_moment
    par = chi_par(function, q, sigma_w)
    exponent = depth * math.log(chi)
    return OperatingPoint(
        q=q,
        sigma_w=sigma_w,
        chi_perp=chi,
        chi_par=par,
        depth=depth,
        gradient_factor=math.exp(min(max(exponent, -700.0), 700.0)),
        good=abs(exponent) <= math.log(_GRADIENT_FACTOR) and depth * _growth(par) <= math.log(_ERROR_FACTOR),
    )
