"""How much a network of finite width scatters around its mean-field prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.errors import ArgumentError
from goodinit.theory.activations import ActivationLike, activation
from goodinit.theory.gaussian import LARGEST_Q, moments
from goodinit.theory.mean_field import check_sigmas

__all__ = ["finite_width_fluctuation"]


def finite_width_fluctuation(
    function: ActivationLike,
    width: int | Sequence[int],
    depth: int | None = None,
    *,
    q: float = 1.0,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    direction: str = "forward",
) -> float:
    """Return the relative std, over draws of the weights, of a second moment at finite width.

    std = √(e^s − 1),  s_{l+1} = a_l² s_l + (κ_l − 1) / n_l

    Forward: κ = E[φ⁴]/E[φ²]² and a = d log q_{l+1} / d log q_l, so that saturating
    functions forget what happened before; for ReLU κ − 1 = 5 and a = 1. Backward:
    κ = 3 E[φ′⁴]/E[φ′²]² and a = 1. The result is the scatter of the mean square of one
    input's signal (post-activations mapped by the next layer; its own n samples
    included); other inputs share the weights, so a batch does not average it away.

    It is a prediction to first order in 1/n inside the exponential, good while s < 1
    or so: a noise floor, not a law of the tails.

    Args:
        function: what `activation` takes.
        width: units per layer, one number for all or one for each.
        depth: number of layers; not needed with one width per layer.
        q: second moment of the first pre-activations.
        sigma_w: std of the weights times √fan_in; None keeps q where it is.
        sigma_b: std of the biases.
        direction: ``"forward"`` or ``"backward"`` (gradients).

    Raises:
        ArgumentError: if an argument is out of range, or as `moments`.

    >>> round(finite_width_fluctuation("relu", 100, 1), 6)  # √(e^(5/100) − 1)
    0.226431

    Source: Hanin and Rolnick 2018; Hanin and Nica 2020 (e^(5 Σ 1/n)
    for ReLU); the recursion is the delta method on `q_map`.
    """
    widths = _widths(width, depth)
    check_sigmas(0.0 if sigma_w is None else sigma_w, sigma_b)
    if direction not in ("forward", "backward"):
        raise ArgumentError(f"direction is {direction!r}; use 'forward' or 'backward'")
    resolved = activation(function)
    spread = 0.0
    for units in widths:
        if not 0 < q <= LARGEST_Q:
            break  # vanished or exploded: nothing left to scatter by more
        found = moments(resolved, q)
        if not found.second_moment:
            break
        scale = (q - sigma_b**2) / found.second_moment if sigma_w is None else sigma_w**2
        after = scale * found.second_moment + sigma_b**2
        if direction == "forward":
            elasticity = scale * found.slope * q / after
            noise = (found.kurtosis - 1) * (scale * found.second_moment / after) ** 2
        else:
            elasticity, noise = 1.0, 3 * found.derivative_kurtosis - 1
        if not math.isfinite(noise):
            return math.inf
        spread = elasticity**2 * spread + noise / units
        q = after
    return math.sqrt(math.expm1(spread)) if spread < 700 else math.inf


def _widths(width: int | Sequence[int], depth: int | None) -> list[int]:
    if isinstance(width, int):
        if depth is None:
            raise ArgumentError("depth is missing; give it, or one width per layer")
        widths = [width] * depth
    else:
        widths = list(width)
        if depth is not None and depth != len(widths):
            raise ArgumentError(f"depth is {depth} and width has {len(widths)} layers; give one of them")
    if (depth is not None and depth < 0) or any(units < 1 for units in widths):
        raise ArgumentError(f"width is {width!r} and depth {depth!r}; every layer needs at least one unit")
    return widths
