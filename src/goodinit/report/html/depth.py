"""Second moments against depth: measured, predicted with a band, and before a change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from goodinit.records import LayerSignal, Moments, Prediction, Report
from goodinit.report.html.axes import depth_axis, log_axis
from goodinit.report.html.numbers import interval, rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View
from goodinit.report.words import count

__all__ = ["backward", "forward", "label"]

# Beyond this many layers, points that belong to no weight and no finding are left out.
_POINTS = 1000


@dataclass(frozen=True)
class _Point:
    """One layer's second moment in one direction."""

    layer: LayerSignal
    moments: Moments | None
    predicted: Prediction | None

    @property
    def value(self) -> float | None:
        return None if self.moments is None else self.moments.second_moment

    @property
    def broken(self) -> bool:
        return self.moments is not None and (
            self.moments.nonfinite > 0 or not math.isfinite(self.moments.second_moment)
        )

    @property
    def drawable(self) -> bool:
        return not self.broken and self.value is not None and self.value > 0


def forward(report: Report, before: Report | None = None) -> Figure | None:
    """Return the plot of the second moment E[x²] of layer outputs, or None where there is none."""
    points = [_Point(layer, layer.output, layer.predicted) for layer in report.layers]
    earlier = {} if before is None else {_key(layer): layer.output for layer in before.layers}
    return _figure("forward", "Forward: second moment of outputs", points, earlier, _findings(report))


def backward(report: Report, before: Report | None = None) -> Figure | None:
    """Return the plot of the second moment of gradients at layer outputs, or None where there is none.

    Predictions of gradients are relative to the last layer that has one; they are drawn
    on the scale that was measured there.
    """
    scale = 1.0
    for layer in reversed(report.layers):
        if layer.predicted_gradient is not None and layer.gradient is not None:
            measured, expected = layer.gradient.second_moment, layer.predicted_gradient.value
            if measured > 0 and expected > 0 and math.isfinite(measured / expected):
                scale = measured / expected
                break
    points = [
        _Point(layer, layer.gradient, _scaled(layer.predicted_gradient, scale)) for layer in report.layers
    ]
    earlier = {}
    if before is not None:
        earlier = {_key(each): each.gradient for each in before.layers if each.gradient is not None}
    title = "Backward: second moment of gradients"
    return _figure("backward", title, points, earlier, _findings(report))


def label(layer: LayerSignal) -> str:
    """Return a layer's name, with its call where it ran before."""
    return (layer.name or "(model)") + (f" (call {layer.call + 1})" if layer.call else "")


def _key(layer: LayerSignal) -> tuple[str, int]:
    return layer.name, layer.call


def _findings(report: Report) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in report.findings:
        for name in finding.where:
            found.setdefault(name, []).append(finding.code)
    return found


def _scaled(prediction: Prediction | None, scale: float) -> Prediction | None:
    if prediction is None:
        return None
    return Prediction(prediction.value * scale, prediction.low * scale, prediction.high * scale)


def _figure(
    key: str,
    title: str,
    points: Sequence[_Point],
    earlier: dict[tuple[str, int], Any],
    found: dict[str, list[str]],
) -> Figure | None:
    measured = [point for point in points if point.moments is not None]
    if not measured:
        return None
    shown = measured
    if len(measured) > _POINTS:
        shown = [each for each in measured if each.layer.parametric or each.layer.name in found]
        shown = shown if 1 < len(shown) <= _POINTS else measured[:: math.ceil(len(measured) / _POINTS)]
    floor, ceiling = _range(shown, earlier)
    traces = [
        *_band(shown, floor, ceiling),
        *_earlier(shown, earlier),
        *_measured(shown, found),
        *_off_scale(shown, floor, ceiling),
    ]
    layout = {
        "xaxis": depth_axis(
            [point.layer.index for point in points], [label(point.layer) for point in points]
        ),
        "yaxis": log_axis(floor, ceiling),
    }
    left = len(measured) - len(shown)
    note = f"{count(left, 'layer')} left out of the drawing; all are in the table." if left else ""
    return Figure(
        key, title, _summary(measured), (View("", tuple(traces), layout),), _table(key, title, points), note
    )


