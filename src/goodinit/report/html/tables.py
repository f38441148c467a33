"""Layers, parameters, plans and checks as tables that can be searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from goodinit.records import LayerSignal, ParameterSignal, PlanRecord, Report, Verification
from goodinit.report.html.depth import label
from goodinit.report.html.numbers import percent, scientific
from goodinit.report.html.pieces import Column, Table
from goodinit.report.html.shares import underflow, varying
from goodinit.report.plan import short_initializer
from goodinit.report.words import shape, units

__all__ = ["checks", "layers", "parameters", "plan"]

_T = TypeVar("_T")
# A column of nothing but these says nothing.
_SILENT = ("–", "0 %")
_Cell = Callable[[_T], str]


def layers(report: Report) -> Table:
    """Return every layer with what was measured of it; questions that no layer answers have no column."""
    columns: list[tuple[Column, _Cell[LayerSignal]]] = [
        (Column("#"), lambda x: str(x.index)),
        (Column("layer", "name"), label),
        (Column("kind", "text"), lambda x: x.kind),
        (Column("shape"), lambda x: shape(x.shape)),
        (Column("output std"), lambda x: scientific(x.output.std)),
        (Column("gradient std"), lambda x: scientific(None if x.gradient is None else x.gradient.std)),
        (Column("NaN or ∞"), lambda x: _or_dash(x.output.nonfinite + _nonfinite_gradient(x))),
        (Column("differs"), lambda x: percent(varying(x))),
        (Column("correlation"), lambda x: scientific(x.correlation)),
        (
            Column("rank"),
            lambda x: "–" if x.rank is None else f"{scientific(x.rank)} of {x.rows or '?'}",
        ),
        (Column("dead"), lambda x: "–" if x.dead is None else f"{x.dead:,} of {x.units:,}"),
        (Column("saturated"), lambda x: percent(x.saturated)),
        (Column("underflow"), lambda x: percent(underflow(x))),
    ]
    return _table("layers", "Layers, in order of execution", columns, report.layers, always=6)


def parameters(report: Report) -> Table:
    """Return every parameter with its values and gradient."""
    columns: list[tuple[Column, _Cell[ParameterSignal]]] = [
        (Column("parameter", "name"), lambda x: x.name),
        (Column("shape"), lambda x: shape(x.shape)),
        (Column("dtype", "text"), lambda x: x.dtype + ("" if x.trainable else ", frozen")),
        (Column("mean"), lambda x: scientific(x.value.mean)),
        (Column("std"), lambda x: scientific(x.value.std)),
        (Column("largest"), lambda x: scientific(x.largest)),
        (Column("gradient rms"), _gradient_size),
        (Column("gradient / value"), lambda x: scientific(x.gradient_ratio)),
        (Column("zeros"), lambda x: percent(x.zeros)),
        (Column("NaN or ∞"), lambda x: _or_dash(x.value.nonfinite)),
        (Column("underflow"), lambda x: percent(x.underflow)),
    ]
    return _table("parameters", "Parameters", columns, report.parameters, always=9)


def plan(record: PlanRecord) -> Table:
    """Return every row of a plan."""
    rows = tuple(
        (
            row.name + "".join(f" = {alias}" for alias in row.aliases),
            shape(row.shape),
            short_initializer(row.initializer),
            scientific(row.std),
            "–" if row.fan_in is None else f"{units(row.fan_in)}→{units(row.fan_out)}",
            row.why,
        )
        for row in record.rows
    )
    columns = (
        Column("parameter", "name"),
        Column("shape"),
        Column("initializer", "code"),
        Column("std"),
        Column("fans"),
        Column("why", "text"),
    )
    return Table("plan", f"Plan of {record.model} by recipe {record.recipe}", columns, rows, search=True)


def checks(outcome: Verification) -> Table:
    """Return every check of a verification, failures first."""
    ordered = sorted(outcome.checks, key=lambda check: check.passed)
    rows = tuple(
        (
            check.name,
            "follows" if check.passed else "does not follow",
            check.test,
            "exact" if check.p_value is None else scientific(check.p_value),
            check.detail,
        )
        for check in ordered
    )
    columns = (
        Column("parameter", "name"),
        Column("outcome", "text"),
        Column("test", "text"),
        Column("p"),
        Column("found", "text"),
    )
    return Table("checks", "Every parameter against its row of the plan", columns, rows, search=True)


def _gradient_size(each: ParameterSignal) -> str:
    if each.gradient is None:
        return "none" if each.trainable else "–"
    if each.gradient.nonfinite:
        return f"{each.gradient.nonfinite:,} NaN or ∞"
    return scientific(each.gradient.second_moment**0.5)


def _nonfinite_gradient(layer: LayerSignal) -> int:
    return 0 if layer.gradient is None else layer.gradient.nonfinite


def _or_dash(number: int) -> str:
    return f"{number:,}" if number else "–"


def _table(
    key: str, caption: str, columns: list[tuple[Column, _Cell[_T]]], items: tuple[_T, ...], *, always: int
) -> Table:
    """Return a table without the columns beyond the first `always` that say nothing."""
    cells = [[cell(item) for item in items] for _, cell in columns]
    kept = [i for i, column in enumerate(cells) if i < always or any(text not in _SILENT for text in column)]
    rows = tuple(zip(*(cells[i] for i in kept), strict=True)) if items else ()
    return Table(key, caption, tuple(columns[i][0] for i in kept), rows, search=True)
