"""Tables that are looked up: tokens, positions, types, and biases of attention."""

from __future__ import annotations

import math

from torch import nn

from goodinit.graph import Place, Use, WeightUse
from goodinit.initializers import Initializer, Normal, ZeroRows
from goodinit.recipes.decision import Decision
from goodinit.recipes.tables import start
from goodinit.recipes.travel import Travel, scale

__all__ = ["LOGIT_BIAS_STD", "biases_logits", "lookup"]

# Beside logits of unit variance a fiftieth prefers no position and still tells positions apart
# (Swin draws its table of relative positions with the same number).
LOGIT_BIAS_STD = 0.02


def lookup(travel: Travel, place: Place, registered: Use) -> Decision | None:
    """Decide for a table whose rows are picked by number.

    A table that is also the output layer gets std = 1/√(m·d), which keeps logits at unit
    variance (m: second moment of what the output layer reads, d its width). Tables that
    are added to it get the same, so that none drowns the other; all others unit std.

    Args:
        travel: the traced network.
        place: the parameter.
        registered: the module that owns it; its ``padding_idx`` row stays zero.

    Returns:
        The decision, or None where nothing looks rows up.
    """
    uses = [use for use in travel.graph[place.name] if _looks_up(use, registered)]
    if not uses:
        return None
    fan_in = 1.0
    head = _head(travel, place.name)
    if all(biases_logits(use) for use in uses):
        std = LOGIT_BIAS_STD
        why = (
            "added to attention logits of unit variance: small, so that no position is preferred at the start"
        )
    elif head is not None:
        fan_in, std = head.fan_in, _tied_std(travel, head)
        why = (
            f"also the output layer, which sums {fan_in:g} features{_size(travel, head)}: "
            f"{_root(std)} keeps logits near 1"
        )
    else:
        fan_in = uses[0].fan_in if uses[0].op == "embedding" else 1.0
        std, why = start(travel, place.name, uses)
    initializer: Initializer = Normal(0.0, std)
    padding = getattr(registered.module, "padding_idx", None)
    if isinstance(padding, int):
        initializer, why = ZeroRows(initializer, (padding,)), f"{why}; padding row {padding} stays zero"
    return Decision(initializer, why, fan_in, float(math.prod(place.parameter.shape[1:])))


def _looks_up(use: WeightUse, registered: Use) -> bool:
    """Tell whether a use picks rows, or adds rows that code cut out of an nn.Embedding itself."""
    return use.op == "embedding" or (
        use.op in ("shift", "token", "start") and isinstance(registered.module, nn.Embedding)
    )


def biases_logits(use: WeightUse) -> bool:
    """Tell whether what a use puts out is added to attention logits and goes nowhere else."""
    return {sink.kind for sink in use.sinks} == {"attention_logits"}


def _head(travel: Travel, name: str) -> WeightUse | None:
    return next((use for use in travel.graph[name] if use.contracts and use.head), None)


def _tied_std(travel: Travel, head: WeightUse) -> float:
    return scale(travel.wanted(head, head.sink)[0], travel.arriving(head)[0], head.fan_in)


def _size(travel: Travel, head: WeightUse) -> str:
    arriving = travel.arriving(head)[0]
    return "" if math.isclose(arriving, 1.0, rel_tol=1e-6) else f" of second moment {arriving:.3g}"


def _root(std: float) -> str:
    inverse = std**-2 if std > 0 else 0.0
    whole = inverse > 1.5 and math.isclose(inverse, round(inverse), rel_tol=1e-9)
    return f"std 1/√{inverse:.0f}" if whole else f"std {std:.3g}"
