"""Parameters that scale, shift, or join the signal as data does, judged by their use alone.

A gain that multiplies a signal starts where it changes nothing: 1, or 0 where the model
adds one first. A parameter that is bent on the way (an exponential that sets a decay,
a softmax, a complement 1 − p) has no such value: the author's own values stay. Where there are
none to see (meta), the rates and steps of a recurrence and shares of a mixture are chosen as the
field does, and the row says so; the rest is left uncovered, so that the plan asks.
"""

from __future__ import annotations

import math

import torch

from goodinit.graph import Graph, Place, Use, WeightUse
from goodinit.graph.layers import module_fans
from goodinit.initializers import Constant, Keep, Normal, Uniform
from goodinit.recipes.decision import Decision
from goodinit.recipes.intent import one_value
from goodinit.recipes.lookups import LOGIT_BIAS_STD, biases_logits
from goodinit.recipes.outer import bends, of_one_number
from goodinit.recipes.steps import STEPS, recurs, sets_steps

__all__ = ["expert_bias", "plain_roles", "step_bias", "unknown_use"]

# Positions and class tokens meet embeddings of unit scale: a fiftieth leaves them first say
# and still tells positions apart (BERT and ViT start from the same number).
_TOKEN_STD = 0.02

# Operations on a parameter that pick or average its elements, so that a constant stays that constant.
_PICKS = frozenset(
    {"index", "index_select", "gather", "embedding", "cat", "stack", "repeat", "mean", "roll", "flip"}
    | {f"upsample_{how}" for how in ("nearest1d", "nearest2d", "linear1d", "bilinear2d", "bicubic2d")}
)
# What may happen to positions, tokens and biases: their scale stays a choice of ours.
_PLAIN = _PICKS | {"neg", "mul", "div", "add", "sub", "rsub", "sum", "tanh", "sin", "abs", "relu"}
_PLAIN |= {"linalg_vector_norm", "clamp", "clamp_min", "native_layer_norm"}
# The value that makes a gain 1 after what the model does to it; `add` is taken as 1 + gain.
_NEUTRAL = {(): 1.0, ("add",): 0.0, ("exp",): 0.0}
_NEUTRAL_WORDS = {
    (): "multiplies {what}: 1 leaves it as it is",
    ("add",): "multiplies {what} after a constant is added, taken as 1: 0 leaves it as it is",
    ("exp",): "its exponential multiplies {what}: 0 leaves it as it is",
}
# Rates A of state-space models: 1 … 16, log-uniform (Dao & Gu 2024). Rates per step are RWKV's
# (Peng et al. 2023).
_LOG_RATES, _LOG_RATES_PER_STEP = (0.0, math.log(16.0)), (-5.0, 3.0)
# What makes shares of 1.
_SHARES = {"_softmax", "softmax", "_safe_softmax"}
# Beyond this, values on real memory look like memory that nobody filled.
_LARGEST = 100.0
_GUESS = "; a guess, since on meta the author's own value cannot be seen"


def plain_roles(graph: Graph, place: Place) -> Decision | None:
    """Decide for a parameter that scales, shifts, or joins the signal as data does.

    Args:
        graph: the traced model.
        place: the parameter.

    Returns:
        The decision; None where the use tells nothing and there are no values to keep.
    """
    uses = graph[place.name]
    principal = graph.principal(place.name)
    if principal is None:
        return None
    if principal.op == "embedding":
        return _table(place, principal)
    if _bent(uses):
        return _own_values(place, uses) or _chosen(place, uses)
    if recurs(principal) and (own := _own_values(place, uses)) is not None:
        return own
    if sets_steps(principal):
        return _chosen(place, uses)
    if bends(principal) and (own := _own_values(place, uses)) is not None:
        return own
    if (spread := of_one_number(graph, place, principal)) is not None:
        return spread
    if principal.op == "scale":
        return _gain(place, principal)
    if principal.op == "start":
        return Decision(Normal(0.0, 1.0), "learned vectors that are themselves the signal: unit scale")
    if principal.op not in ("shift", "token"):
        return None
    if principal.op == "shift" and sum(length > 1 for length in place.parameter.shape) <= 1:
        if principal.source.kind == "norm":
            return Decision(Constant(0.0), "a normalization's bias: 0 leaves it pure", default=0.0)
        why = "added to a signal: zero, so that the weights alone set the scale"
        return Decision(Constant(0.0), why)
    return Decision(
        Normal(0.0, _TOKEN_STD),
        "positions or tokens that join the signal as data does: small and different",
    )


def expert_bias(graph: Graph, place: Place, registered: Use) -> Decision | None:
    """Decide for the biases of a stack of maps, one row for each, such as experts or heads."""
    use = graph.principal(place.name)
    if use is None or use.op != "shift":
        return None
    if not use.batch:
        if not _one_for_each_output(graph, use):
            return None
        why = "one bias for each output of its weights: zero, so that they alone set the scale"
        return Decision(Constant(0.0), why)
    stacked = math.prod(place.parameter.shape[dim] for dim in use.batch)
    if sum(size > 1 for dim, size in enumerate(place.parameter.shape) if dim not in use.batch) > 1:
        return None
    why = f"bias of each of {stacked} maps in a stack: zero, so that the weights alone set the scale"
    return Decision(Constant(0.0), why)


def _one_for_each_output(graph: Graph, use: WeightUse) -> bool:
    """Tell whether a shift has as many numbers as the weight under it has outputs, in several dimensions."""
    weight = graph.principal(use.of[0]) if len(use.of) == 1 and not use.through else None
    if weight is None or not weight.contracts or sum(size > 1 for size in use.shape) < 2:
        return False
    outputs = math.prod(weight.shape[dim] for dim in {*weight.output, *weight.batch})
    return weight.op == "matmul" and outputs == math.prod(use.shape)


