"""What a plan says beforehand of a weight whose scale cannot hold everything."""

from __future__ import annotations

import dataclasses

from goodinit.graph import Place, WeightUse
from goodinit.initializers import DeltaOrthogonal, LooksLinear, Orthogonal
from goodinit.recipes.costs import cost
from goodinit.recipes.decision import Decision
from goodinit.recipes.travel import Travel
from goodinit.recipes.unheld import without_moment
from goodinit.records import Announced

__all__ = ["announcing"]

# A stream that ends at so many times what it began with.
_WORTH_TELLING = 3.0


def announcing(travel: Travel, place: Place, decision: Decision | None) -> Decision | None:
    """Return the decision for a weight together with what will not hold nevertheless.

    Args:
        travel: the traced network.
        place: the parameter.
        decision: what its rule decided.
    """
    use = travel.graph.principal(place.name)
    if decision is None or use is None or isinstance(decision.initializer, LooksLinear):
        return decision
    orthogonal = isinstance(decision.initializer, Orthogonal | DeltaOrthogonal)
    said = cost(travel, use, orthogonal) or _grown(travel, use) or _fed(use) or without_moment(travel, use)
    if said is None:
        return decision
    return dataclasses.replace(decision, why=f"{decision.why}; {said.what}", announced=said)


def _grown(travel: Travel, use: WeightUse) -> Announced | None:
    """What becomes of a stream whose branches end in normalizations without a gain."""
    branch = use.residual
    if branch is None or branch.shortcut or use.norm_after is None or _gained(travel, use):
        return None
    ends = 1.0 + branch.of
    what = (
        f"no gain follows the normalization that ends its branch, so the stream's second moment is predicted "
        f"to grow from 1 to {ends:g} over {branch.of} branches; a learned gain would help"
    )
    return Announced(what, "stream", ends, branch.of)


def _fed(use: WeightUse) -> Announced | None:
    """What becomes of a stream to which branches without any weight are added."""
    if use.residual is None or use.residual.shortcut or use.residual.ends <= _WORTH_TELLING:
        return None
    ends = use.residual.ends
    what = (
        f"some branches of its stream have no weight, so the stream's second moment is predicted to grow "
        f"from 1 to {ends:g}; a factor or a learned gain in these branches would help"
    )
    return Announced(what, "stream", ends, use.residual.of)


def _gained(travel: Travel, use: WeightUse) -> bool:
    place = use.residual and (use.residual.stream, use.residual.position)
    return any(
        other.op in ("scale", "other")
        and other.residual is not None
        and (other.residual.stream, other.residual.position) == place
        and other.source.kind == "norm"
        for other in travel.graph
    )
