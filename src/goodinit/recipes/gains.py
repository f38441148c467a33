"""Gains of normalizations that end a residual branch: the branch's scale is theirs alone to set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from goodinit.graph import Place, Use, WeightUse
from goodinit.initializers import Constant
from goodinit.recipes.decision import Decision, Rule
from goodinit.recipes.staying import kept_factor
from goodinit.recipes.travel import Travel

__all__ = ["branch_gain"]


def branch_gain(travel: Travel, rules: Sequence[Rule], place: Place, registered: Use) -> Decision | None:
    """Decide for the gain of a normalization whose result is added into a residual stream.

    What lies before the normalization cannot set the size of the branch, so the gain is the square
    root of the second moment that a branch adds: γ = √(1/n) for n branches.

    Args:
        travel: the traced network.
        rules: the rules that give a gain its neutral value.
        place: the parameter.
        registered: the module that owns it.

    Returns:
        The decision, with the neutral value as the layer's own, so that any other that the author
        set stays; None for what ends no branch.
    """
    uses = travel.graph[place.name]
    if not uses or not all(_ends_branch(use) for use in uses):
        return None
    neutral = next((said for rule in rules if (said := rule(place, registered)) is not None), None)
    if neutral is None or neutral.default is None or neutral.initializer != Constant(neutral.default):
        return None
    use = _without_itself(uses[0])
    moment, words = travel.wanted(use, use.sink)
    moment /= use.source.size
    stays = kept_factor(travel.graph, use.residual) if use.residual is not None else 1.0
    if stays not in (0.0, 1.0):
        # A LayerScale that makes the branch small already is left to do so.
        moment = min(moment / stays, 1.0)
        words += f", times a scale that stays at {math.sqrt(stays):.3g}"
    why = (
        f"gain of the normalization that ends {words}: √{moment:.3g} sets that, since whatever comes "
        "before is normalized away"
    )
    return dataclasses.replace(
        neutral, initializer=Constant(_stored(math.sqrt(moment), uses[0], neutral.default)), why=why
    )


def _without_itself(use: WeightUse) -> WeightUse:
    """The use without the gain among what scales its branch: it is asked for, and not what stays."""
    assert use.residual is not None
    others = tuple(name for name in use.residual.scale if name != use.name)
    return dataclasses.replace(use, residual=dataclasses.replace(use.residual, scale=others))


def _ends_branch(use: WeightUse) -> bool:
    branch = use.residual is not None and not use.residual.shortcut
    return use.op == "scale" and use.source.kind == "norm" and use.norm_after is None and branch


def _stored(gain: float, use: WeightUse, neutral: float) -> float:
    """Return the parameter's value at a gain, from the one at gain 1: γ, γ − 1, or log γ."""
    return math.log(gain) if "exp" in use.through and gain > 0 else gain - 1.0 + neutral
