"""Distributions layer by layer, as violins drawn from histograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from goodinit.records import Histogram, Moments, Report
from goodinit.report.html.axes import named_axis
from goodinit.report.html.depth import label
from goodinit.report.html.numbers import percent, rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View, thinned
from goodinit.report.words import count

__all__ = ["outline", "quantile", "violins"]

# Wider rows of violins cannot be told apart on a screen.
_VIOLINS = 24
# Points on one side of a violin; finer than a screen shows.
_BINS = 32
# A common scale hides violins whose spread differs by more than this factor.
_COMPARABLE = 30.0
# Share of the values beyond each end of the picture, where cutting there makes the rest this much larger.
_TAIL, _WORTH = 0.002, 1.5


@dataclass(frozen=True)
class _Shape:
    place: int
    name: str
    histogram: Histogram
    moments: Moments
    zeros: float | None

    @property
    def rms(self) -> float:
        value = math.sqrt(self.moments.second_moment) if self.moments.second_moment > 0 else 0.0
        return value if math.isfinite(value) else 0.0


def violins(report: Report) -> list[Figure]:
    """Return the figures of weights, their gradients, layer outputs and the gradients there."""
    weights = [each for each in report.parameters if len(each.shape) > 1] or list(report.parameters)
    seen = [each for each in report.layers if each.histogram or each.gradient_histogram]
    weighty = [each for each in seen if each.parametric]
    layers = weighty if len(weighty) > 1 and len(seen) > _VIOLINS else seen
    sets: list[tuple[str, str, list[_Shape]]] = [
        (
            "weights",
            "Weights",
            [
                _Shape(place, each.name, each.histogram, each.value, each.zeros)
                for place, each in enumerate(weights)
                if each.histogram
            ],
        ),
        (
            "weight-gradients",
            "Gradients of weights",
            [
                _Shape(place, each.name, each.gradient_histogram, each.gradient, each.underflow)
                for place, each in enumerate(weights)
                if each.gradient_histogram and each.gradient
            ],
        ),
        (
            "outputs",
            "Layer outputs",
            [
                _Shape(each.index, label(each), each.histogram, each.output, each.zeros)
                for each in layers
                if each.histogram
            ],
        ),
        (
            "output-gradients",
            "Gradients at layer outputs",
            [
                _Shape(each.index, label(each), each.gradient_histogram, each.gradient, each.underflow)
                for each in layers
                if each.gradient_histogram and each.gradient
            ],
        ),
    ]
    named = {name for finding in report.findings for name in finding.where}
    return [_figure(key, title, shapes, named) for key, title, shapes in sets if shapes]


def _figure(key: str, title: str, shapes: Sequence[_Shape], named: set[str]) -> Figure:
    shown = thinned(shapes, _VIOLINS)
    order = "layer, in order of execution" if "output" in key else "parameter, in order of definition"
    left = len(shapes) - len(shown)
    sizes = [shape.rms for shape in shapes if shape.rms > 0]
    spread = max(sizes) / min(sizes) if sizes else 1.0
    views = [_view("actual values", order, shown, named, lambda _: 1.0)]
    relative = _view("each over its rms", order, shown, named, lambda shape: shape.rms or 1.0)
    views = [relative, *views] if spread > _COMPARABLE else [*views, relative]
    low, high = scientific(min(sizes, default=0.0)), scientific(max(sizes, default=0.0))
    size = f"is {low} throughout" if low == high else f"runs from {low} to {high}"
    summary = f"{count(len(shapes), 'distribution')}; the root mean square {size}."
    if spread > _COMPARABLE:
        summary += " Sizes differ so much that each is drawn over its own rms."
    note = f"{len(shown)} of {len(shapes)} drawn, evenly spaced; all are in the table." if left else ""
    if any("range" in view.layout["yaxis"] for view in views):
        note += f"{' ' if note else ''}The thinnest tails run out of the picture; the table has the extremes."
    return Figure(f"violin-{key}", title, summary, tuple(views), _table(key, title, shapes), note)


def _view(
    title: str, order: str, shapes: Sequence[_Shape], named: set[str], unit: Callable[[_Shape], float]
) -> View:
    bodies: dict[bool, tuple[list[float | None], list[float | None]]] = {False: ([], []), True: ([], [])}
    boxes: tuple[list[float | None], list[float | None]] = ([], [])
    medians: list[float | None] = []
    for place, shape in enumerate(shapes):
        scale = unit(shape)
        x, y = bodies[_is_named(shape.name, named)]
        across, along = outline(shape.histogram)
        x += [*(rounded(place + value, 5) for value in across), None]
        y += [*(rounded(value / scale) for value in along), None]
        low, middle, high = (quantile(shape.histogram, share) for share in (0.25, 0.5, 0.75))
        boxes[0].extend([place, place, None])
        boxes[1].extend([rounded(low / scale), rounded(high / scale), None])
        medians.append(rounded(middle / scale))
    traces: list[dict[str, Any]] = [
        {
            "x": x,
            "y": y,
            "mode": "lines",
            "fill": "toself",
            "fillcolor": "$error-fill" if marked else "$violin",
            "line": {"color": "$error" if marked else "$measured", "width": 1},
            "hoverinfo": "skip",
        }
        for marked, (x, y) in bodies.items()
        if x
    ]
    traces.append(
        {
            "x": boxes[0],
            "y": boxes[1],
            "mode": "lines",
            "line": {"color": "$ink", "width": 2},
            "hoverinfo": "skip",
        }
    )
    traces.append(
        {
            "x": list(range(len(shapes))),
            "y": medians,
            "mode": "markers",
            "marker": {"color": "$surface", "size": 5, "line": {"color": "$ink", "width": 1.5}},
            "text": [_hover(shape) for shape in shapes],
            "meta": "main",
        }
    )
    axis = named_axis([shape.name for shape in shapes], [shape.place for shape in shapes], order)
    values = {"exponentformat": "power", "zeroline": True, **_cut(shapes, unit)}
    return View(title, tuple(traces), {"xaxis": axis, "yaxis": values})


def _cut(shapes: Sequence[_Shape], unit: Callable[[_Shape], float]) -> dict[str, Any]:
    """A range without the outermost thousandths, where single values would flatten all the rest."""
    ends = [
        (shape.histogram.low / scale, low / scale, high / scale, shape.histogram.high / scale)
        for shape in shapes
        if shape.histogram.sampled
        for scale, low, high in [
            (unit(shape), quantile(shape.histogram, _TAIL), quantile(shape.histogram, 1 - _TAIL))
        ]
    ]
    if not ends:
        return {}
    bottom, top = min(each[1] for each in ends), max(each[2] for each in ends)
    lowest, highest = min(each[0] for each in ends), max(each[3] for each in ends)
    # NaN and infinite ends fail both comparisons and leave the range to the plot.
    if not top - bottom > 0 or not highest - lowest > _WORTH * (top - bottom):
        return {}
    margin = 0.06 * (top - bottom)
    cut = [rounded(bottom - margin), rounded(top + margin)]
    return {} if None in cut else {"range": cut}


def _is_named(name: str, named: set[str]) -> bool:
    return name in named or name.rpartition(".")[0] in named


def outline(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Return the closed line around a violin: half-widths to the left going up, to the right coming down."""
    counts, low, high = _trimmed(histogram)
    top = max(counts, default=0)
    if not top:
        return [], []
    step = (high - low) / len(counts)
    if not step > 0:  # one value only: a flat stroke
        return [-0.4, 0.4], [low, low]
    width = [0.42 * each / top for each in counts]
    middle = [low + (index + 0.5) * step for index in range(len(counts))]
    across = [0.0, *(-w for w in width), 0.0, *reversed(width), 0.0]
    along = [low, *middle, high, *reversed(middle), low]
    return across, along


