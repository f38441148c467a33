"""One recipe, applied to all parameters of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from goodinit.graph import Graph, Place
from goodinit.initializers import Constant, Keep
from goodinit.recipes.decision import Decision, Recipe, Rule
from goodinit.recipes.intent import author_set, is_blank, kept, one_value

__all__ = ["decide"]

# Stands for what the rules that read the graph will say.
_BY_USE = Decision(Keep(), "decided by its use")


def decide(
    recipe: Recipe,
    found: Sequence[Place],
    graph: Graph | None = None,
    fixed: Mapping[str, float | None] | None = None,
) -> dict[str, Decision | None]:
    """Return the decision for every parameter by name; None where no rule covers it.

    What must be kept is kept; then the recipe's rules are tried on every use of the
    parameter, in order; then what the author set wins over the rule, unless
    the model's memory is blank (see `is_blank`). Rules that read the graph are told what stays.

    Args:
        recipe: the named list of rules.
        found: the model's parameters, from `goodinit.graph.places`.
        graph: the traced model, if it was traced.
        fixed: what is decided elsewhere, by any name of a parameter: the one value that it gets, None
            where its values stay as they are.
    """
    decisions: dict[str, Decision | None] = {place.name: kept(place, place.uses[0]) for place in found}
    rules, blank = recipe.rules, is_blank(found)
    if graph is not None and recipe.traced is not None:
        rules = recipe.traced(_told(graph, found, rules, fixed or {}, blank))
    for place in found:
        decision = decisions[place.name]
        if decision is None:
            decision = _first(rules, place)
            if not blank:
                decision = author_set(place, decision) or decision
        decisions[place.name] = decision
    return decisions


def _first(rules: Sequence[Rule], place: Place) -> Decision | None:
    return next(
        (said for rule in rules for use in place.uses if (said := rule(place, use)) is not None), None
    )


def _told(
    graph: Graph,
    found: Sequence[Place],
    rules: Sequence[Rule],
    fixed: Mapping[str, float | None],
    blank: bool,
) -> Graph:
    """Return the graph with what is known of parameters that stay as they are."""
    stays: set[str] = set()
    values: dict[str, float] = {}
    for place in found:
        names = [name for name in (place.name, *place.aliases) if name in fixed]
        value = fixed[names[0]] if names else None
        if value is None and (names or kept(place, place.uses[0]) is not None):
            stays.add(place.name)
            value = one_value(place.parameter)
        elif value is None and not blank:
            principal = graph.principal(place.name)
            # A matrix that no layer's rule knows is decided by its use.
            used = _BY_USE if principal is not None and principal.contracts else None
            own = author_set(place, _first(rules, place) or used)
            if own is not None and isinstance(own.initializer, Constant):
                value = own.initializer.value
            elif own is not None:
                stays.add(place.name)
        if value is not None:
            values[place.name] = value
    return dataclasses.replace(graph, kept=frozenset(stays), values=values)
