"""How large the rows of a table that is no output layer are to be, and are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from goodinit.graph import Sink, WeightUse
from goodinit.recipes.keeping import kept_size

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["constant", "looked_up", "start", "tied", "unit_scored"]

# With less than this power of the rows' second moment it is not the rows that set the output's.
_LEAST_POWER = 0.5


def looked_up(travel: Travel, names: tuple[str, ...]) -> float:
    """Return the second moment of what look-ups put out: 1, unless their use or the author says otherwise."""
    kept, planned = [], []
    for name in names:
        uses = [use for use in travel.graph[name] if use.op == "embedding"]
        for use in uses[:1]:
            size = kept_size(travel.graph, use) * use.fan_in
            kept += [size] if math.isfinite(size) else []
            planned += [] if math.isfinite(size) else [_planned(travel, name, uses)]
    sizes = kept or planned
    return sum(sizes) / len(sizes) if sizes else 1.0


def _planned(travel: Travel, name: str, uses: list[WeightUse]) -> float:
    head = next((use for use in travel.graph[name] if use.contracts and use.head), None)
    if head is not None:
        return tied(travel, head) or 1.0
    if name not in travel.tables:
        travel.tables[name] = 1.0  # what asks on the way is told that
        travel.tables[name] = start(travel, name, uses)[0] ** 2 * uses[0].fan_in
    return travel.tables[name]


def tied(travel: Travel, head: WeightUse) -> float:
    """Return the second moment of a table that is also the output layer; 1 where that asks for itself."""
    if head.name not in travel.asking:
        travel.asking.add(head.name)
        arriving = travel.arriving(head)[0]
        travel.asking.discard(head.name)
        return travel.wanted(head, head.sink)[0] / (arriving * head.fan_in) if arriving > 0 else 0.0
    return 1.0


def constant(travel: Travel, sink: Sink) -> float:
    """Return what a constant factor before a sink makes of a second moment, as Gemma's √d, or 1."""
    linear = sink.activation is not None and sink.activation.linear
    return travel.passed(sink.activation, 1.0) if sink.activation is not None and linear else 1.0


def start(travel: Travel, name: str, uses: list[WeightUse]) -> tuple[float, str]:
    """Return (std, why) of a table: unit, or that of a tied table beside it, by what its rows are used for.

    Args:
        travel: the traced network.
        name: the table.
        uses: where it is looked up.
    """
    own, fan_in = _factor(travel, uses), uses[0].fan_in
    meets = _meets(uses)
    for other, found in travel.graph.uses.items():
        head = next((use for use in found if use.contracts and use.head), None)
        looked = [use for use in found if use.op == "embedding"]
        kept = kept_size(travel.graph, looked[0]) if looked else math.nan
        if other == name or (head is None and not kept > 0) or not meets & _meets(looked):
            continue
        alone = math.sqrt(kept if kept > 0 or head is None else tied(travel, head))
        std = alone * _factor(travel, looked) / own
        return std, f"added to {other}, so of the same size (std {std * own:.3g}): neither drowns the other"
    scored = _scored(uses)
    if scored is not None:
        return scored, f"products of its rows are the output: std {scored:.3g} gives them unit size"
    std = 1 / (own * math.sqrt(fan_in))
    sums = "a lookup sums nothing"
    if not math.isclose(fan_in, 1.0, rel_tol=1e-6):
        sums = f"a lookup sums {fan_in:g} rows" if fan_in > 1 else f"a lookup averages {1 / fan_in:g} rows"
    if not math.isclose(own, 1.0, rel_tol=1e-6):
        return std, f"{sums} and is then multiplied by {own:.3g}: std {std:.3g} makes it 1"
    if sums != "a lookup sums nothing":
        return std, f"{sums}: std {std:.3g} makes it 1"
    return 1.0, "a lookup sums nothing (fan_in 1), so unit std starts the stream at second moment 1"


def _scored(uses: list[WeightUse]) -> float | None:
    """Return the std with which products of rows that are the output have unit size; None without such."""
    sizes = [size for use in uses for sink in use.sinks if (size := unit_scored(sink)) is not None]
    return float(f"{math.sqrt(sizes[0]):.3g}") if sizes else None


def unit_scored(sink: Sink) -> float | None:
    """Return the second moment of results that make an output of unit size together; None for others."""
    if sink.scored is None:
        return None
    once, twice = sink.scored(1.0), sink.scored(2.0)
    power = math.log2(twice / once) if once > 0 and twice > 0 else 0.0
    return once ** (-1 / power) if power >= _LEAST_POWER and math.isfinite(power) else None


def _factor(travel: Travel, uses: list[WeightUse]) -> float:
    """Return the constant that multiplies looked-up rows before anything reads them."""
    return math.sqrt(constant(travel, uses[0].sink)) or 1.0


def _meets(uses: list[WeightUse]) -> set[object]:
    """Return what reads the looked-up rows: tables that meet the same reader are added to each other."""
    return {
        (sink.kind, sink.norm or sink.weights)
        for use in uses
        for sink in use.sinks
        if sink.kind in ("norm", "weight")
    }