def step_bias(graph: Graph, place: Place, registered: Use) -> Decision | None:
    """Decide for a layer's bias that sets the steps of a state-space recurrence.

    Softplus makes it positive and an exponential makes it a decay, as Δ in Mamba (Gu & Dao 2023): the
    values that the author put there stay. The rest is left to the layer's own rule.
    """
    uses = graph[place.name]
    if module_fans(registered.module) is None or not uses or not all(sets_steps(use) for use in uses):
        return None
    parameter = place.parameter
    # A layer's constructor draws within ±1/√fan_in, at most 1; an author's steps lie beyond.
    if not parameter.is_meta and bool((parameter.detach().abs() > 1).any()):
        return _own_values(place, uses)
    return _step_sizes(place)


def _chosen(place: Place, uses: tuple[WeightUse, ...]) -> Decision | None:
    """Choose for a parameter without values of its own, where its use says what it sets."""
    if not place.parameter.is_meta:
        return None
    if any(sets_steps(use) for use in uses):
        return _step_sizes(place)
    if all(use.op == "scale" and _SHARES.intersection(use.through) for use in uses):
        return Decision(Constant(0.0), f"makes the shares of a mean: all alike{_GUESS}")
    plain = [use.through for use in uses if use.op == "scale"]
    if len(plain) == len(uses) and {_changes(use) for use in uses} == {(), ("rsub",)}:
        why = f"mixes two signals, p of one and 1 − p of the other: half of each{_GUESS}"
        return Decision(Constant(0.5), why)
    decays = [use for use in uses if use.op in ("scale", "shift") and _last(use, "exp")]
    if not decays or any(use.through[:2] != ("exp", "neg") for use in uses):
        return None
    low, high = _LOG_RATES if decays[0].op == "scale" else _LOG_RATES_PER_STEP
    return Decision(
        Uniform(low, high),
        f"its exponential is the rate of a decay: rates spread evenly in size over "
        f"{math.exp(low):.2g} to {math.exp(high):.2g}, so that units remember for different times{_GUESS}",
    )


def _step_sizes(place: Place) -> Decision:
    why = f"sets the step sizes of a recurrence: they spread evenly in size over {STEPS[0]:g} to {STEPS[1]:g}"
    law = Uniform(math.log(STEPS[0]), math.log(STEPS[1]))
    return Decision(law, f"{why}{_GUESS if place.parameter.is_meta else ''}")


def unknown_use(graph: Graph | None, place: Place) -> str:
    """Say in a clause why no rule covers a parameter.

    Args:
        graph: the traced model, None where no example was given.
        place: the parameter that is left uncovered.
    """
    if graph is None:
        return "no example was given, and its layer's type tells nothing"
    uses = graph[place.name]
    if not uses:
        return "the example never reaches it: give one that does, such as one with a mask"
    through = next((use.through for use in uses if use.through), ())
    if through:
        return f"used after {', '.join(through)}, so its author alone knows good values"
    if any(sets_steps(use) for use in uses):
        return "sets the step size of a recurrence, so its author alone knows good values"
    return "its use in the network tells no role"


def _table(place: Place, use: WeightUse) -> Decision:
    width = float(math.prod(place.parameter.shape[1:]))
    if biases_logits(use):
        why = "added to attention logits: small, so that no position is preferred at the start"
        return Decision(Normal(0.0, LOGIT_BIAS_STD), why, 1.0, width)
    return Decision(Normal(0.0, 1.0), "a lookup sums nothing (fan_in 1)", 1.0, width)


def _gain(place: Place, use: WeightUse) -> Decision:
    through = _changes(use)
    value = _NEUTRAL[through]
    if use.source.kind == "norm":
        added = " (the model adds a constant first, taken as 1)" if through else ""
        why = f"a normalization's gain{added}: {value:g} leaves it pure"
    else:
        what = "a residual branch" if use.residual is not None and use.of else "a signal elementwise"
        why = _NEUTRAL_WORDS[through].format(what=what) + (_GUESS if place.parameter.is_meta else "")
    return Decision(Constant(value), why, default=value)


def _changes(use: WeightUse) -> tuple[str, ...]:
    return tuple(op for op in use.through if op not in _PICKS)


def _bent(uses: tuple[WeightUse, ...]) -> bool:
    """Tell whether a parameter goes through a function without a neutral value, or two that disagree."""
    gains = {_changes(use) for use in uses if use.op == "scale"}
    if not gains <= _NEUTRAL.keys() or len({_NEUTRAL[through] for through in gains}) > 1:
        return True
    return any(not _PLAIN.issuperset(use.through) for use in uses if use.op in ("shift", "token", "start"))


def _last(use: WeightUse, operation: str) -> bool:
    """Tell whether what a use makes ends in that operation before something reads it."""
    names = [sink.activation.name for sink in use.sinks if sink.activation is not None]
    return any(name.split(" ")[0] == operation for name in names)


def _own_values(place: Place, uses: tuple[WeightUse, ...]) -> Decision | None:
    """Keep what the model's own code put there, where it can be seen and looks like numbers."""
    parameter = place.parameter
    if parameter.is_meta or one_value(parameter) is not None or parameter.numel() == 0:
        return None
    with torch.no_grad():
        if not bool(parameter.abs().max() <= _LARGEST):  # also where it is NaN
            return None
    through = next((use.through for use in uses if use.through), ())
    if any(bends(one) for one in uses):
        use = "frequencies or slopes of a function"
    else:
        use = f"used after {', '.join(through)}" if through else "sets the step size of a recurrence"
    return Decision(Keep(), f"kept as the model's own code set it: {use}, so no rule knows better values")
