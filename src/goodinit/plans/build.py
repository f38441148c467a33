"""`plan` and `initialize`: from a model and a recipe to a complete plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from goodinit.errors import ArgumentError, ExampleError, GoodinitError, UncoveredError, WrongTypeError
from goodinit.graph import Graph, Place, places, trace
from goodinit.graph.layers import shape_fans
from goodinit.graph.places import kind, unwrapped
from goodinit.initializers import Constant, Initializer, Keep, as_initializer
from goodinit.plans.overrides import ONLY_OVERRIDE, checked, must_match
from goodinit.plans.plan import Plan
from goodinit.plans.row import Row
from goodinit.recipes import Recipe, decide
from goodinit.recipes import recipe as find_recipe
from goodinit.recipes.intent import kept
from goodinit.rng import derive_key

__all__ = ["initialize", "plan"]


def plan(
    model: nn.Module,
    recipe: str | Recipe = "auto",
    *,
    example: Any = None,
    overrides: Mapping[str, object] | None = None,
) -> Plan:
    """Return a complete plan for a model: one row, with a reason, for every parameter.

    The model is run once, on tensors without numbers as far as that works, to see which
    operation uses each parameter; a recipe that goes by the types of layers is content
    with those where they cover everything. The model is left as it was. It may live on the
    meta device; then there are no values from which to see what its author set on purpose.

    Args:
        model: the model.
        recipe: a recipe's name or a `Recipe`.
        example: an input that the model accepts: a tensor, a tuple of arguments, a dict of
            keyword arguments, or a callable that returns one. None makes one for the layer
            that data meets first; where nothing that is made fits, the types of layers
            decide. `Plan.notes` says what the model was run on.
        overrides: {pattern: initializer}, see `Plan.override`.

    Raises:
        UncoveredError: if neither a rule nor an override covers a parameter, listing
            names and shapes.
        UnknownNameError: if there is no such recipe.
        ExampleError: if the model rejects the example.
        OverrideError: if an override matches nothing.

    >>> from torch import nn
    >>> made = plan(nn.Linear(64, 8))
    >>> made.rows[0].name, made.rows[0].initializer, made.rows[0].fan_in
    ('weight', Normal(mean=0.0, std=0.125), 64.0)
    >>> made.notes
    ('traced on float32(64, 64), made for Linear',)
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"plan: model must be a torch.nn.Module, found {type(model).__name__}")
    chosen = find_recipe(recipe)
    found = places(model)
    overrides = checked(overrides)
    graph, notes = _traced(model, found, chosen, example)
    # A misspelt override is the likelier cause of an uncovered parameter, so it is named first.
    every = [name for place in found for name in (place.name, *place.aliases)]
    asked = {name: value for pattern, value in overrides.items() for name in must_match(pattern, every)}
    rescued = set(asked)
    decisions = decide(chosen, found, graph, _fixed(asked))
    missing = [
        place
        for place in found
        if decisions[place.name] is None and not rescued & {place.name, *place.aliases}
    ]
    if missing:
        raise UncoveredError(_uncovered_message(chosen, missing, graph, notes))

    rows = []
    for place in found:
        decision = decisions[place.name]
        if decision is None:
            # Covered by an override below; until then nothing fills it, and its fans
            # can only be guessed from its shape.
            fans = shape_fans(tuple(place.parameter.shape)) if place.parameter.dim() >= 2 else None
            pair = (fans.fan_in, fans.fan_out) if fans else (None, None)
            rows.append(_row(place, Keep(), ONLY_OVERRIDE, *pair))
        else:
            row = _row(place, decision.initializer, decision.why, decision.fan_in, decision.fan_out)
            rows.append(dataclasses.replace(row, announced=decision.announced))
    _check_keys(rows)
    made = Plan(tuple(rows), chosen.name, kind(unwrapped(model)), notes)
    return made.override(overrides) if overrides else made


