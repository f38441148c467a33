"""Learning-rate schedules: the factor by which each step's rate differs from the one asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean

__all__ = ["SCHEDULES", "factors"]

#: Share of the steps over which "warmup" schedules rise.
WARMUP = 0.05


def _rise(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1, round(WARMUP * steps)))


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 1.0,
    "linear": lambda step, steps: 1 - step / steps,
    "cosine": _cosine,
    "warmup": _rise,
    "warmup_cosine": lambda step, steps: _rise(step, steps) * _cosine(step, steps),
}


def factors(schedule: str | Callable[[int], float] | None, steps: int) -> tuple[float, ...]:
    """Return the factor of every step.

    constant: 1 · linear: 1 − t/T · cosine: (1 + cos(πt/T))/2 · warmup: min(1, (t + 1)/(0.05·T)), then 1 ·
    warmup_cosine: their product

    Args:
        schedule: a name, a callable (step, 0 for the first) -> factor, or None for constant.
        steps: T.

    Raises:
        UnknownNameError: if there is no such schedule.
        ArgumentError: if a factor is negative or not finite, or the callable fails.

    >>> factors("linear", 4)
    (1.0, 0.75, 0.5, 0.25)

    Source: Loshchilov and Hutter (2017), equation 5, without restarts.
    """
    if schedule is None:
        schedule = "constant"
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise UnknownNameError(
                f"schedule={schedule!r} is none of {', '.join(SCHEDULES)}{did_you_mean(schedule, SCHEDULES)}"
            )
        named = SCHEDULES[schedule]
        return tuple(named(step, steps) for step in range(steps))
    if not callable(schedule):
        raise WrongTypeError(f"schedule must be a name or a callable, found {type(schedule).__name__}")
    try:
        found = tuple(float(schedule(step)) for step in range(steps))
    except Exception as error:
        raise ArgumentError(
            f"schedule must give a number for every step from 0 to {steps - 1}; it raises "
            f"{type(error).__name__}: {error}"
        ) from error
    bad = next(
        (step for step, factor in enumerate(found) if not (factor >= 0 and math.isfinite(factor))), None
    )
    if bad is not None:
        raise ArgumentError(f"schedule({bad}) must be finite and not negative, found {found[bad]}")
    return found
