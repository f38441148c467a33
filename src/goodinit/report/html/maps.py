"""Heat maps: single units by layer, attention heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from goodinit.records import AttentionSignal, LayerSignal, Report
from goodinit.report.html.axes import named_axis
from goodinit.report.html.depth import label
from goodinit.report.html.numbers import percent, rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View, thinned
from goodinit.report.words import count

__all__ = ["attention", "bar", "units"]

# More columns than this are narrower than a pixel or two.
_COLUMNS = 160
_DIVERGING = [[0, "$low"], [0.5, "$surface"], [1, "$high"]]
_SEQUENTIAL = [[0, "$high"], [0.35, "$mid"], [1, "$low"]]


def bar(title: str) -> dict[str, Any]:
    """Return a colour bar above the plot, where a telephone has room for it."""
    return {
        "title": {"text": title, "side": "top", "font": {"size": 11.5}},
        "orientation": "h",
        "thickness": 8,
        "y": 1.02,
        "yanchor": "bottom",
        "outlinewidth": 0,
        "ypad": 0,
    }


def units(report: Report) -> list[Figure]:
    """Return heat maps of single units' second moments, forward and backward."""
    named = {name for finding in report.findings for name in finding.where}
    found = []
    for key, title, rows in (
        ("units", "Units: second moment of outputs", [(x, x.unit_moments) for x in report.layers]),
        (
            "unit-gradients",
            "Units: second moment of gradients",
            [(x, x.unit_gradients) for x in report.layers],
        ),
    ):
        measured = [(layer, values) for layer, values in rows if len(values) > 1]
        if measured:
            found.append(_units(key, title, measured, named))
    return found


def _units(
    key: str, title: str, rows: Sequence[tuple[LayerSignal, tuple[float, ...]]], named: set[str]
) -> Figure:
    weighty = [row for row in rows if row[0].parametric or row[0].name in named]
    chosen = thinned(rows if len(rows) <= _COLUMNS or len(weighty) < 2 else weighty, _COLUMNS)
    most = max(len(values) for _, values in chosen)
    columns = [_relative(values, most) for _, values in chosen]
    sizes = sorted(abs(z) for column in columns for z in column if isinstance(z, float))
    # The 98th percentile: one extreme unit must not wash out the others.
    limit = max(0.5, sizes[int(0.98 * (len(sizes) - 1))] if sizes else 0.5)
    body = [[z if isinstance(z, float) else None for z in row] for row in zip(*columns, strict=True)]
    marks = [[1 if z == "zero" else None for z in row] for row in zip(*columns, strict=True)]
    broken = [[1 if z == "broken" else None for z in row] for row in zip(*columns, strict=True)]
    names = [f"{short_name(label(layer))} · {layer.kind}" for layer, _ in chosen]
    common: dict[str, Any] = {"type": "heatmap", "xgap": 0, "ygap": 0}
    traces: list[dict[str, Any]] = [
        {
            **common,
            "z": body,
            "columns": names,
            "zmin": rounded(-limit, 3),
            "zmax": rounded(limit, 3),
            "colorscale": _DIVERGING,
            "colorbar": bar("log₁₀ of the unit over the layer's mean"),
            "meta": "main",
            "hover": "log₁₀ of unit over mean: %{z}",
        }
    ]
    for z, colour, words in ((marks, "$ink", "exactly zero"), (broken, "$error", "NaN or infinite")):
        if any(cell is not None for row in z for cell in row):
            flat = [[0, colour], [1, colour]]
            traces.append(
                {**common, "z": z, "columns": names, "colorscale": flat, "showscale": False, "hover": words}
            )
    layout = {
        "xaxis": {"title": {"text": "layer, in order of execution"}, "showgrid": False, **_ticks(chosen)},
        "yaxis": {"title": {"text": "unit (evenly spaced)"}, "showgrid": False, "showticklabels": False},
    }
    silent = [layer for layer, values in rows if any(value == 0 for value in values)]
    even = [
        max(v for v in values if v > 0) / min(v for v in values if v > 0)
        for _, values in rows
        if any(v > 0 for v in values)
    ]
    summary = f"{count(len(rows), 'layer')}, up to {most} units each, relative to the layer's mean."
    if even:
        summary += f" Within a layer units differ by up to a factor of {scientific(max(even))}."
    if silent:
        has = "has" if len(silent) == 1 else "have"
        summary += f" {count(len(silent), 'layer')} {has} units that are exactly zero."
    left = len(rows) - len(chosen)
    note = f"{count(left, 'layer')} left out of the drawing; all are in the table." if left else ""
    return Figure(
        key, title, summary, (View("", tuple(traces), layout),), _unit_table(key, title, rows), note
    )


