"""A `Picture` of numbers as a figure of the page: lines with bands, grouped violins, a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from goodinit.records import Grid, Line, Picture, Violin
from goodinit.report.html.axes import log_axis
from goodinit.report.html.maps import bar
from goodinit.report.html.numbers import rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View, thinned
from goodinit.report.html.violins import outline, quantile

__all__ = ["SERIES", "picture"]

# Colours of the palette that lines take in turn, then again with another dash.
SERIES = 7
_DASHES = ("solid", "dash", "dot", "dashdot")
# As many points of a line are drawn with a mark; more run together.
_MARKED = 24
# Numbers below this are written out on an axis.
_PLAIN = 1e6
# Labels of a heat map's columns and rows that fit on a telephone, and the cells that still need gaps.
_COLUMNS, _ROWS, _GAPS = 12, 32, 24
_SEQUENTIAL = [[0, "$grid"], [1, "$measured"]]
_DIVERGING = [[0, "$low"], [0.5, "$grid"], [1, "$high"]]


def picture(made: Picture, prefix: str = "") -> Figure:
    """Return a picture as a figure; `prefix` tells apart pictures of one key on one page."""
    if made.grid is not None:
        return _grid(made, made.grid, prefix)
    return _violins(made, prefix) if made.violins else _lines(made, prefix)


def _lines(made: Picture, prefix: str) -> Figure:
    numbers = {label: at for at, label in enumerate(dict.fromkeys(_measured(line) for line in made.lines))}
    traces: list[dict[str, Any]] = []
    for line in made.lines:
        traces += _band(line, numbers[_measured(line)], made.log_y)
    for line in made.lines:
        traces.append(_curve(line, numbers[_measured(line)], made))
    layout = {
        "xaxis": _axis(made.x, made.log_x, _across(made)),
        "yaxis": _axis(made.y, made.log_y, _up(made)),
    }
    return Figure(
        prefix + made.key,
        made.title,
        made.summary,
        (View("", tuple(traces), layout),),
        _line_table(made, prefix),
        height=340,
    )


def _measured(line: Line) -> str:
    """Theory stands in the colour of what it predicts: "He: theory" beside "He"."""
    return line.label.removesuffix(": theory") if line.theory else line.label


def _band(line: Line, number: int, logarithmic: bool) -> list[dict[str, Any]]:
    if not line.low:
        return []
    edges = [
        (x, low, high)
        for x, low, high in zip(line.x, line.low, line.high, strict=True)
        if math.isfinite(low) and math.isfinite(high) and (low > 0 or not logarithmic)
    ]
    quiet = {"x": [x for x, _, _ in edges], "mode": "lines", "hoverinfo": "skip", "line": {"width": 0}}
    fill = {"fill": "tonexty", "fillcolor": f"$series-{number % SERIES}-band"}
    return [
        {**quiet, "y": [rounded(low) for _, low, _ in edges]},
        {**quiet, "y": [rounded(high) for _, _, high in edges], **fill},
    ]


def _curve(line: Line, number: int, made: Picture) -> dict[str, Any]:
    colour = f"$series-{number % SERIES}"
    dash = "dash" if line.theory else _DASHES[number // SERIES % len(_DASHES)]
    marked = not line.theory and len(line.x) <= _MARKED
    edges = zip(line.low, line.high, strict=True) if line.low else ((math.nan, math.nan) for _ in line.x)
    hover = [
        f"{short_name(line.label)}\n{made.x or 'x'} {scientific(x)}: {scientific(y)}"
        + (f" ({scientific(low)} to {scientific(high)})" if not math.isnan(low) else "")
        for (x, y), (low, high) in zip(zip(line.x, line.y, strict=True), edges, strict=True)
    ]
    return {
        "x": [rounded(x, 6) for x in line.x],
        "y": [rounded(y) if y > 0 or not made.log_y else None for y in line.y],
        "mode": "lines+markers" if marked else "lines",
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "size": 5},
        "name": line.label,
        "text": hover,
        "meta": "main",
    }


def _across(made: Picture) -> list[float]:
    return [x for line in made.lines for x in line.x]


def _up(made: Picture) -> list[float]:
    return [y for line in made.lines for y in (*line.y, *line.low, *line.high)]


def _axis(title: str, logarithmic: bool, values: Sequence[float]) -> dict[str, Any]:
    if not logarithmic:
        far = any(abs(value) >= _PLAIN for value in values if math.isfinite(value))
        digits = {"exponentformat": "power"} if far else {"exponentformat": "none", "separatethousands": True}
        return {"title": {"text": title}, **digits}
    drawable = [value for value in values if 0 < value < math.inf]
    low, high = min(drawable, default=0.1), max(drawable, default=10.0)
    margin = 10 ** max(0.05, 0.04 * math.log10(high / low))
    return log_axis(low / margin, high * margin, title)


def _line_table(made: Picture, prefix: str) -> Table:
    banded = any(line.low for line in made.lines)
    ends = (Column("low"), Column("high")) if banded else ()
    columns = (Column("line", "name"), Column(made.x or "x"), Column(made.y or "y"), *ends)
    rows = []
    for line in made.lines:
        for at, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            band = (line.low[at], line.high[at]) if line.low else (None, None)
            rows.append(
                (line.label, scientific(x), scientific(y), *(map(scientific, band) if banded else ()))
            )
    return Table(f"{prefix}{made.key}-data", made.title, columns, tuple(rows))


def _violins(made: Picture, prefix: str) -> Figure:
    groups = list(dict.fromkeys(each.group for each in made.violins))
    labels = list(dict.fromkeys(each.label for each in made.violins))
    width = 1 / len(groups)
    traces: list[dict[str, Any]] = []
    for number, group in enumerate(groups):
        x: list[float | None] = []
        y: list[float | None] = []
        dots: list[tuple[float, Violin]] = []
        for each in (violin for violin in made.violins if violin.group == group):
            centre = labels.index(each.label) + (number - (len(groups) - 1) / 2) * width
            across, along = outline(each.histogram)
            x += [*(rounded(centre + width * value, 5) for value in across), None]
            y += [*(rounded(value) for value in along), None]
            dots.append((centre, each))
        body = {"color": f"$series-{number % SERIES}", "width": 1}
        fill = {"fill": "toself", "fillcolor": f"$series-{number % SERIES}-band", "hoverinfo": "skip"}
        traces.append({"x": x, "y": y, "mode": "lines", "line": body, **fill})
        marks = {
            "x": [rounded(centre, 5) for centre, _ in dots],
            "y": [rounded(quantile(each.histogram, 0.5)) for _, each in dots],
            "mode": "markers",
            "marker": {"color": f"$series-{number % SERIES}", "size": 6},
            "text": [_hover(each) for _, each in dots],
            "meta": "main",
        }
        traces.append({**marks, "name": group} if group else marks)
    ticks = {"tickvals": list(range(len(labels))), "ticktext": [short_name(label) for label in labels]}
    across_axis = {"range": [-0.7, len(labels) - 0.3], "title": {"text": made.x}, **ticks}
    up = {"title": {"text": made.y}, "exponentformat": "power", "zeroline": True}
    view = View("", tuple(traces), {"xaxis": across_axis, "yaxis": up})
    columns = (
        Column("tensor", "name"), Column("of", "text"), Column("mean"), Column("std"), Column("lowest"),
        Column("median"), Column("highest"),
    )  # fmt: skip
    rows = tuple(
        (
            each.label,
            each.group,
            scientific(each.moments.mean),
            scientific(each.moments.std),
            scientific(each.histogram.low),
            scientific(quantile(each.histogram, 0.5)),
            scientific(each.histogram.high),
        )
        for each in made.violins
    )
    table = Table(f"{prefix}{made.key}-data", made.title, columns, rows)
    return Figure(prefix + made.key, made.title, made.summary, (view,), table, height=340)


def _hover(each: Violin) -> str:
    return (
        f"{short_name(each.label)}{f', {each.group}' if each.group else ''}\n"
        f"mean {scientific(each.moments.mean)}, std {scientific(each.moments.std)}\n"
        f"{scientific(each.histogram.low)} to {scientific(each.histogram.high)}"
    )


def _grid(made: Picture, grid: Grid, prefix: str) -> Figure:
    colours: dict[str, Any] = {"colorscale": _SEQUENTIAL}
    different = {v for row in grid.values for v in row if math.isfinite(v)}
    if len(different) == 1 and different != {0.0}:
        # One value alone has no scale of its own; a share of 1 is then as dark as it can be.
        ends = sorted((0.0, *different))
        colours |= {"zmin": rounded(ends[0]), "zmax": rounded(ends[1])}
    if grid.middle is not None:
        away = [abs(v - grid.middle) for row in grid.values for v in row if math.isfinite(v)]
        most = max(away, default=0.0) or 1.0
        around = {"zmin": rounded(grid.middle - most), "zmax": rounded(grid.middle + most)}
        colours = {"colorscale": _DIVERGING, **around}
    trace = {
        "type": "heatmap",
        "z": [[rounded(value) for value in row] for row in grid.values],
        "columns": [f"{made.x} {column}" for column in grid.columns],
        **colours,
        "colorbar": bar(grid.unit),
        "xgap": int(len(grid.columns) <= _GAPS),
        "ygap": int(len(grid.rows) <= _GAPS),
        "meta": "main",
        "hover": f"{grid.unit}: %{{z}}",
    }
    layout = {
        # Beside a colour bar plotly measures the distance from the axis, not from its labels.
        "xaxis": {
            **_labels(grid.columns, _COLUMNS, 18),
            "title": {"text": made.x, "standoff": 22},
            "showgrid": False,
        },
        "yaxis": {**_labels(grid.rows, _ROWS, 30), "title": {"text": made.y}, "showgrid": False},
        "margin": {"l": 52, "r": 14, "t": 56, "b": 44},
    }
    columns = (Column(made.y or "row", "text"), *(Column(column) for column in grid.columns))
    rows = tuple(
        (name, *(scientific(value) for value in row))
        for name, row in zip(grid.rows, grid.values, strict=True)
    )
    table = Table(f"{prefix}{made.key}-data", made.title, columns, rows)
    height = max(300, 120 + 26 * len(grid.rows))
    view = View("", (trace,), layout)
    return Figure(prefix + made.key, made.title, made.summary, (view,), table, height=height)


def _labels(names: Sequence[str], most: int, letters: int) -> dict[str, Any]:
    shown = thinned(range(len(names)), most)
    return {"tickvals": shown, "ticktext": [short_name(names[at], letters) for at in shown]}
