"""What the model's author set on purpose, and what therefore stays.

Frozen, parametrized and integer parameters keep their values. A parameter whose
elements all have one value was set by someone (a zero-initialised gain or last
layer, a LayerScale, a ReZero scalar) and keeps that value, unless the constructor
of its layer would have put the same thing there anyway. So were numbers that no law
draws: an identity, a one-hot vector, a fixed filter, a range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from goodinit.errors import ArgumentError
from goodinit.graph import Place, Use
from goodinit.graph.formulas import structure
from goodinit.initializers import Blocks, Constant, Keep
from goodinit.recipes.decision import Decision
from goodinit.recipes.torch_defaults import torch_rules

__all__ = ["author_set", "is_blank", "kept", "one_value"]

# Endings of the parts that hooks of torch.nn.utils (weight_norm, spectral_norm, prune) make of a
# parameter, and the endings of what stands beside each.
_HOOKED = {"g": ("v",), "v": ("g",), "orig": ("u", "mask")}


def one_value(parameter: torch.Tensor) -> float | None:
    """Return the value that all elements share, or None where they differ or there are none to read.

    >>> one_value(torch.ones(3)), one_value(torch.arange(3.0))
    (1.0, None)
    """
    if parameter.is_meta or parameter.numel() == 0 or not parameter.is_floating_point():
        return None
    with torch.no_grad():
        if parameter.element_size() == 1:
            parameter = parameter.float()  # torch compares nothing in 8-bit storage
        first = _first(parameter)
        value = float(first)
        if not math.isfinite(value) or not bool((parameter == first).all()):
            return None
        # The shortest decimal that is stored as this value: 0.1, not 0.10000000149.
        return next(
            (short for digits in range(1, 17) if first == (short := float(f"{value:.{digits}g}"))), value
        )


def _first(parameter: torch.Tensor) -> torch.Tensor:
    index = (0,) * parameter.dim()
    try:
        return parameter[index]
    except NotImplementedError:  # torch 2.7 takes no elements of a distributed tensor
        return cast("Any", parameter).full_tensor()[index]  # type: ignore[no-any-return]


def is_blank(places: Iterable[Place]) -> bool:
    """Tell whether the weights look like fresh memory rather than like somebody's choice.

    Memory from ``to_empty`` is often all zero. Where more than half of the weight
    matrices are, zeros carry no intent anywhere in the model.
    """
    weights = [one_value(place.parameter) for place in places if place.parameter.dim() >= 2]
    return sum(value == 0.0 for value in weights) * 2 > len(weights)


def kept(place: Place, use: Use) -> Decision | None:
    """Decide for parameters that no recipe may touch.

    Raises:
        ArgumentError: for a lazy parameter that has no shape yet.
    """
    parameter, module = place.parameter, use.module
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ArgumentError(
            f"{place.name} of {type(module).__name__} is lazy and has no shape yet: "
            "run the model once on a batch, then plan"
        )
    if not parameter.is_floating_point():
        return Decision(Keep(), f"kept: stored as {parameter.dtype}, which no distribution fills")
    if any(isinstance(owner, ParametrizationList) for owner in (module, *use.ancestors)):
        return Decision(
            Keep(), f"kept: part of a parametrized weight ({use.module_name.rpartition('.')[2] or 'weight'})"
        )
    if _hooked(module, use.local):
        return Decision(Keep(), "kept: part of a reparametrized weight (torch.nn.utils hook)")
    if not parameter.requires_grad:
        return Decision(Keep(), "kept: frozen (requires_grad is False)")
    return None


def _hooked(module: nn.Module, local: str) -> bool:
    """Tell whether a parameter is a part from which a hook computes the attribute that it is named after."""
    whole, _, end = local.rpartition("_")
    return (
        hasattr(module, whole)
        and whole not in module._parameters
        and any(hasattr(module, f"{whole}_{other}") for other in _HOOKED.get(end, ()))
    )


def author_set(place: Place, decision: Decision | None) -> Decision | None:
    """Decide for a parameter that holds one value throughout or a structure, given what its rule decided.

    Returns None where the values carry no intent: they may be drawn, they are what the
    layer's constructor sets, or there is a single number that it may have drawn.
    """
    value = one_value(place.parameter)
    if value is None:
        # A gate's bias of several blocks has a structure of its own.
        how = None if decision is not None and _in_blocks(place, decision) else structure(place.parameter)
        return None if how is None else Decision(Keep(), f"kept: the model's author set it ({how})")
    if decision is None:
        # An unknown parameter. A zero matrix may be a choice or untouched memory: only
        # its author can tell, so it stays uncovered and the error asks.
        vector = sum(length > 1 for length in place.parameter.shape) <= 1
        if value != 0.0 or vector:
            return Decision(Constant(value), f"kept: the model's author set it to {value:g}")
        return None
    chosen = decision.initializer
    if decision.default == value or (isinstance(chosen, Constant) and _as_stored(place, chosen.value, value)):
        return None
    if decision.default is None and place.parameter.numel() == 1 and _may_be_drawn(place, value):
        return None
    return Decision(
        Constant(value),
        f"kept: the model's author set it to {value:g}",
        decision.fan_in,
        decision.fan_out,
    )


def _in_blocks(place: Place, decision: Decision) -> bool:
    return place.parameter.dim() == 1 and isinstance(decision.initializer, Blocks)


def _as_stored(place: Place, one: float, other: float) -> bool:
    """Tell whether a parameter stores two values as the same number."""
    both = torch.tensor([one, other], dtype=torch.float64).to(place.parameter.dtype).to(torch.float64)
    return bool(both[0] == both[1])


def _may_be_drawn(place: Place, value: float) -> bool:
    """Tell whether a layer's own constructor could have drawn this lone number: in its range, and not 0."""
    said = next((said for rule in torch_rules for use in place.uses if (said := rule(place, use))), None)
    if said is None:
        return True
    low, high = said.initializer.resolve(tuple(place.parameter.shape), said.fan_in, said.fan_out).bounds
    rounding = 1 + torch.finfo(place.parameter.dtype).eps
    return value != 0.0 and low * rounding <= value <= high * rounding