def _range(points: Sequence[_Point], earlier: dict[tuple[str, int], Any]) -> tuple[float, float]:
    """Room for what was measured; a band or an earlier report that is far away is cut."""
    values = [float(point.value or 0) for point in points if point.drawable]
    values += [
        moments.second_moment
        for point in points
        if (moments := earlier.get(_key(point.layer))) is not None
        and moments.second_moment > 0
        and math.isfinite(moments.second_moment)
    ]
    if not values:
        return 0.1, 10.0
    low, high = math.log10(min(values)), math.log10(max(values))
    for point in points:
        if point.predicted is not None:
            # Decades of empty band would flatten the curve that was measured.
            if point.predicted.low > 0:
                low = min(low, max(math.log10(point.predicted.low), low - 6))
            if 0 < point.predicted.high < math.inf:
                high = max(high, min(math.log10(point.predicted.high), high + 6))
    margin = max(0.25, 0.06 * (high - low))
    return 10 ** max(low - margin, -307.0), 10 ** min(high + margin, 308.0)


def _band(points: Sequence[_Point], floor: float, ceiling: float) -> list[dict[str, Any]]:
    told = _main([each for each in points if each.predicted and each.predicted.value > 0])
    known = [(each.layer.index, each.predicted) for each in told if each.predicted]
    if not known:
        return []
    x = [index for index, _ in known]

    def edge(values: Sequence[float]) -> list[float | None]:
        return [rounded(min(max(value, floor * 1e-3), ceiling * 1e3)) for value in values]

    quiet = {"x": x, "mode": "lines", "hoverinfo": "skip"}
    low = {**quiet, "y": edge([each.low for _, each in known]), "line": {"width": 0}}
    high = {
        **quiet,
        "y": edge([each.high for _, each in known]),
        "line": {"width": 0},
        "fill": "tonexty",
        "fillcolor": "$band",
        "name": "explained by width, batch and depth",
    }
    middle = {
        **quiet,
        "y": [rounded(each.value) for _, each in known],
        "line": {"color": "$predicted", "width": 1.5, "dash": "dot"},
        "name": "predicted",
    }
    return [low, high, middle]


def _earlier(points: Sequence[_Point], earlier: dict[tuple[str, int], Any]) -> list[dict[str, Any]]:
    known = _main([point for point in points if earlier.get(_key(point.layer)) is not None])
    both = [(point, earlier[_key(point.layer)]) for point in known]
    if not both:
        return []
    return [
        {
            "x": [point.layer.index for point, _ in both],
            "y": [rounded(moments.second_moment) or None for _, moments in both],
            "mode": "lines",
            "line": {"color": "$before", "width": 2, "dash": "dash"},
            "name": "before",
            "text": [
                f"{short_name(label(point.layer))}\nbefore: {scientific(moments.second_moment)}"
                for point, moments in both
            ],
        }
    ]


def _measured(points: Sequence[_Point], found: dict[str, list[str]]) -> list[dict[str, Any]]:
    drawable = [point for point in points if point.drawable]
    main = _main(drawable)
    stream = [point for point in drawable if point.layer.kind == "add"]
    stream = stream if len(stream) > 1 else []
    # By identity: two layers may well be equal records.
    mine = {id(point) for point in (*main, *stream)}
    others = [point for point in drawable if id(point) not in mine]
    named = [point for point in drawable if point.layer.name in found]
    small = len(main) > 80
    traces = [
        {
            **_dots(others, found),
            "marker": {"color": "$other", "size": 4},
            "name": "other layers",
        },
        {
            **_dots(stream, found),
            "mode": "lines+markers",
            "line": {"color": "$fine", "width": 2, "dash": "dashdot"},
            "marker": {"color": "$fine", "size": 4, "symbol": "square"},
            "name": "residual sums",
        },
        {
            **_dots(main, found),
            "mode": "lines+markers",
            "line": {"color": "$measured", "width": 2},
            "marker": {"color": "$measured", "size": 4 if small else 6},
            "name": "measured" if not others else "measured, layers with weights",
            "meta": "main",
        },
        {
            **_dots(named, found),
            "marker": {
                "color": "$error",
                "size": 9,
                "symbol": "diamond-open",
                "line": {"width": 2, "color": "$error"},
            },
            "name": "named in a finding",
        },
    ]
    return [trace for trace in traces if trace["x"]]


