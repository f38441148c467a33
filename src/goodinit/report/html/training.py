"""A `MonitorLog` as a page: what went wrong, the course of the run, every layer at its ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from goodinit.records import Grid, LayerStep, Line, MonitorLog, MonitorStep, Picture
from goodinit.report.html.numbers import percent, rounded, scientific
from goodinit.report.html.pictures import picture
from goodinit.report.html.pieces import Column, Figure, Section, Table, Tile, thinned
from goodinit.report.training import BAD, median_update, verdict

__all__ = ["content"]

# As many rows and columns of a heat map as can be told apart.
_LAYERS, _STEPS = 24, 48
# Points of a curve.
_POINTS = 400


def content(log: MonitorLog) -> dict[str, Any]:
    """Return what the page of a monitored run holds."""
    tone, sentence, span = verdict(log)
    return {
        "kind": "monitored run",
        "title": log.model,
        "tone": tone,
        "sentence": sentence,
        "facts": (span,) if span else (),
        "tiles": _tiles(log),
        "notes": log.notes,
        "sections": [section for section in _sections(log) if not section.empty],
    }


def _tiles(log: MonitorLog) -> tuple[Tile, ...]:
    if not log.steps:
        return ()
    first, last = log.steps[0], log.steps[-1]
    found = [
        ("Loss", scientific(last.loss), last.loss, f"from {scientific(first.loss)}"),
        (
            "Balance drifted by",
            f"×\u2009{scientific(last.drift)}",
            last.drift,
            "front over back, since the start",
        ),
        ("Left of the start", percent(last.kept), last.kept, "cos² of all weights"),
        ("Update over weight", scientific(median_update(last)), median_update(last), "median, last step"),
    ]
    return tuple(Tile(label, shown, detail) for label, shown, value, detail in found if value is not None)


def _sections(log: MonitorLog) -> list[Section]:
    return [
        Section("events", "What happened", "Events", "", (), (_events(log),)),
        Section("course", "Course of the run", "Course", "", tuple(_course(log))),
        Section(
            "layers-over-time",
            "Layers over time",
            "Layers over time",
            "Each row is a layer, from the first at the bottom; each column a measured step. What is zero "
            "stays blank.",
            tuple(_maps(log)),
        ),
        Section("layers", "Layers", "Layers", "", (), (_layers(log),)),
        Section("parameters", "Parameters", "Parameters", "", (), (_parameters(log),)),
    ]


def _events(log: MonitorLog) -> Table:
    columns = (Column("step"), Column("what", "text"), Column("message", "text"))
    ordered = sorted(log.events, key=lambda event: event.kind not in BAD)
    rows = tuple((f"{event.step:,}", event.kind.replace("_", " "), event.message) for event in ordered)
    return Table("events", "What happened, what went wrong first", columns, rows, search=len(rows) > 20)


def _course(log: MonitorLog) -> list[Figure]:
    wanted: tuple[
        tuple[str, str, str, bool, tuple[tuple[str, Callable[[MonitorStep], float | None]], ...]], ...
    ]
    wanted = (
        ("loss", "Loss", "loss", False, (("loss", lambda step: step.loss),)),
        (
            "balance",
            "Gradient balance",
            "front over back",
            True,
            (("balance", lambda step: step.balance), ("drift since the start", lambda step: step.drift)),
        ),
        ("kept", "What is left of the start", "cos²", False, (("all weights", lambda step: step.kept),)),
        ("updates", "Update over weight", "ratio of rms", True, (("median of parameters", median_update),)),
    )
    found = []
    for key, title, unit, logarithmic, curves in wanted:
        lines = []
        for label, of in curves:
            points = [(step.step, value) for step in log.steps if (value := of(step)) is not None]
            points = thinned([(x, y) for x, y in points if math.isfinite(y)], _POINTS)
            if points:
                lines.append(Line(label, tuple(float(x) for x, _ in points), tuple(y for _, y in points)))
        if lines:
            logarithmic = logarithmic and any(y > 0 for line in lines for y in line.y)
            ends = "; ".join(
                f"{each.label} {scientific(each.y[0])} to {scientific(each.y[-1])}" for each in lines
            )
            summary = f"From the first measured step to the last: {ends}."
            found.append(
                picture(Picture(key, title, summary, "step", unit, False, logarithmic, tuple(lines)))
            )
    return found


def _maps(log: MonitorLog) -> list[Figure]:
    steps = thinned(log.steps, _STEPS)
    names = list(dict.fromkeys((each.name, each.call) for step in log.steps for each in step.layers))
    if len(steps) < 2 or not names:
        return []
    by_step = [{(each.name, each.call): each for each in step.layers} for step in steps]
    found = []
    for key, title, unit, of in (
        ("outputs", "Outputs", "log₁₀ E[x²]", lambda each: _log(each.output)),
        ("gradients", "Gradients", "log₁₀ E[g²]", lambda each: _log(each.gradient)),
        ("dead", "Units that learn nothing", "share of units", _dead),
    ):
        known = [name for name in names if any(name in at and of(at[name]) is not None for at in by_step)]
        shown = thinned(known, _LAYERS)
        values = tuple(
            tuple(_number(of(at[name])) if name in at else math.nan for at in by_step) for name in shown
        )
        flat = [value for row in values for value in row if math.isfinite(value)]
        if not flat or (key == "dead" and not any(flat)):
            continue
        grid = Grid(tuple(f"{step.step:,}" for step in steps), tuple(map(_label, shown)), values, unit)
        left = f" {len(shown)} of {len(known)} layers are drawn." if len(shown) < len(known) else ""
        summary = f"From {scientific(min(flat))} to {scientific(max(flat))}.{left}"
        found.append(picture(Picture(key, title, summary, "step", "", grid=grid)))
    return found


def _log(value: float | None) -> float | None:
    return math.log10(value) if value is not None and 0 < value < math.inf else None


def _dead(each: LayerStep) -> float | None:
    return each.dead / each.units if each.dead is not None and each.units else None


def _number(value: float | None) -> float:
    return math.nan if value is None else rounded(value) or 0.0


def _label(key: tuple[str, int]) -> str:
    return f"{key[0] or '(model)'}{f' (call {key[1] + 1})' if key[1] else ''}"


def _layers(log: MonitorLog) -> Table:
    columns = (
        Column("layer", "name"),
        Column("kind", "text"),
        Column("E[x²] first"),
        Column("last"),
        Column("E[g²] first"),
        Column("last"),
        Column("dead"),
        Column("saturated"),
    )
    if not log.steps:
        return Table("layers", "Layers", columns, ())
    start = {(each.name, each.call): each for each in log.steps[0].layers}
    rows = []
    for now in log.steps[-1].layers:
        before = start.get((now.name, now.call))
        rows.append(
            (
                _label((now.name, now.call)),
                now.kind,
                scientific(None if before is None else before.output),
                scientific(now.output),
                scientific(None if before is None else before.gradient),
                scientific(now.gradient),
                "–" if now.dead is None else f"{now.dead:,} of {now.units:,}",
                percent(now.saturated),
            )
        )
    return Table(
        "layers", "Layers at the first and the last measured step", columns, tuple(rows), search=True
    )


def _parameters(log: MonitorLog) -> Table:
    columns = (
        Column("parameter", "name"),
        Column("E[w²]"),
        Column("gradient over weight"),
        Column("update over weight"),
        Column("left of the start"),
        Column("distance"),
    )
    rows = tuple(
        (
            each.name,
            scientific(each.value),
            scientific(each.gradient_ratio),
            scientific(each.update_ratio),
            percent(each.kept),
            scientific(each.distance),
        )
        for each in (log.steps[-1].parameters if log.steps else ())
    )
    return Table("parameters", "Parameters at the last measured step", columns, rows, search=True)
