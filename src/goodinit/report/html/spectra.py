"""Singular values of Jacobians: how a small change travels."""

from __future__ import annotations

import math
from typing import Any

from goodinit.records import JacobianSpectrum, Report
from goodinit.report.html.axes import log_axis
from goodinit.report.html.numbers import rounded, scientific, short_name
from goodinit.report.html.pieces import Column, Figure, Table, View, thinned

__all__ = ["jacobians"]

# As many lines as can be told apart by colour and dash.
_LINES = (
    ("$measured", "solid"),
    ("$high", "dash"),
    ("$predicted", "dot"),
    ("$before", "dashdot"),
    ("$mid", "longdash"),
)
# Columns in the plot of the steps through the network.
_STEPS = 160


def jacobians(report: Report) -> list[Figure]:
    """Return the spectrum of the whole network's Jacobian, and of the steps through it."""
    if not report.jacobians:
        return []
    whole = [each for each in report.jacobians if each.start == "input" and each.end == "output"]
    steps = [each for each in report.jacobians if each not in whole]
    if len(report.jacobians) <= len(_LINES):
        whole, steps = list(report.jacobians), []
    found = [_spectrum(whole)] if whole else []
    return [*found, _steps(steps)] if steps else found


def _name(each: JacobianSpectrum) -> str:
    return f"{short_name(each.start, 28)} → {short_name(each.end, 28)}"


def _spectrum(spectra: list[JacobianSpectrum]) -> Figure:
    traces: list[dict[str, Any]] = []
    for (colour, dash), each in zip(_LINES, thinned(spectra, len(_LINES)), strict=False):
        nodes = sorted(zip(each.values, each.weights, strict=False))
        total, positive, below = 0.0, [], 0.0
        for value, weight in nodes:
            total += weight
            if 0 < value < math.inf:
                positive.append((value, total))
            elif value == 0:
                below = total
        if not positive:
            continue
        x = [positive[0][0], *(value for value, _ in positive)]
        shares = [below, *(share for _, share in positive)]
        traces.append(
            {
                "x": [rounded(value) for value in x],
                "y": [rounded(share) for share in shares],
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2, "dash": dash, "shape": "hv"},
                "marker": {"size": 5, "color": colour},
                "name": _name(each),
                "text": [
                    f"{_name(each)}\n{share:.0%} of singular values up to {scientific(value)}"
                    for value, share in zip(x, shares, strict=True)
                ],
                "meta": "main" if not traces else "",
            }
        )
    seen = [1.0, *(value for trace in traces for value in trace["x"] if value)]
    layout: dict[str, Any] = {
        "xaxis": log_axis(min(seen) / 1.3, max(seen) * 1.3, "singular value"),
        "yaxis": {"range": [-0.03, 1.05], "tickformat": ".0%", "title": {"text": "share at or below"}},
        "shapes": [_line_at_one("x")],
    }
    title = "Jacobian: singular values"
    summary = " ".join(
        f"{_name(each)}: mean square {scientific(each.mean_square)} ± {scientific(each.mean_square_error)}, "
        f"largest {scientific(each.largest)}."
        for each in spectra[:2]
    )
    return Figure(
        "jacobian", title, summary, (View("", tuple(traces), layout),), _table("jacobian", title, spectra)
    )


def _steps(spectra: list[JacobianSpectrum]) -> Figure:
    shown = thinned(spectra, _STEPS)
    x = list(range(len(shown)))

    def root(value: float) -> float | None:
        return rounded(math.sqrt(value)) if value > 0 and math.isfinite(value) else None

    text = [
        f"{_name(each)}\nmean square {scientific(each.mean_square)} ± {scientific(each.mean_square_error)}\n"
        f"largest {scientific(each.largest)}"
        for each in shown
    ]
    traces: list[dict[str, Any]] = [
        {
            "x": x,
            "y": [rounded(each.largest) or None for each in shown],
            "mode": "markers",
            "marker": {"symbol": "triangle-up-open", "size": 8, "color": "$high", "line": {"width": 1.5}},
            "name": "largest",
            "text": text,
        },
        {
            "x": x,
            "y": [root(each.mean_square) for each in shown],
            "mode": "lines+markers",
            "line": {"color": "$measured", "width": 2},
            "marker": {"size": 5, "color": "$measured"},
            "name": "root mean square",
            "text": text,
            "meta": "main",
        },
    ]
    sizes = [1.0, *(value for trace in traces for value in trace["y"] if value)]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "step through the network"}},
        "yaxis": log_axis(min(sizes) / 1.5, max(sizes) * 1.5, "singular value"),
        "shapes": [_line_at_one("y")],
    }
    title = "Jacobian from layer to layer"
    finite = [math.sqrt(each.mean_square) for each in spectra if each.mean_square >= 0]
    summary = (
        f"{len(spectra):,} steps; the root mean square singular value runs from "
        f"{scientific(min(finite, default=math.nan))} to {scientific(max(finite, default=math.nan))}; "
        "1 keeps small changes as they are."
    )
    note = f"{len(shown)} of {len(spectra)} drawn; all are in the table." if len(shown) < len(spectra) else ""
    view = View("", tuple(traces), layout)
    return Figure("jacobian-steps", title, summary, (view,), _table("jacobian-steps", title, spectra), note)


def _line_at_one(axis: str) -> dict[str, Any]:
    other = "y" if axis == "x" else "x"
    return {
        "type": "line",
        f"{axis}0": 1,
        f"{axis}1": 1,
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {"color": "$predicted", "width": 1, "dash": "dot"},
        "layer": "below",
    }


def _table(key: str, title: str, spectra: list[JacobianSpectrum]) -> Table:
    columns = (
        Column("from", "name"),
        Column("to", "name"),
        Column("size"),
        Column("mean square"),
        Column("standard error"),
        Column("smallest seen"),
        Column("largest"),
        Column("probes"),
    )
    rows = tuple(
        (
            each.start,
            each.end,
            f"{each.inputs:,}→{each.outputs:,}",
            scientific(each.mean_square),
            scientific(each.mean_square_error),
            scientific(min(each.values, default=None)),
            scientific(each.largest),
            str(each.probes),
        )
        for each in spectra
    )
    return Table(f"{key}-data", title, columns, rows)