def _relative(values: Sequence[float], most: int) -> list[float | str | None]:
    """log₁₀ of each unit over the layer's mean, stretched to a common number of rows."""
    finite = [value for value in values if math.isfinite(value)]
    mean = sum(finite) / len(finite) if finite else 0.0
    cells: list[float | str | None] = []
    for row in range(most):
        value = values[row * len(values) // most]
        if not math.isfinite(value) or value < 0:
            cells.append("broken")
        elif value == 0 or not 0 < mean < math.inf:
            cells.append("zero")
        else:
            cells.append(round(math.log10(value) - math.log10(mean), 2))
    return cells


def _ticks(chosen: Sequence[tuple[LayerSignal, tuple[float, ...]]]) -> dict[str, Any]:
    places = thinned(range(len(chosen)), 8)
    return {"tickvals": places, "ticktext": [str(chosen[place][0].index) for place in places]}


def _unit_table(key: str, title: str, rows: Sequence[tuple[LayerSignal, tuple[float, ...]]]) -> Table:
    columns = (
        Column("#"),
        Column("layer", "name"),
        Column("units seen"),
        Column("smallest"),
        Column("mean"),
        Column("largest"),
        Column("exactly zero"),
        Column("NaN or ∞"),
    )
    lines = []
    for layer, values in rows:
        finite = [value for value in values if math.isfinite(value)]
        lines.append(
            (
                str(layer.index),
                label(layer),
                str(len(values)),
                scientific(min(finite, default=None)),
                scientific(sum(finite) / len(finite) if finite else None),
                scientific(max(finite, default=None)),
                str(sum(value == 0 for value in values)),
                str(len(values) - len(finite)),
            )
        )
    return Table(f"{key}-data", title, columns, tuple(lines))


def attention(report: Report) -> Figure | None:
    """Return the heat map of attention entropy by head, or None where there is no attention."""
    rows = report.attention
    if not rows:
        return None
    chosen = thinned(rows, _COLUMNS)
    heads = max(max((len(row.head_entropy) for row in chosen), default=0), 1)
    matrix = [
        [rounded(row.head_entropy[head], 3) if head < len(row.head_entropy) else None for row in chosen]
        for head in range(heads)
    ]
    if not any(row.head_entropy for row in chosen):
        matrix = [[rounded(row.entropy, 3) for row in chosen]]
    names = [short_name(row.name + (f" (call {row.call + 1})" if row.call else "")) for row in chosen]
    trace = {
        "type": "heatmap",
        "z": matrix,
        "columns": names,
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "colorscale": _SEQUENTIAL,
        "colorbar": bar("entropy: 0 one key, 1 all keys alike"),
        "hover": "head %{y}: entropy %{z}",
        "meta": "main",
    }
    layout = {
        "xaxis": {
            "showgrid": False,
            **named_axis(
                [row.name for row in chosen], range(len(chosen)), "attention, in order of execution"
            ),
            "range": [-0.5, len(chosen) - 0.5],
        },
        "yaxis": {"title": {"text": "head"}, "showgrid": False, "dtick": max(1, heads // 8)},
    }
    odd = [[1 if head is None else None for head in row] for row in _broken(chosen, heads)]
    traces = [trace]
    if any(cell is not None for row in odd for cell in row):
        flat = [[0, "$error"], [1, "$error"]]
        over = {"type": "heatmap", "z": odd, "columns": names, "colorscale": flat, "showscale": False}
        traces.append({**over, "xgap": 1, "ygap": 1, "hover": "NaN or infinite"})
    title = "Attention entropy by head"
    finite = [row.entropy for row in rows if math.isfinite(row.entropy)]
    summary = (
        f"{count(len(rows), 'attention layer')}; mean entropy {scientific(min(finite, default=math.nan))} to "
    )
    summary += f"{scientific(max(finite, default=math.nan))} of its maximum; at most "
    summary += f"{percent(max(row.peaked for row in rows))} of queries look at a single key."
    columns = (
        Column("attention", "name"),
        Column("heads"),
        Column("keys seen"),
        Column("entropy"),
        Column("lowest head"),
        Column("highest head"),
        Column("logit std"),
        Column("one key only"),
    )
    lines = tuple(
        (
            row.name + (f" (call {row.call + 1})" if row.call else ""),
            str(row.heads),
            scientific(row.keys),
            scientific(row.entropy),
            scientific(min(row.head_entropy, default=None)),
            scientific(max(row.head_entropy, default=None)),
            scientific(row.logit_std),
            percent(row.peaked),
        )
        for row in rows
    )
    left = len(rows) - len(chosen)
    note = f"{len(chosen)} of {len(rows)} drawn; all are in the table." if left else ""
    table = Table("attention-data", title, columns, lines)
    return Figure("attention", title, summary, (View("", tuple(traces), layout),), table, note, wide=True)


def _broken(rows: Sequence[AttentionSignal], heads: int) -> list[list[float | None]]:
    """For each head and attention: None where the entropy is not finite."""
    return [
        [
            0.0 if head >= len(row.head_entropy) or math.isfinite(row.head_entropy[head]) else None
            for row in rows
        ]
        for head in range(heads)
    ]
