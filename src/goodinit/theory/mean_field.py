"""Mean-field theory of a deep plain network: the map of the second moment and its slopes.

A layer is h = W φ(h_prev) + b with W_ij ~ N(0, σ_w²/fan_in) and b_i ~ N(0, σ_b²). In
the limit of infinite width each pre-activation is Gaussian with variance q.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import LARGEST_Q, SMALLEST_Q, moments, raw_moments

__all__ = ["Phase", "chi_par", "chi_perp", "phase", "q_map", "q_star", "q_trajectory"]

Array = NDArray[np.float64]

# Far below, a second moment has vanished; far above, it has exploded. Decades from 1.
_VANISHED, _EXPLODED = 1e-20, 1e8
_FLAT = 1e-11  # a map that moves q by less than this share (the accuracy of the moments) keeps q


class Phase(enum.Enum):
    """What depth does to two nearby inputs and to gradients.

    `ORDERED`: chi_perp < 1, inputs converge, gradients vanish. `CHAOTIC`: chi_perp > 1,
    inputs part, gradients explode. `CRITICAL`: chi_perp = 1.
    """

    ORDERED = "ordered"
    CRITICAL = "critical"
    CHAOTIC = "chaotic"


def check_sigmas(sigma_w: float, sigma_b: float) -> None:
    """Raise ArgumentError unless both are finite and not negative."""
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if not 0 <= value < math.inf:
            raise ArgumentError(f"{name} is {value!r}; a standard deviation is finite and at least 0")


def q_map(function: ActivationLike, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """Return the second moment of the next layer's pre-activations.

    q′ = σ_w² E[φ(√q z)²] + σ_b²

    Args:
        function: what `activation` takes.
        q: second moment of this layer's pre-activations.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.

    Raises:
        ArgumentError: if an argument is out of range, or as `moments`.

    >>> round(q_map("relu", 3.0, 2**0.5), 10)
    3.0

    Source: Poole et al. 2016, equation 3.
    """
    check_sigmas(sigma_w, sigma_b)
    return sigma_w**2 * moments(function, q).second_moment + sigma_b**2


def q_trajectory(
    function: ActivationLike, q: float, depth: int, sigma_w: float, sigma_b: float = 0.0
) -> Array:
    """Return q and its values after each of `depth` layers, an array of length depth + 1, float64.

    q_{l+1} = σ_w² E[φ(√q_l z)²] + σ_b²; infinite once it exceeds 1e12.

    Args:
        function: what `activation` takes.
        q: second moment of the first pre-activations.
        depth: number of layers after the first.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.

    Raises:
        ArgumentError: as `q_map`, or for a negative depth.

    >>> q_trajectory("relu", 1.0, 3, 1.0).round(10).tolist()
    [1.0, 0.5, 0.25, 0.125]

    Source: Poole et al. 2016, equation 3.
    """
    if depth < 0:
        raise ArgumentError(f"depth is {depth!r}; give 0 or more layers")
    out = np.full(depth + 1, math.inf)
    for layer in range(depth + 1):
        out[layer] = q
        if layer < depth:
            if q > LARGEST_Q:
                out[layer + 1 :] = math.inf
                break
            q = q_map(function, q, sigma_w, sigma_b)
    return out


def chi_perp(function: ActivationLike, q: float, sigma_w: float) -> float:
    """Return the factor by which a layer multiplies the gradient's second moment (χ₁).

    χ⊥ = σ_w² E[φ′(√q z)²], for a gated unit σ_w² (E[φ′(a)² b²] + E[φ(a)²])

    It is also the factor for the squared distance of two nearby inputs.

    Args:
        function: what `activation` takes.
        q: second moment of the pre-activations.
        sigma_w: std of the weights times √fan_in.

    Raises:
        ArgumentError: as `q_map`.

    >>> round(chi_perp("tanh", 0.0, 1.0), 10)
    1.0

    Source: Poole et al. 2016, equation 6; Schoenholz et al. 2017, section 3.
    """
    check_sigmas(sigma_w, 0.0)
    found = moments(function, q)
    return sigma_w**2 * found.derivative_second_moment * found.inputs


def chi_par(function: ActivationLike, q: float, sigma_w: float) -> float:
    """Return the slope of the map of the second moment at q.

    χ∥ = σ_w² d E[φ(√q z)²] / dq

    Below 1 a fixed point is stable: an error in q shrinks by this factor per layer.

    Args:
        function: what `activation` takes.
        q: second moment of the pre-activations.
        sigma_w: std of the weights times √fan_in.

    Raises:
        ArgumentError: as `q_map`.

    >>> round(chi_par("relu", 2.0, 2**0.5), 10)
    1.0

    Source: Schoenholz et al. 2017, section 3; Roberts, Yaida and Hanin 2022, section 5.1.
    """
    check_sigmas(sigma_w, 0.0)
    return sigma_w**2 * moments(function, q).slope


def q_star(function: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0) -> float:
    """Return the fixed point of `q_map` that a network started at `start` runs into.

    q* = σ_w² E[φ(√q* z)²] + σ_b²

    0 where the second moment vanishes, infinity where it grows without bound. Where every
    q is fixed (ReLU at σ_w = √2), `start` itself. The answer is exact however slowly the
    network would approach it.

    Args:
        function: what `activation` takes.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.
        start: second moment at the first layer, positive.

    Raises:
        ArgumentError: as `q_map`.

    >>> round(q_star("selu", 1.0), 8)
    1.0

    Source: Poole et al. 2016, section 2.
    """
    check_sigmas(sigma_w, sigma_b)
    if not 0 < start <= _EXPLODED:
        raise ArgumentError(f"start is {start!r}; give a second moment in (0, {_EXPLODED:g}]")
    resolved = activation(function)
    moments(resolved, start)  # an activation without moments says so here

    def drift(q: float) -> float:
        return sigma_w**2 * raw_moments(resolved, q).second_moment + sigma_b**2 - q

    return _settle(drift, start)


def _settle(drift: Callable[[float], float], start: float) -> float:
    here = drift(start)
    if abs(here) <= _FLAT * start:
        return start
    upward = here > 0
    step = 10**0.25 if upward else 10**-0.25
    near, far = start, start * step
    while _VANISHED < far < _EXPLODED:
        try:
            there = drift(far)
        except ArgumentError:
            # The moment stops existing on the way up: it grows beyond any bound.
            return math.inf
        if (there > 0) != upward:
            from scipy.optimize import brentq

            low, high = sorted((near, far))
            root = float(brentq(drift, low, high, xtol=1e-14 * low, rtol=1e-14))
            if root < 1e-10 and abs(drift(10 * root)) <= _FLAT * 10 * root:
                return 0.0  # the sign turned by rounding: tanh at σ_w = 1 falls for ever
            return root
        near, far = far, far * step
    return math.inf if upward else 0.0


def phase(function: ActivationLike, sigma_w: float, sigma_b: float = 0.0) -> Phase:
    """Return the phase of a deep network, by chi_perp at its fixed point q*.

    Where q grows without bound chi_perp is taken at a very large q, and where it
    vanishes, in the limit of 0.

    Args:
        function: what `activation` takes.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.

    Raises:
        ArgumentError: as `q_map`.

    >>> phase("tanh", 2.0), phase("tanh", 0.9)
    (<Phase.CHAOTIC: 'chaotic'>, <Phase.ORDERED: 'ordered'>)

    Source: Poole et al. 2016, section 2.2; Schoenholz et al. 2017, section 3.
    """
    resolved = activation(function)
    chi = chi_at_fixed_point(resolved, q_star(resolved, sigma_w, sigma_b), sigma_w)
    if abs(chi - 1) <= 1e-9:
        return Phase.CRITICAL
    return Phase.CHAOTIC if chi > 1 else Phase.ORDERED


def chi_at_fixed_point(function: Activation, q: float, sigma_w: float) -> float:
    """Return chi_perp at q, with the limits for 0 and infinity."""
    finite = min(max(q, SMALLEST_Q), _EXPLODED)
    while True:
        try:
            found = raw_moments(function, finite)
        except ArgumentError:
            if finite <= 1:
                raise
            finite /= 10  # the largest q for which the moments exist
            continue
        return sigma_w**2 * found.derivative_second_moment * found.inputs
