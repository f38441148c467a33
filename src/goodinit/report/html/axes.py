"""Axes: powers of ten written as on the rest of the page, and names told apart by what differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from goodinit.report.html.numbers import rounded, scientific, short_name
from goodinit.report.html.pieces import thinned

__all__ = ["depth_axis", "log_axis", "named_axis"]

# As many labels as fit beside a plot on a telephone.
_TICKS = 7
# Names fit under an axis up to here; beyond, it counts.
_NAMED = 12
_LABEL = 14
# What a power of ten reaches in double precision.
_SMALLEST, _LARGEST = 1e-307, 1e307


def log_axis(low: float, high: float, title: str = "") -> dict[str, Any]:
    """Return a logarithmic axis from `low` to `high`, both positive; at least half a decade long.

    >>> log_axis(0.5, 2e3)["ticktext"]
    ['1', '10', '100', '1,000']
    """
    first = min(math.log10(max(low, _SMALLEST)), math.log10(_LARGEST) - 0.5)
    last = max(math.log10(min(high, _LARGEST)), first + 0.5)
    low, high = 10**first, 10**last
    decades = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
    if len(decades) > 1:
        step = math.ceil(len(decades) / _TICKS)
        ticks = [10.0**power for power in decades if power % step == 0]
    else:
        grid = [
            d * 10.0**power
            for power in range(math.floor(first), math.ceil(last) + 1)
            for d in (1, 2, 3, 5, 7)
        ]
        ticks = thinned([value for value in grid if low <= value <= high], _TICKS)
    made: dict[str, Any] = {
        "type": "log",
        "range": [rounded(first, 6), rounded(last, 6)],
        "tickvals": ticks,
        "ticktext": [scientific(value) for value in ticks],
    }
    return {**made, "title": {"text": title}} if title else made


def depth_axis(indices: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Return the axis of layers, with room for the marks at its ends; by name where they are few.

    >>> depth_axis([0, 1], ["conv", "head"])["ticktext"]
    ['conv', 'head']
    """
    low, high = min(indices, default=0), max(indices, default=1)
    room = max(0.4, 0.02 * (high - low))
    ends = {"range": [low - room, high + room]}
    if len(names) <= _NAMED:
        return {**named_axis(names, indices, ""), "tickvals": list(indices), **ends}
    return {"title": {"text": "layer, in order of execution"}, **ends}


def named_axis(names: Sequence[str], places: Sequence[int], title: str) -> dict[str, Any]:
    """Return the axis of a row of things: by name where few, by place where many.

    Args:
        names: one a column.
        places: what to write under a column where names do not fit.
        title: what the places are.

    >>> axis = named_axis(["net.0.w", "net.1.w"], [0, 1], "layer")
    >>> axis["ticktext"], axis["title"]["text"]
    (['0', '1'], 'net.*.w')
    """
    made: dict[str, Any] = {"range": [-0.7, len(names) - 0.3]}
    if len(names) > _NAMED:
        shown = thinned(range(len(names)), 8)
        return {
            **made,
            "title": {"text": title},
            "tickvals": shown,
            "ticktext": [str(places[at]) for at in shown],
        }
    labels, pattern = _told_apart(names)
    slanted = {"tickangle": -35} if max(map(len, labels), default=0) > 4 else {}
    titled = {"title": {"text": short_name(pattern)}} if pattern else {}
    return {**made, **slanted, **titled, "tickvals": list(range(len(names))), "ticktext": labels}


def _told_apart(names: Sequence[str]) -> tuple[list[str], str]:
    """What differs between dotted names, and the pattern that they share."""
    parts = [name.split(".") for name in names]
    shortest = min(map(len, parts), default=0)
    if len(parts) < 2:
        return [short_name(name, _LABEL) for name in names], ""
    start = 0
    while start < shortest - 1 and len({part[start] for part in parts}) == 1:
        start += 1
    end = 0
    while end < shortest - start - 1 and len({part[-1 - end] for part in parts}) == 1:
        end += 1
    labels = [short_name(".".join(part[start : len(part) - end]), _LABEL) for part in parts]
    if not start and not end:
        return labels, ""
    return labels, ".".join([*parts[0][:start], "*", *(parts[0][-end:] if end else [])])