def _main(points: Sequence[_Point]) -> list[_Point]:
    """Return the layers that make one line: those with weights, where there are several.

    A norm or an embedding sets a scale of its own: in one line with the weights it would hide their course.
    """
    weighty = [point for point in points if point.layer.parametric and not _sets_scale(point.layer)]
    return weighty if len(weighty) > 1 else list(points)


def _sets_scale(layer: LayerSignal) -> bool:
    kind = layer.kind.lower()
    return "norm" in kind or "embedding" in kind


def _off_scale(points: Sequence[_Point], floor: float, ceiling: float) -> list[dict[str, Any]]:
    """What a logarithm cannot show: NaN and infinity at the top edge, zero at the bottom."""
    broken = [point for point in points if point.broken]
    silent = [point for point in points if not point.broken and point.value == 0]
    traces = []
    for chosen, y, symbol, name in (
        (broken, ceiling, "x", "NaN or infinity"),
        (silent, floor, "triangle-down", "exactly zero"),
    ):
        if chosen:
            traces.append(
                {
                    **_dots(chosen, {}),
                    "y": [rounded(y)] * len(chosen),
                    "marker": {"color": "$error", "size": 10, "symbol": symbol},
                    "cliponaxis": False,
                    "name": name,
                }
            )
    return traces


def _dots(points: Sequence[_Point], found: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "x": [point.layer.index for point in points],
        "y": [rounded(point.value) for point in points],
        "text": [_hover(point, found.get(point.layer.name, [])) for point in points],
        "mode": "markers",
    }


def _hover(point: _Point, codes: Sequence[str]) -> str:
    assert point.moments is not None
    lines = [f"{short_name(label(point.layer))} · {point.layer.kind}", f"E[x²] {_shown(point)}"]
    if point.predicted is not None:
        band = interval((point.predicted.low, point.predicted.high))
        lines.append(f"predicted {scientific(point.predicted.value)} ({band})")
    if codes:
        lines.append(", ".join(dict.fromkeys(codes)))
    return "\n".join(lines)


def _shown(point: _Point) -> str:
    if point.moments is None:
        return "–"
    bad = point.moments.nonfinite
    if bad:
        rest = point.moments.count - bad
        more = f"; the other {rest:,}: {scientific(point.value)}" if rest > 0 else ""
        return f"{bad:,} NaN or infinite of {point.moments.count:,}{more}"
    return scientific(point.value)


def _summary(points: Sequence[_Point]) -> str:
    good = [point for point in points if not point.broken and point.value is not None]
    broken = [point for point in points if point.broken]
    parts = []
    if good:
        first, last = good[0], good[-1]
        main = [point for point in good if point.layer.parametric]
        first, last = (main[0], main[-1]) if len(main) > 1 else (first, last)
        parts.append(
            f"From {scientific(first.value)} at {short_name(label(first.layer))} "
            f"to {scientific(last.value)} at {short_name(label(last.layer))}."
        )
    known = [point for point in good if point.predicted is not None]
    if known:
        outside = sum(not _inside(point) for point in known)
        parts.append(
            f"{'All' if not outside else f'{len(known) - outside:,} of'} {count(len(known), 'prediction')} "
            f"{'hold' if not outside else 'hold; the others miss their band'}."
        )
    if broken:
        word = "layer holds" if len(broken) == 1 else "layers hold"
        where = short_name(label(broken[0].layer))
        parts.append(f"{len(broken):,} {word} NaN or infinity, the first is {where}.")
    return " ".join(parts)


def _inside(point: _Point) -> bool:
    assert point.predicted is not None
    return point.value is not None and point.predicted.low <= point.value <= point.predicted.high


def _table(key: str, title: str, points: Sequence[_Point]) -> Table:
    measured: Callable[[_Point], str] = _shown
    predicted = any(point.predicted is not None for point in points)
    columns = [Column("#"), Column("layer", "name"), Column("kind", "text"), Column("E[x²]")]
    columns += [Column("predicted"), Column("band")] if predicted else []
    rows = []
    for point in points:
        row = [str(point.layer.index), label(point.layer), point.layer.kind, measured(point)]
        if predicted:
            band = None if point.predicted is None else (point.predicted.low, point.predicted.high)
            value = None if point.predicted is None else point.predicted.value
            row += [scientific(value), interval(band) or "–"]
        rows.append(tuple(row))
    return Table(f"{key}-data", title, tuple(columns), tuple(rows))
