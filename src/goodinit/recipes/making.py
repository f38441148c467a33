"""The std of a weight that the model changes before it uses it: what is used counts, not what is drawn."""

from __future__ import annotations

import math

from goodinit.graph import WeightUse

__all__ = ["drawn_for", "only_scaled", "put_out"]

_TRIES = 12
_CLOSE = 1e-3
# A second moment that follows the std with less than this power is set by something else, as a norm does.
_LEAST_POWER = 0.2


def only_scaled(use: WeightUse) -> bool:
    """Tell whether a use reads the parameter itself or a multiple of it, so that its structure arrives."""
    return use.making is None or math.isfinite(use.making.factor)


def put_out(use: WeightUse, wanted: float, arriving: float) -> float:
    """Return what a weight puts out that is drawn to put out something: that, unless no std does.

    Args:
        use: the use.
        wanted: the second moment that it should put out.
        arriving: the second moment that it reads.
    """
    inputs = arriving * use.fan_in
    if only_scaled(use) or not inputs > 0:
        return wanted
    made = _made(use, drawn_for(use, wanted / inputs)) * inputs
    return wanted if math.isclose(made, wanted, rel_tol=0.01) else made


def _made(use: WeightUse, std: float) -> float:
    """The mean square of what a use reads of a parameter that is drawn with some std."""
    made = math.nan if use.making is None else use.making.moment(std)
    return made if math.isfinite(made) else std**2


def drawn_for(use: WeightUse, moment: float) -> float:
    """Return the std of a draw of which the use reads numbers of a mean square.

    The square root of it where no std gives that, as where the weights are divided by their norm.

    Args:
        use: the use.
        moment: the mean square.
    """
    plain = math.sqrt(moment)
    if use.making is None or not moment > 0:
        return plain
    if math.isfinite(use.making.factor):
        return plain / use.making.factor
    # Newton's method on logarithms: one step where what is used grows with the std, as under a mask.
    at, power, before = math.log(plain), 2.0, (0.0, 0.0)
    for attempt in range(_TRIES):
        made = _made(use, math.exp(at))
        if not made > 0:
            return plain
        left = math.log(moment / made)
        if abs(left) < _CLOSE:
            return math.exp(at)
        if attempt:
            power = (math.log(made) - before[1]) / (at - before[0])
        if power < _LEAST_POWER:
            return plain
        before = at, math.log(made)
        at += max(-3.0, min(left / power, 3.0))
    return plain
