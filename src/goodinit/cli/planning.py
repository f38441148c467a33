"""The plan that a command works with: from a recipe, from a file, with overrides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from goodinit.cli.initializer import read_overrides
from goodinit.cli.inputs import Input, drawn, read_inputs
from goodinit.cli.options import DEFAULT_RECIPE

if TYPE_CHECKING:
    from torch import nn

    from goodinit.plans import Plan
    from goodinit.recipes import Recipe

__all__ = ["Wish", "fingerprint", "known_plan", "make_plan", "wish"]

#: A recipe or a plan, overrides, inputs to trace on: what says which plan is meant, before there is a model.
Wish = tuple["Recipe | Plan", dict[str, object], tuple[Input, ...]]


def wish(
    recipe: str | None, plan_path: Path | None, overrides: Sequence[str], examples: Sequence[str]
) -> Wish:
    """Read what the options say of the plan; mistakes are found here, before a model is built.

    Raises:
        UnknownNameError, PlanFileError, OverrideError, ArgumentError, CheckpointError: if an
            option names nothing usable.
    """
    from goodinit.plans import Plan
    from goodinit.recipes import recipe as find_recipe

    if recipe is not None and plan_path is not None:
        raise click.UsageError("--recipe and --plan exclude each other", click.get_current_context())
    if examples and plan_path is not None:
        raise click.UsageError("--example and --plan exclude each other", click.get_current_context())
    chosen = Plan.load(plan_path) if plan_path else find_recipe(recipe or DEFAULT_RECIPE)
    return chosen, read_overrides(overrides), read_inputs("--example", examples)


def make_plan(meant: Wish, model: nn.Module, seed: int) -> Plan:
    """Return the plan for a model: made by the recipe, or the one from the file.

    Args:
        meant: from `wish`.
        model: the model.
        seed: of the values that are drawn to trace it on; only rarely do they matter.
    """
    from goodinit.plans import Plan, plan

    chosen, overrides, inputs = meant
    if isinstance(chosen, Plan):
        return known_plan(meant)
    example = drawn("--example", inputs, model, seed)
    return plan(model, chosen, example=example, overrides=overrides)


def known_plan(meant: Wish) -> Plan:
    """Return the plan from a file, overrides carried out; there must be one."""
    from goodinit.plans import Plan

    chosen, overrides, _ = meant
    assert isinstance(chosen, Plan)
    return chosen.override(overrides) if overrides else chosen


def fingerprint(plan: Plan) -> str:
    """Return 16 hexadecimal digits that two plans share if they fill the same parameters by the same values.

    SHA-256 over names, shapes and initializers; reasons and fans do not count.
    """
    rows = [[row.name, list(row.shape), row.initializer.to_json()] for row in plan]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
