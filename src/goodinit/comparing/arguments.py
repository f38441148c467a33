"""The arguments of `compare`, checked and in their final form."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from goodinit.comparing.inputs import Batch, Inputs, rows
from goodinit.comparing.optimizers import Optimizer
from goodinit.errors import ArgumentError, GoodinitError, UnknownNameError, WrongTypeError
from goodinit.plans import Plan
from goodinit.plans.build import plan

__all__ = [
    "for_model",
    "read_decay",
    "read_evaluations",
    "read_integer",
    "read_plans",
    "read_rates",
    "read_seeds",
]

#: Examples on which recipes that trace a model run it.
EXAMPLES = 16


def read_integer(name: str, value: object, least: int) -> int:
    """Return an integer that is not below `least`.

    >>> read_integer("steps", 10, 1)
    10
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise WrongTypeError(f"{name} must be an integer, found {type(value).__name__}")
    number = operator.index(value)
    if number < least:
        raise ArgumentError(f"{name} must be at least {least}, found {number}")
    return number


def read_rates(lr: float | Sequence[float]) -> tuple[float, ...]:
    """Return the learning rates, in the order given."""
    listed = _listed(lr)
    given = list(listed) if isinstance(listed, Sequence) and not isinstance(listed, str) else [listed]
    try:
        rates = tuple(float(rate) for rate in given)
    except (TypeError, ValueError) as error:
        raise WrongTypeError(f"lr must be a number or a sequence of numbers, found {lr!r}") from error
    bad = [rate for rate in rates if not (rate > 0 and math.isfinite(rate))]
    if bad or not rates:
        raise ArgumentError(f"lr must be finite and above 0, found {bad[0] if bad else 'none'}")
    _once("lr", rates)
    return rates


def read_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds: 0 … n − 1 for an integer n."""
    seeds = _listed(seeds)
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        numbers = tuple(read_integer("each of seeds", seed, 0) for seed in seeds)
        if not numbers:
            raise ArgumentError("seeds must hold at least one seed, found none")
        if max(numbers) >= 2**64:
            raise ArgumentError(f"each of seeds must be below 2**64, found {max(numbers)}")
        _once("seeds", numbers)
        return numbers
    return tuple(range(read_integer("seeds", seeds, 1)))


def read_evaluations(evaluations: int | Sequence[int], steps: int) -> tuple[int, ...]:
    """Return the steps after which members are evaluated; the start and the end are always among them."""
    evaluations = _listed(evaluations)
    if isinstance(evaluations, Sequence) and not isinstance(evaluations, str):
        asked = [read_integer("each of evaluations", step, 0) for step in evaluations]
        if asked and max(asked) > steps:
            raise ArgumentError(f"evaluations must not be after the last step, {steps}, found {max(asked)}")
    else:
        count = min(read_integer("evaluations", evaluations, 1), steps)
        asked = [round(steps * index / count) for index in range(count + 1)]
    return tuple(sorted({0, *asked, steps}))


def read_plans(plans: Mapping[str, Any] | Sequence[str], model: nn.Module, inputs: Inputs) -> dict[str, Plan]:
    """Return a plan for every label; recipes are planned on the model with a few of the inputs.

    Raises:
        ArgumentError: if there is no plan, or a label stands twice.
        WrongTypeError: if a plan is neither a `Plan` nor a recipe.
        GoodinitError: whatever a recipe raises, with the label before it.
    """
    if isinstance(plans, Plan | str):
        raise WrongTypeError(
            f"plans must be {{label: plan}} or names of recipes, found one {type(plans).__name__}"
        )
    if not isinstance(plans, Iterable):
        raise WrongTypeError(
            f"plans must be {{label: plan}} or names of recipes, found {type(plans).__name__}"
        )
    if not isinstance(plans, Mapping):
        names = list(plans)
        if not all(isinstance(name, str) for name in names):
            raise WrongTypeError("plans without labels must be names of recipes: write {label: plan}")
        _once("plans", names)
        plans = dict(zip(names, names, strict=True))
    if not plans:
        raise ArgumentError("plans must hold at least one plan, found none")
    made, example = {}, rows(inputs, slice(EXAMPLES))
    for label, given in plans.items():
        if not isinstance(label, str):
            raise WrongTypeError(f"labels of plans must be strings, found {label!r}")
        try:
            made[label] = given if isinstance(given, Plan) else plan(model, given, example=example)
        except GoodinitError as error:
            raise type(error)(f"plan {label!r}: {error}") from error
    return made


def read_decay(
    decay: str | Callable[[str, nn.Parameter], bool], rule: Optimizer, model: nn.Module
) -> Optimizer:
    """Return the optimizer with the names of the parameters to which its weight decay does not apply."""
    if decay == "all":
        return rule
    if isinstance(decay, str) and decay != "matrices":
        raise UnknownNameError(f"decay={decay!r} is none of all, matrices, and no function")
    if not isinstance(decay, str) and not callable(decay):
        raise WrongTypeError(
            "decay must be 'all', 'matrices' or a function of (name, parameter), "
            f"found {type(decay).__name__}"
        )
    if not rule.weight_decay:
        raise ArgumentError("decay says what weight_decay applies to, and there is none: give both")
    applies = decay if callable(decay) else lambda _, parameter: parameter.dim() >= 2
    try:
        spared = tuple(name for name, each in model.named_parameters() if not applies(name, each))
    except Exception as error:
        raise ArgumentError(
            f"decay must say yes or no for (name, parameter); it raises {type(error).__name__}: {error}"
        ) from error
    return replace(rule, spared=spared)


def for_model(model: nn.Module, pair: Batch) -> Batch:
    """Return inputs and targets on the model's device, floats in its own type."""
    first = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if first is None:
        return pair
    device, dtype = first.device, first.dtype
    found: Batch = tree_map(
        lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype), pair
    )
    return found


def _listed(value: Any) -> Any:
    """Return an array or a tensor as a list or a number, anything else as it is."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value


def _once(name: str, values: Sequence[object]) -> None:
    twice = next((value for value in values if list(values).count(value) > 1), None)
    if twice is not None:
        raise ArgumentError(f"{name} must differ from each other, found {twice!r} twice")
