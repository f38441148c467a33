"""What is left of the differences between samples, and which units take no part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from goodinit.records import LayerSignal, Report
from goodinit.report.html.axes import depth_axis
from goodinit.report.html.depth import label
from goodinit.report.html.numbers import percent, rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View

__all__ = ["shares", "underflow", "varying"]

_Share = Callable[[LayerSignal], float | None]
_Line = tuple[str, str, str, _Share]


def varying(layer: LayerSignal) -> float | None:
    """Return the share of the second moment that differs from sample to sample."""
    whole = layer.output.second_moment
    return layer.varying / whole if layer.varying is not None and whole > 0 else None


def underflow(layer: LayerSignal) -> float | None:
    """Return the share of the gradient that is zero or subnormal, where numbers are short.

    In float32 what is zero was stopped by a ReLU, not by the number format.
    """
    return layer.underflow if "16" in layer.dtype or "8" in layer.dtype else None


def _rank(layer: LayerSignal) -> float | None:
    return layer.rank / layer.rows if layer.rank is not None and layer.rows else None


def _dead(layer: LayerSignal) -> float | None:
    return layer.dead / layer.units if layer.dead is not None and layer.units else None


# Title in the legend, colour, dash (so that lines differ without colour), share.
_INFORMATION: tuple[_Line, ...] = (
    ("correlation between samples", "$high", "solid", lambda layer: layer.correlation),
    ("differs between samples", "$measured", "dash", varying),
    ("rank over rows", "$predicted", "dot", _rank),
)
_IDLE: tuple[_Line, ...] = (
    ("dead units", "$high", "solid", _dead),
    ("saturated", "$measured", "dash", lambda layer: layer.saturated),
    ("exact zeros", "$before", "dot", lambda layer: layer.zeros if layer.dead is not None else None),
    ("gradient zero or subnormal", "$predicted", "dashdot", underflow),
)


def shares(report: Report) -> list[Figure]:
    """Return the plots of information and of idle units against depth, where they were measured."""
    found = [
        _figure("information", "Information: can samples be told apart?", report.layers, _INFORMATION, True),
        _figure("idle", "Units that take no part", report.layers, _IDLE, False),
    ]
    return [figure for figure in found if figure is not None]


def _figure(
    key: str, title: str, layers: Sequence[LayerSignal], lines: Sequence[_Line], summarise_last: bool
) -> Figure | None:
    traces: list[dict[str, Any]] = []
    sentences = []
    known: list[tuple[str, _Share]] = []
    for name, colour, dash, share in lines:
        values = [(layer, value) for layer in layers if (value := share(layer)) is not None]
        if not values:
            continue
        known.append((name, share))
        many = len(values) > 80
        traces.append(
            {
                "x": [layer.index for layer, _ in values],
                "y": [rounded(value) for _, value in values],
                "mode": "lines" if many else "lines+markers",
                "line": {"color": colour, "width": 2, "dash": dash},
                "marker": {"size": 4, "color": colour},
                "name": name,
                "text": [
                    f"{short_name(label(layer))} · {layer.kind}\n{name}: {_shown(value)}"
                    for layer, value in values
                ],
                "meta": "main" if not traces else "",
            }
        )
        layer, value = values[-1] if summarise_last else max(values, key=lambda each: each[1])
        where = f"{_shown(value)} at {short_name(label(layer), 32)}"
        sentences.append(f"{name} {'nowhere' if value == 0 and not summarise_last else where}")
    if not traces:
        return None
    lead = "At the end: " if summarise_last else "At most: "
    columns = (Column("#"), Column("layer", "name"), Column("kind", "text"), *(Column(n) for n, _ in known))
    rows = tuple(
        (str(layer.index), label(layer), layer.kind, *(_shown(share(layer)) for _, share in known))
        for layer in layers
        if any(share(layer) is not None for _, share in known)
    )
    layout = {
        "xaxis": depth_axis([layer.index for layer in layers], [label(layer) for layer in layers]),
        "yaxis": {"range": [-0.04, 1.04], "tickformat": ".0%"},
    }
    table = Table(f"{key}-data", title, columns, rows)
    return Figure(key, title, f"{lead}{'; '.join(sentences)}.", (View("", tuple(traces), layout),), table)


def _shown(value: float | None) -> str:
    return scientific(value) if value is not None and 0 < abs(value) < 0.01 else percent(value)
