"""Rules that read a traced graph: fans from use, so raw parameters need no module type."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from goodinit.graph import Graph, Place, Use, WeightUse
from goodinit.initializers import Blocks, Initializer
from goodinit.recipes.decision import Decision, Rule
from goodinit.recipes.elementwise import expert_bias, plain_roles
from goodinit.recipes.layers import Scheme

__all__ = ["Siblings", "blocks_or_one", "by_use", "described"]

# What only joins weights, picks some of them, or multiplies them with each other.
_JOINING = frozenset({"cat", "stack", "index", "index_select", "gather", "mm", "bmm", "add", "_unsafe_index"})

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

    siblings = Siblings.of(graph)

    def contraction(place: Place, registered: Use) -> Decision | None:
        return blocks_or_one(graph, place, choose, siblings)

    def bias(place: Place, registered: Use) -> Decision | None:
        return expert_bias(graph, place, registered)

    return contraction, bias, lambda place, use: plain_roles(graph, place)


@dataclass(frozen=True)
class Siblings:
    """Which reached weight stands for one that the example never reaches, such as an expert without a token.

    Siblings have the same shape and names that differ in one number, such as an expert's.
    """

    found: dict[tuple[str, str, tuple[int, ...]], str]

    @classmethod
    def of(cls, graph: Graph) -> Siblings:
        """Index a graph's weights; empty where the example reaches all."""
        found: dict[tuple[str, str, tuple[int, ...]], str] = {}
        for name, uses in graph.uses.items() if graph.unreached else ():
            if any(use.contracts for use in uses):
                for around in _around_numbers(name):
                    found.setdefault((*around, uses[0].shape), name)
        return cls(found)

    def __call__(self, place: Place) -> str | None:
        """Return the sibling's name, the one that differs in the last number if there is one."""
        keys = ((*around, tuple(place.parameter.shape)) for around in _around_numbers(place.name))
        return next((self.found[key] for key in keys if key in self.found), None)


def _around_numbers(name: str) -> list[tuple[str, str]]:
    """Return what stands before and after each number in a name, for the last number first."""
    parts = re.split(r"(\d+)", name)
    return [("".join(parts[:at]), "".join(parts[at + 1 :])) for at in range(len(parts) - 2, 0, -2)]


def blocks_or_one(graph: Graph, place: Place, choose: Chooser, siblings: Siblings) -> Decision | None:
    """Decide for a parameter that contracts: one initializer, or one for each block of a packed one."""
    sibling = None if place.name in graph.uses else siblings(place)
    uses = [use for use in graph[sibling or place.name] if use.contracts]
    if not uses:
        return None
    decision = _contraction(uses, place, choose)
    if sibling is None:
        return decision
    why = f"{decision.why}; judged by {sibling}, since the example never reaches this one"
    return dataclasses.replace(decision, why=why)


def _contraction(uses: list[WeightUse], place: Place, choose: Chooser) -> Decision:
    # A layer that is called again and again is judged by what it mostly reads.
    principal = max(uses, key=lambda use: use.calls)
    packed = _packed(uses, tuple(place.parameter.shape))
    if packed is None:
        initializer, why = choose(principal)
        # Weights that are made sum as many inputs again, one layer later.
        fan_in = principal.fan_in * principal.sink.sums
        return Decision(initializer, f"{described(principal)}; {why}", fan_in, principal.fan_out)
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
    said = f"{what} ({use.op.replace('_', ' ')}{groups}, {use.fan_in:g}→{use.fan_out:g})"
    changes = [op for op in use.through if op not in _JOINING]
    if changes:
        said += f", changed by {', '.join(dict.fromkeys(changes))} before it is used"
        known = use.making is not None and math.isfinite(use.making.moment(1.0))
        said += "" if known else ", which may set its scale"
    return said
