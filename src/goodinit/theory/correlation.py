"""Two inputs at once: the correlation map, its fixed point, and the depth scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import moments
from goodinit.theory.mean_field import chi_par, chi_perp, q_star
from goodinit.theory.overlap import overlap

__all__ = ["DepthScales", "c_star", "correlation_map", "correlation_slope", "depth_scales"]


def correlation_map(
    function: ActivationLike, c: float, q: float = 1.0, sigma_w: float = 1.0, sigma_b: float = 0.0
) -> float:
    """Return the correlation of two inputs' pre-activations one layer on.

    c′ = (σ_w² E[φ(u₁) φ(u₂)] + σ_b²) / (σ_w² E[φ(u₁)²] + σ_b²),  u₁, u₂ ~ N(0, q), correlation c

    Both inputs have the second moment q, which need not be a fixed point. To about 1e-10.

    Args:
        function: what `activation` takes.
        c: correlation of the two pre-activations, in [−1, 1].
        q: their second moment.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.

    Raises:
        ArgumentError: if an argument is out of range, or as `moments`.

    >>> round(correlation_map("relu", 0.0), 10)  # 1/π (Cho and Saul 2009)
    0.3183098862

    Source: Poole et al. 2016, equations 4 and 5.
    """
    if not -1 <= c <= 1:
        raise ArgumentError(f"c is {c!r}; a correlation is in [-1, 1]")
    resolved = activation(function)
    power = sigma_w**2 * moments(resolved, q).second_moment + sigma_b**2
    if not power > 0:
        raise ArgumentError(
            f"activation {resolved.name!r} gives no signal at q={q:g}, so no correlation either"
        )
    return (sigma_w**2 * overlap(resolved, c, q) + sigma_b**2) / power


def correlation_slope(function: ActivationLike, c: float, q: float = 1.0, sigma_w: float = 1.0) -> float:
    """Return the factor for small changes of the correlation, at a fixed point q.

    dc′/dc = σ_w² E[φ′(u₁) φ′(u₂)],  and chi_perp at c = 1 unless φ is random

    Args:
        function: what `activation` takes.
        c: correlation of the two pre-activations.
        q: their second moment, a fixed point of `q_map`.
        sigma_w: std of the weights times √fan_in.

    Raises:
        ArgumentError: if an argument is out of range, or as `moments`.

    >>> round(correlation_slope("relu", 0.0, 1.0, 2**0.5), 10)
    0.5

    Source: Poole et al. 2016, equation 6; Schoenholz et al. 2017, section 3.
    """
    if not -1 <= c <= 1:
        raise ArgumentError(f"c is {c!r}; a correlation is in [-1, 1]")
    resolved = activation(function)
    moments(resolved, q)
    if c == 1 and not resolved.random:
        return chi_perp(resolved, q, sigma_w)
    return sigma_w**2 * overlap(resolved, c, q, derivative=True)


def c_star(function: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0) -> float:
    """Return the correlation that two inputs approach with depth.

    c* = c′(c*) at q*; 1 in the ordered phase and on the critical line, unless φ is random

    Args:
        function: what `activation` takes.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.
        start: second moment at the first layer.

    Raises:
        ArgumentError: as `q_star`, or where q* is infinite.

    >>> c_star("tanh", 0.9, 0.3)
    1.0

    Source: Poole et al. 2016, section 2.2; Schoenholz et al. 2017, section 5 (dropout).
    """
    resolved = activation(function)
    q = _finite_fixed_point(resolved, sigma_w, sigma_b, start)
    # A random φ (dropout) tells even equal inputs apart, so 1 is no fixed point in any phase.
    if not resolved.random and chi_perp(resolved, q, sigma_w) <= 1 + 1e-9:
        return 1.0

    def drift(c: float) -> float:
        return correlation_map(resolved, c, q, sigma_w, sigma_b) - c

    # So, as in the chaotic phase, the drift is negative just below 1: the attractor is the next root down.
    grid = [1 - gap for gap in (1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)]
    above = 1.0
    for below in grid:
        if drift(below) >= 0:
            from scipy.optimize import brentq

            # Within 1e-6 of 1 the start of the chaotic phase cannot be told from its end.
            return float(brentq(drift, below, above, xtol=1e-11)) if above < 1 else 1.0
        above = below
    return -1.0


@dataclass(frozen=True)
class DepthScales:
    """Layers over which something changes by a factor e; infinite where it does not.

    `second_moment`: an error in q. `correlation`: the distance to c*. `gradient`: the
    gradient's second moment, growing in the chaotic phase and shrinking in the ordered one.
    """

    second_moment: float
    correlation: float
    gradient: float


def depth_scales(
    function: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0
) -> DepthScales:
    """Return the depths to which signals and gradients travel.

    ξ_q = −1 / log |χ∥|,  ξ_c = −1 / log |dc′/dc at c*|,  ξ_∇ = 1 / |log χ⊥|

    Args:
        function: what `activation` takes.
        sigma_w: std of the weights times √fan_in.
        sigma_b: std of the biases.
        start: second moment at the first layer.

    Raises:
        ArgumentError: as `c_star`.

    >>> depth_scales("relu", 2**0.5).gradient > 1e9
    True

    Source: Schoenholz et al. 2017, section 3.
    """
    resolved = activation(function)
    q = _finite_fixed_point(resolved, sigma_w, sigma_b, start)
    perp = chi_perp(resolved, q, sigma_w)
    c = c_star(resolved, sigma_w, sigma_b, start=start)
    across = correlation_slope(resolved, c, q, sigma_w)
    return DepthScales(_layers(chi_par(resolved, q, sigma_w)), _layers(across), _layers(perp))


def _layers(factor: float) -> float:
    rate = abs(math.log(abs(factor))) if factor else math.inf
    return 1 / rate if rate > 1e-10 else math.inf


def _finite_fixed_point(function: Activation, sigma_w: float, sigma_b: float, start: float) -> float:
    q = q_star(function, sigma_w, sigma_b, start=start)
    if math.isinf(q):
        raise ArgumentError(
            f"activation {function.name!r} with sigma_w={sigma_w:g}, sigma_b={sigma_b:g}: the second moment "
            "grows without bound, so there is no fixed point; lower sigma_w"
        )
    return q
