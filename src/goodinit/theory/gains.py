"""Gain: the multiplier of the std that an activation calls for."""

from __future__ import annotations

import math

from goodinit.errors import ArgumentError
from goodinit.theory.activations import ActivationLike, activation
from goodinit.theory.gaussian import moments

__all__ = ["OBJECTIVES", "gain"]

OBJECTIVES = ("forward", "backward", "critical")


def gain(function: ActivationLike, objective: str = "forward") -> float:
    """Return the gain g of a layer followed by an activation: weights have std g / √fan.

    forward:  g = 1 / √E[φ(z)²]   keeps E[x²] = 1 with fan_in
    backward: g = 1 / √E[φ′(z)²]  keeps the gradient with fan_out
    critical: g = σ_w of `critical_point`, where chi_perp(q*) = 1

    with z ~ N(0, 1). For the identity and for ReLU the three agree (1 and √2). Where
    forward and backward disagree, each is right for one pass and wrong for the other.

    A critical point may need biases (``critical_point(function).sigma_b``), and may not
    exist. Where it does not, g² = 1 / √(E[φ²] E[φ′²]): the two passes then err by
    equal factors in opposite directions. `critical_point` says so, with the factors.

    Args:
        function: what `activation` takes; None is the identity.
        objective: ``"forward"``, ``"backward"`` or ``"critical"``.

    Raises:
        ArgumentError: for another objective, for a function that is zero almost
            everywhere, or for ``"backward"`` where φ′ is zero or E[φ′²] infinite.

    >>> round(gain("relu"), 10), round(gain("tanh"), 4), round(gain("tanh", "backward"), 4)
    (1.4142135624, 1.5925, 1.4674)

    Source: He et al. 2015, equations 10 and 14; Schoenholz et al. 2017, section 3.
    """
    resolved = activation(function)
    if objective not in OBJECTIVES:
        raise ArgumentError(f"objective is {objective!r}; use 'forward', 'backward' or 'critical'")
    if objective == "critical":
        from goodinit.theory.critical import critical_point

        return critical_point(resolved).sigma_w
    found = moments(resolved)
    kind, power = (
        ("E[φ²]", found.second_moment)
        if objective == "forward"
        else ("E[φ′²]", found.derivative_second_moment)
    )
    if not 0 < power < math.inf:
        raise ArgumentError(
            f"activation {resolved.name!r} has no {objective} gain, because {kind} is {power:g} "
            "for a standard normal input; choose another activation or objective"
        )
    return 1 / math.sqrt(power)