def initialize(
    model: nn.Module,
    recipe: str | Recipe = "auto",
    *,
    example: Any = None,
    overrides: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Plan:
    """Plan a model, fill it in place, and return the plan.

    Args:
        model: the model.
        recipe: a recipe's name or a `Recipe`.
        example: an input that the model accepts: a tensor, a tuple of arguments, a dict of
            keyword arguments, or a callable that returns one. None makes one for the layer
            that data meets first; where nothing that is made fits, the types of layers
            decide. `Plan.notes` says what the model was run on.
        overrides: {pattern: initializer}, see `Plan.override`.
        seed: an integer in [0, 2⁶⁴).

    Raises:
        See `plan` and `Plan.apply_`; nothing is written before everything fits.

    >>> from torch import nn
    >>> model = nn.Linear(64, 8)
    >>> initialize(model, "xavier_uniform", seed=1).verify(model, seed=1).passed
    True
    """
    made = plan(model, recipe, example=example, overrides=overrides)
    made.apply_(model, seed=seed)
    return made


def _traced(
    model: nn.Module, found: Sequence[Place], recipe: Recipe, example: Any
) -> tuple[Graph | None, tuple[str, ...]]:
    """Return the traced model where the recipe has a use for it, and what to tell of it."""
    for place in found:
        kept(place, place.uses[0])  # refuses what has no shape yet
    if example is None:
        if recipe.traced is None or not found:
            return None, ()
        if recipe.layers_first and None not in decide(recipe, found).values():
            return None, ()
    try:
        graph = trace(model, example)
    except ExampleError as error:
        if example is not None:
            raise
        return None, (f"not traced, so the types of layers decide. {error}",)
    return graph, (f"traced on {graph.example}", *graph.notes)


def _fixed(asked: Mapping[str, object]) -> dict[str, float | None]:
    """Return what overrides leave of parameters that rules should know: one value, or None for their own."""
    found: dict[str, float | None] = {}
    for name, value in asked.items():
        try:
            made = as_initializer(value)
        except GoodinitError:
            continue  # the override itself says what is wrong
        if isinstance(made, Keep | Constant):
            found[name] = made.value if isinstance(made, Constant) else None
    return found


def _row(place: Place, asked: Initializer, why: str, fan_in: float | None, fan_out: float | None) -> Row:
    shape = tuple(place.parameter.shape)
    resolved = as_initializer(asked).resolve(shape, fan_in, fan_out)
    if place.aliases:
        why += f"; tied with {', '.join(place.aliases)}"
    return Row(
        name=place.name,
        shape=shape,
        initializer=resolved,
        fan_in=fan_in,
        fan_out=fan_out,
        why=why,
        aliases=place.aliases,
        asked=asked if asked != resolved else None,
    )


def _uncovered_message(
    recipe: Recipe, missing: Sequence[Place], graph: Graph | None, notes: Sequence[str]
) -> str:
    lines = [
        f"recipe {recipe.name!r} has no rule for {len(missing)} parameter{'s' if len(missing) > 1 else ''}:"
    ]
    shown = missing[:20]
    width = max(len(place.name) for place in shown)
    for place in shown:
        shape, owner = tuple(place.parameter.shape), kind(place.uses[0].module)
        lines.append(f"  {place.name:{width}}  {shape!s:16} in {owner}{_hint(place, graph)}")
    if len(missing) > 20:
        lines.append(f"  … and {len(missing) - 20} more")
    lines += notes
    first = missing[0].name
    lines.append(
        "cover each by an override, for example "
        f'overrides={{"{first}": goodinit.initializers.Normal(std=0.02)}}, '
        f'or overrides={{"{first}": "keep"}} to leave its values as they are'
    )
    return "\n".join(lines)


def _hint(place: Place, graph: Graph | None) -> str:
    from goodinit.recipes.elementwise import unknown_use
    from goodinit.recipes.intent import one_value

    if graph is not None:
        return f" ({unknown_use(graph, place)})"
    if place.parameter.is_meta:
        return " (meta: no values to judge by)"
    value = one_value(place.parameter)
    if value == 0.0:
        return " (all zero: a choice, or memory that nobody filled?)"
    return ""


def _check_keys(rows: Sequence[Row]) -> None:
    """Refuse two names with one key, for their values would be copies. Probability 2⁻⁶⁴ per pair."""
    seen: dict[int, str] = {}
    for row in rows:
        key = derive_key(0, row.name)
        if key in seen:
            raise ArgumentError(f"the names {seen[key]!r} and {row.name!r} share one key: rename one of them")
        seen[key] = row.name