def _trimmed(histogram: Histogram) -> tuple[list[int], float, float]:
    """Counts without empty ends and in few bins, with the interval that they cover."""
    counts = list(histogram.counts)
    if not any(counts) or not math.isfinite(histogram.high - histogram.low):
        return [], histogram.low, histogram.high
    step = (histogram.high - histogram.low) / len(counts)
    first = next(index for index, each in enumerate(counts) if each)
    last = next(index for index in reversed(range(len(counts))) if counts[index])
    low, high = histogram.low + first * step, histogram.low + (last + 1) * step
    counts = counts[first : last + 1]
    joined = math.ceil(len(counts) / _BINS)
    if joined > 1:
        counts += [0] * (-len(counts) % joined)
        high = low + len(counts) * step
        counts = [sum(counts[start : start + joined]) for start in range(0, len(counts), joined)]
    return counts, low, high


def quantile(histogram: Histogram, share: float) -> float:
    """Return the value below which a share of a histogram lies, linear within a bin."""
    total = histogram.sampled
    if not total or not histogram.high > histogram.low:
        return histogram.low
    step = (histogram.high - histogram.low) / len(histogram.counts)
    below = 0
    for index, each in enumerate(histogram.counts):
        if each and below + each >= share * total:
            return histogram.low + (index + (share * total - below) / each) * step
        below += each
    return histogram.high


def _hover(shape: _Shape) -> str:
    moments = shape.moments
    lines = [
        short_name(shape.name),
        f"mean {scientific(moments.mean)}, std {scientific(moments.std)}",
        f"{scientific(shape.histogram.low)} to {scientific(shape.histogram.high)}, {moments.count:,} values",
    ]
    if moments.nonfinite:
        lines.append(f"{moments.nonfinite:,} NaN or infinite, not drawn")
    return "\n".join(lines)


def _table(key: str, title: str, shapes: Sequence[_Shape]) -> Table:
    gradients = key.endswith("gradients")
    columns = (
        Column("name", "name"),
        Column("mean"),
        Column("std"),
        Column("lowest"),
        Column("median"),
        Column("highest"),
        Column("zero or subnormal" if gradients else "zeros"),
        Column("NaN or ∞"),
    )
    rows = tuple(
        (
            shape.name,
            scientific(shape.moments.mean),
            scientific(shape.moments.std),
            scientific(shape.histogram.low),
            scientific(quantile(shape.histogram, 0.5)),
            scientific(shape.histogram.high),
            percent(shape.zeros),
            f"{shape.moments.nonfinite:,}",
        )
        for shape in shapes
    )
    return Table(f"violin-{key}-data", title, columns, rows)
