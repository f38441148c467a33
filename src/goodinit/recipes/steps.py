"""Which parameters set the steps of a recurrence, and the numbers with which biases and gains start."""

from __future__ import annotations

import math

from goodinit.graph import Graph, WeightUse

__all__ = ["POSITIVE", "STEPS", "exponentials", "recurs", "sets_steps", "start_range"]

POSITIVE = ("exp", "softplus")
# Steps Δ of state-space models, log-uniform (Gu & Dao 2023); softplus⁻¹(Δ) ≈ log Δ for so small a Δ.
STEPS = (0.001, 0.1)
# Where rules start what is added, multiplied, or multiplied after an exponential or 1 + x.
_STARTS = {("shift", ()): 0.0, ("scale", ()): 1.0, ("scale", ("exp",)): 0.0, ("scale", ("add",)): 0.0}


def start_range(graph: Graph, name: str) -> tuple[float, float]:
    """Return between which numbers a bias or a gain starts; NaN for others, and for what stays as it is.

    Args:
        graph: the traced model.
        name: the parameter.
    """
    uses = graph[name]
    if not uses or name in graph.kept or len({(use.op, use.through) for use in uses}) > 1:
        return math.nan, math.nan
    if name in graph.values:
        return graph.values[name], graph.values[name]
    first = uses[0]
    if first.op == "shift" and not first.through and all(sets_steps(use) for use in uses):
        return math.log(STEPS[0]), math.log(STEPS[1])
    neutral = _STARTS.get((first.op, first.through), math.nan)
    return neutral, neutral


def recurs(use: WeightUse) -> bool:
    """Tell whether a shift is made positive, and exponentiated in another product: part of a recurrence."""
    kinds = ("gate", "linear_attention")
    found = (sink.activation for sink in use.sinks if use.op == "shift" and sink.kind in kinds)
    positive = any(function is not None and function.name in POSITIVE for function in found)
    return positive and bool(exponentials(use))


def sets_steps(use: WeightUse) -> bool:
    """Tell whether a shift is made positive and then, with a rate, a decay: the step size of a recurrence."""
    return recurs(use) and any(set(POSITIVE) & set(rest) for rest in exponentials(use))


def exponentials(use: WeightUse) -> list[list[str]]:
    """For each sink behind an exponential, the operations before the exponential."""
    names = [sink.activation.name.split(" ∘ ") for sink in use.sinks if sink.activation is not None]
    return [name[1:] for name in names if name[0] == "exp" and len(name) > 1]
