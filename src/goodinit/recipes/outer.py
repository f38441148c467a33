"""Parameters that multiply single numbers along an axis of their own: x[..., None] · w, maps of fan_in 1.

Each number that enters becomes a vector along w. The same value everywhere would give all numbers one
direction, and a normalization after it would leave nothing but their signs. So w is drawn, and so is
what is added to it: x·w + b keeps x through a normalization.
"""

from __future__ import annotations

import math

from goodinit.graph import Graph, Place, WeightUse
from goodinit.initializers import Normal
from goodinit.recipes.decision import Decision

__all__ = ["bends", "of_one_number"]


def of_one_number(graph: Graph, place: Place, use: WeightUse) -> Decision | None:
    """Decide for a parameter that makes vectors of single numbers, or is added to such vectors.

    Args:
        graph: the traced model.
        place: the parameter.
        use: its principal use.

    Returns:
        The decision; None for every other parameter.
    """
    if use.op == "scale" and _spreads(use):
        shifted = any(_same_place(use, other) for other in graph if other.op == "shift")
        std, beside = (math.sqrt(0.5), ", together with what is added") if shifted else (1.0, "")
        why = f"makes vectors of single numbers (fan_in 1): directions of its own for each{beside}"
        return Decision(Normal(0.0, std), why, 1.0, use.fan_out)
    if use.op == "shift" and any(_spreads(other) and _same_place(other, use) for other in graph):
        why = "added to vectors made of single numbers: as large as they, so that a normalization keeps both"
        return Decision(Normal(0.0, math.sqrt(0.5)), why)
    return None


def bends(use: WeightUse) -> bool:
    """Tell whether a parameter makes vectors of single numbers for a function such as a sine: frequencies."""
    curved = (sink.activation for sink in use.sinks if sink.activation is not None)
    return use.op == "scale" and _spreads(use) and any(not function.linear for function in curved)


def _spreads(use: WeightUse) -> bool:
    # A statistic that a normalization written by hand multiplies its gain with is no such number.
    return use.op == "scale" and use.fan_out > 1 and not (use.divides or use.through or use.source.pooled)


def _same_place(scale: WeightUse, shift: WeightUse) -> bool:
    """Tell whether a shift with several rows is added to what a scale of its shape makes."""
    several = sum(length > 1 for length in shift.shape) > 1 and scale.shape == shift.shape
    return several and scale.module == shift.module and scale.index < shift.index and not shift.through
