"""GI126: what a coordinate check shows to depend on width."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.errors import ArgumentError
from goodinit.records import CoordinateLayer, Finding

__all__ = ["diverged", "judged"]


def diverged(
    layers: Sequence[CoordinateLayer],
    widths: Sequence[int],
    losses: Sequence[tuple[float, ...]],
    tolerance: float,
) -> tuple[Finding, ...]:
    """One finding where training ends in NaN or infinity at some widths: there no slope can be fitted."""
    sizes = [(*losses[place], *(layer.change[place] for layer in layers)) for place in range(len(widths))]
    lost = [width for width, at in zip(widths, sizes, strict=True) if not all(map(math.isfinite, at))]
    if not lost:
        return ()
    if len(lost) == len(widths):
        raise ArgumentError(
            "lr: training ends in NaN or infinity at every width, so that nothing can be compared; give a "
            "smaller learning rate"
        )
    where = tuple(layer.name for layer in layers if not all(map(math.isfinite, layer.change)))
    words = f"width{'s'[: len(lost) > 1]} {', '.join(map(str, lost))}"
    cause = f"Training ends in NaN or infinity at {words}, at a rate that the other widths bear."
    return (_finding(where, lost[-1] == widths[-1], math.inf, None, tolerance, cause),)


def judged(layers: Sequence[CoordinateLayer], tolerance: float) -> tuple[Finding, ...]:
    """Two findings at most: changes that grow with width, and changes that fade with it."""
    found = []
    for sign in (1.0, -1.0):
        off = [
            layer
            for layer in layers
            if layer.change_interval is not None
            and min(sign * end for end in layer.change_interval) > tolerance
        ]
        if off:
            worst = max(off, key=lambda layer: abs(layer.change_slope or 0.0))
            slope, interval = worst.change_slope or 0.0, worst.change_interval
            effect = (
                "grow with width, so a rate that suits a narrow network is too large for a wide one"
                if sign > 0
                else "fade with width, so wide layers hardly learn at this rate"
            )
            cause = (
                f"The outputs of {len(off)} layer{'s'[: len(off) > 1]} change by amounts that {effect}: "
                f"at '{worst.name}' as width^{slope:.2f}."
            )
            where = tuple(layer.name for layer in off)
            found.append(_finding(where, sign > 0, slope, interval, tolerance, cause))
    return tuple(found)


def _finding(
    where: tuple[str, ...],
    grows: bool,
    effect: float,
    interval: tuple[float, float] | None,
    tolerance: float,
    cause: str,
) -> Finding:
    if grows:
        cure = (
            "Scale with width: under Adam divide the learning rate of hidden and output weights by fan_in; "
            "under SGD multiply that of input weights and biases by width and divide the output's by it"
        )
    else:
        cure = (
            "Raise with width: under SGD multiply the learning rate of input weights and biases by width; "
            "make the output's initial std fall as 1/fan_in and not slower"
        )
    return Finding(
        code="GI126",
        title="Updates depend on width",
        severity="warning",
        where=where,
        measure="exponent of width in the change of a layer's output",
        effect=effect,
        interval=interval,
        expected=(-tolerance, tolerance),
        cause=cause,
        cure=f"{cure} (muP, see docs/mup.md).",
    )
