"""Rules that read a traced graph: fans from use, so raw parameters need no module type."""

from __future__ import annotations

from collections.abc import Callable

from goodinit.graph import Graph, Place, Use, WeightUse
from goodinit.initializers import Blocks, Initializer
from goodinit.recipes.decision import Decision, Rule
from goodinit.recipes.elementwise import plain_roles
from goodinit.recipes.layers import Scheme

__all__ = ["blocks_or_one", "by_use", "described"]

#: An initializer and its reason for one contraction.
Chooser = Callable[[WeightUse], tuple[Initializer, str]]


def by_use(scheme: Scheme, graph: Graph) -> tuple[Rule, ...]:
    """Return rules for what no module type covers, from how the graph uses it.

    Args:
        scheme: which initializer goes where.
        graph: the traced model.
    """

    def choose(use: WeightUse) -> tuple[Initializer, str]:
        rectified = use.sink.kind == "weight" and not (use.attention or use.gate or use.head)
        if rectified:
            return scheme.weight, scheme.weight_why
        return scheme.projection, scheme.projection_why

    def contraction(place: Place, registered: Use) -> Decision | None:
        return blocks_or_one(graph, place, choose)

    return contraction, lambda place, use: plain_roles(graph, place)


def blocks_or_one(graph: Graph, place: Place, choose: Chooser) -> Decision | None:
    """Decide for a parameter that contracts: one initializer, or one for each block of a packed one."""
    uses = [use for use in graph[place.name] if use.contracts]
    if not uses:
        return None
    principal = uses[0]
    packed = _packed(uses, tuple(place.parameter.shape))
    if packed is None:
        initializer, why = choose(principal)
        return Decision(initializer, f"{described(principal)}; {why}", principal.fan_in, principal.fan_out)
    dim, ordered = packed
    parts, reasons = [], []
    for use in ordered:
        assert use.block is not None
        initializer, why = choose(use)
        length = use.block[dim].length
        shape = use.block_shape
        parts.append((length, initializer.resolve(shape, use.fan_in, use.fan_out)))
        if why not in reasons:
            reasons.append(why)
    why = f"{len(parts)} maps packed in one tensor, first {described(principal)}; {'; '.join(reasons)}"
    return Decision(Blocks.of(parts, dim), why, principal.fan_in, principal.fan_out)


def _packed(uses: list[WeightUse], shape: tuple[int, ...]) -> tuple[int, list[WeightUse]] | None:
    """Return the dimension that blocks tile and the blocks in order, or None for one whole parameter."""
    blocks = {use.block: use for use in uses if use.block is not None}
    if len(blocks) < 2 or any(span.repeats != 1 for block in blocks for span in block):
        return None
    for dim, length in enumerate(shape):
        ordered = sorted(blocks.values(), key=lambda use: use.block[dim].start if use.block else 0)
        ends = 0
        for use in ordered:
            assert use.block is not None
            whole = all(span.length == shape[d] for d, span in enumerate(use.block) if d != dim)
            if not whole or use.block[dim].start != ends:
                break
            ends += use.block[dim].length
        else:
            if ends == length:
                return dim, ordered
    return None


def described(use: WeightUse) -> str:
    """Say how a weight is used: its role and its fans."""
    roles = {"q": "query", "k": "key", "v": "value", "output": "output"}
    what = "output layer" if use.head else "weight"
    if use.attention:
        what = f"attention's {roles[use.attention]} projection"
    elif use.gate:
        what = "gate" if use.gate == "gate" else "gated value"
    groups = f", groups={use.groups}" if use.groups > 1 else ""
    return f"{what} ({use.op.replace('_', ' ')}{groups}, {use.fan_in:g}→{use.fan_out:g})"
