"""Second moments by time step of recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from goodinit.records import LayerSignal, Report
from goodinit.report.html.axes import log_axis
from goodinit.report.html.depth import label
from goodinit.report.html.numbers import rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View
from goodinit.report.words import count

__all__ = ["steps"]

# One colour a layer: more lines of three kinds cannot be told apart.
_COLOURS = ("$measured", "$high", "$predicted", "$before")


def steps(report: Report) -> Figure | None:
    """Return the second moments by time step of recurrent layers, or None where there are none."""
    measured = [layer for layer in report.layers if any(len(values) > 1 for values, _, _ in _curves(layer))]
    if not measured:
        return None
    drawn = measured[: len(_COLOURS)]
    sizes = [
        value
        for layer in drawn
        for values, _, _ in _curves(layer)
        for value in values
        if 0 < value < math.inf
    ]
    floor, ceiling = max(min(sizes, default=0.1) / 2, 1e-307), min(max(sizes, default=10.0) * 2, 1e308)
    traces: list[dict[str, Any]] = []
    for colour, layer in zip(_COLOURS, drawn, strict=False):
        for values, dash, word in _curves(layer):
            if len(values) > 1:
                traces += _traces(layer, values, colour, dash, word, (floor, ceiling))
    if traces:
        traces[0]["meta"] = "main"
    layout = {
        "xaxis": {"title": {"text": "time step (evenly spaced)"}, "rangemode": "nonnegative"},
        "yaxis": log_axis(floor, max(ceiling, 4 * floor)),
    }
    title = "Recurrence: second moment by time step"
    lines = [line for layer in measured for line in _lines(layer)]
    summary = " ".join(
        f"{one[0]}, {one[1]}: {one[3]} at the first step, {one[4]} at the last." for one in lines[:3]
    )
    left = len(measured) - len(drawn)
    note = f"{count(left, 'recurrent layer')} left out of the drawing; all are in the table." if left else ""
    columns = (
        Column("layer", "name"),
        Column("of", "text"),
        Column("steps seen"),
        Column("first"),
        Column("last"),
        Column("last over first"),
    )
    table = Table("steps-data", title, columns, tuple(lines))
    return Figure("steps", title, summary, (View("", tuple(traces), layout),), table, note, wide=True)


def _curves(layer: LayerSignal) -> tuple[tuple[Sequence[float], str, str], ...]:
    return (
        (layer.steps, "solid", "output"),
        (layer.predicted_steps, "longdash", "output, predicted"),
        (layer.step_gradients, "dash", "gradient"),
        (layer.memory, "dot", "dependence of the end"),
    )


def _traces(
    layer: LayerSignal,
    values: Sequence[float],
    colour: str,
    dash: str,
    word: str,
    ends: tuple[float, float],
) -> list[dict[str, Any]]:
    """The curve, and marks at the edges for zero, NaN and infinity, which a logarithm cannot show."""
    text = [
        f"{short_name(label(layer))}, {word}\nstep {step}: {scientific(value)}"
        for step, value in enumerate(values)
    ]
    curve = {
        "x": list(range(len(values))),
        "y": [rounded(value) if value > 0 else None for value in values],
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"size": 5, "color": colour},
        "name": f"{short_name(label(layer), 24)}, {word}",
        "text": text,
    }
    traces = [curve]
    floor, ceiling = ends
    for chosen, y, symbol in (
        ([at for at, value in enumerate(values) if not math.isfinite(value)], ceiling, "x"),
        ([at for at, value in enumerate(values) if value == 0], floor, "triangle-down"),
    ):
        if chosen:
            mark = {"color": "$error", "size": 9, "symbol": symbol}
            traces.append(
                {
                    "x": chosen,
                    "y": [rounded(y)] * len(chosen),
                    "mode": "markers",
                    "marker": mark,
                    "text": [text[at] for at in chosen],
                    "cliponaxis": False,
                }
            )
    return traces


def _lines(layer: LayerSignal) -> list[tuple[str, ...]]:
    return [
        (
            label(layer),
            word,
            str(len(values)),
            scientific(values[0]),
            scientific(values[-1]),
            scientific(values[-1] / values[0] if values[0] > 0 else math.nan),
        )
        for values, _, word in _curves(layer)
        if values
    ]
