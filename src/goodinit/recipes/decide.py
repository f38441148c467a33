"""One recipe, applied to all parameters of a model."""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.graph import Graph, Place
from goodinit.recipes.decision import Decision, Recipe
from goodinit.recipes.intent import author_constant, is_blank, kept

__all__ = ["decide"]


def decide(recipe: Recipe, found: Sequence[Place], graph: Graph | None = None) -> dict[str, Decision | None]:
    """Return the decision for every parameter by name; None where no rule covers it.

    What must be kept is kept; then the recipe's rules are tried on every use of the
    parameter, in order; then the author's own constants win over the rule, unless
    the model's memory is blank (see `is_blank`).

    Args:
        recipe: the named list of rules.
        found: the model's parameters, from `goodinit.graph.places`.
        graph: the traced model, if it was traced.
    """
    rules = recipe.traced(graph) if graph is not None and recipe.traced is not None else recipe.rules
    decisions: dict[str, Decision | None] = {place.name: kept(place, place.uses[0]) for place in found}
    blank = is_blank(found)
    for place in found:
        decision = decisions[place.name]
        if decision is None:
            decision = next(
                (said for rule in rules for use in place.uses if (said := rule(place, use)) is not None),
                None,
            )
            if not blank:
                decision = author_constant(place, decision) or decision
        decisions[place.name] = decision
    return decisions
