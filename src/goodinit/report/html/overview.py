"""The few numbers that a reader wants first, and how they changed."""

from __future__ import annotations

import math
from collections.abc import Callable

from goodinit.records import LayerSignal, Report
from goodinit.report.html.numbers import percent, scientific
from goodinit.report.html.pieces import Column, Table, Tile
from goodinit.report.html.shares import varying
from goodinit.report.words import collapsed, count

__all__ = ["changes", "tiles"]


def tiles(report: Report) -> tuple[Tile, ...]:
    """Return the overview: signal and gradient over the depth, what is left of the input, size."""
    weighty = _weighty(report)
    found = []
    if report.loss is not None:
        found.append(Tile("Loss at the start", scientific(report.loss)))
    if len(weighty) > 1:
        found.append(Tile("Signal", _times(_signal(report)), "E[x²], last layer over first"))
        if any(layer.gradient is not None for layer in weighty):
            found.append(Tile("Gradient", _times(_gradient(report)), "E[g²], first layer over last"))
    left = _left(report)
    if left is not None:
        found.append(Tile("Differs by sample", percent(left), "share of the last layer's signal"))
    if report.effective_depth is not None:
        layers = len({layer.name for layer in weighty})
        found.append(
            Tile("Effective depth", scientific(report.effective_depth), f"of {count(layers, 'weight layer')}")
        )
    elements = sum(parameter.value.count for parameter in report.parameters)
    found.append(Tile("Parameters", _short(elements), f"in {count(len(report.parameters), 'tensor')}"))
    return tuple(found)


def changes(after: Report, before: Report) -> Table:
    """Return what two reports of a model say, side by side."""
    rows = [
        ("verdict", _state(before), _state(after)),
        ("findings", _codes(before, after), _codes(after, before)),
    ]
    shown: tuple[tuple[str, Callable[[Report], str]], ...] = (
        ("loss at the start", lambda report: scientific(report.loss)),
        ("signal, last layer over first", lambda report: _times(_signal(report))),
        ("gradient, first layer over last", lambda report: _times(_gradient(report))),
        ("last layer's signal that differs by sample", lambda report: percent(_left(report))),
        ("effective depth", lambda report: scientific(report.effective_depth)),
        ("batch", lambda report: report.batch),
    )
    for title, value in shown:
        row = (title, value(before), value(after))
        if any(text != "–" for text in row[1:]):
            rows.append(row)
    own = {(layer.name, layer.call) for layer in after.layers}
    other = {(layer.name, layer.call) for layer in before.layers}
    if own != other:
        alone = [name or "(model)" for name, _ in sorted(other - own)]
        new = [name or "(model)" for name, _ in sorted(own - other)]
        rows.append(("layers only here", collapsed(tuple(alone)) or "–", collapsed(tuple(new)) or "–"))
    columns = (Column("", "text"), Column("before", "text"), Column("after", "text"))
    return Table("changes", "Before and after", columns, tuple(rows))


def _state(report: Report) -> str:
    if report.healthy:
        return "healthy"
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    parts = [count(errors, "error")] if errors else []
    if warnings:
        parts.append(count(warnings, "warning"))
    return ", ".join(parts)


def _codes(report: Report, other: Report) -> str:
    theirs = {finding.code for finding in other.findings}
    codes = dict.fromkeys(finding.code for finding in report.findings)
    return ", ".join(code if code in theirs else f"{code} (only here)" for code in codes) or "none"


def _weighty(report: Report) -> list[LayerSignal]:
    weighty = [layer for layer in report.layers if layer.parametric]
    return weighty if len(weighty) > 1 else list(report.layers)


def _signal(report: Report) -> float | None:
    layers = _weighty(report)
    if len(layers) < 2:
        return None
    return _ratio(layers[-1].output.second_moment, layers[0].output.second_moment)


def _gradient(report: Report) -> float | None:
    sizes = [x.gradient.second_moment for x in _weighty(report) if x.gradient is not None]
    return _ratio(sizes[0], sizes[-1]) if len(sizes) > 1 else None


def _left(report: Report) -> float | None:
    known = [share for layer in report.layers if (share := varying(layer)) is not None]
    return known[-1] if known else None


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


def _times(ratio: float | None) -> str:
    text = scientific(ratio)
    return text if ratio is None or not math.isfinite(ratio) else f"×\u2009{text}"


def _short(number: int) -> str:
    """Return a count as people say it.

    >>> [_short(n) for n in (950, 125_450, 124_439_808, 7_241_732_096)]
    ['950', '125,450', '124 M', '7.24 B']
    """
    for size, unit in ((10**9, "B"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,}"
