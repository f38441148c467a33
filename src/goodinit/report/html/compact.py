"""A record as a short fragment of HTML for notebooks: no script, a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from goodinit.errors import WrongTypeError
from goodinit.records import (
    Comparison,
    CoordinateCheck,
    ExperimentResult,
    LayerSignal,
    MonitorLog,
    PlanRecord,
    Report,
    Verification,
)
from goodinit.report.coordinates import exponent
from goodinit.report.coordinates import verdict as coordinate_verdict
from goodinit.report.folding import fold
from goodinit.report.html.engine import environment
from goodinit.report.html.numbers import interval, percent, prose, scientific, short_name
from goodinit.report.html.pieces import thinned
from goodinit.report.html.sentences import plan_sentence, verification_sentence
from goodinit.report.plan import folded, short_initializer
from goodinit.report.training import BAD
from goodinit.report.training import verdict as training_verdict
from goodinit.report.verdict import verdict
from goodinit.report.words import collapsed, count, shape

__all__ = ["compact"]

# Lines of a table in a notebook; the whole record is one `to_html` away.
_LINES = 30
_WIDTH, _HEIGHT, _POINTS = 260.0, 56.0, 120


@dataclass(frozen=True)
class _Spark:
    """A curve over depth as SVG: lines through what can be drawn, crosses where nothing finite is."""

    title: str
    words: str
    lines: tuple[str, ...]
    crosses: tuple[float, ...]


def compact(record: Any) -> str:
    """Return a record as a fragment of HTML that needs no script and no style sheet.

    Args:
        record: a `Report`, `PlanRecord`, `Verification`, `CoordinateCheck`, `MonitorLog`, `Comparison`
            or `ExperimentResult`.

    Raises:
        WrongTypeError: for any other kind of record.

    >>> compact(Verification((), 1e-6)).startswith("<div")
    True
    """
    content = next((made for kind, made in _CONTENT.items() if isinstance(record, kind)), None)
    if content is None:
        known = ", ".join(kind.__name__ for kind in _CONTENT)
        raise WrongTypeError(f"record: expected one of {known}; got {type(record).__name__}")
    page = {"facts": (), "sparks": (), "heads": (), "rows": (), "more": "", "notes": (), **content(record)}
    text: str = environment().get_template("compact.html").render(page)
    return text.strip()


def _report(report: Report) -> dict[str, Any]:
    outcome = verdict(report)
    rows = [
        (
            finding.code,
            finding.title,
            collapsed(finding.where, 3),
            f"{finding.measure}: {scientific(finding.effect)}"
            + (f" ({interval(finding.interval)})" if finding.interval else "")
            + (f"; healthy: {interval(finding.expected)}" if finding.expected else ""),
            prose(finding.cause),
            finding.cure,
        )
        for finding in report.findings[:_LINES]
    ]
    sparks = (
        _spark("forward E[x²]", report.layers, lambda layer: layer.output),
        _spark("backward E[g²]", report.layers, lambda layer: layer.gradient),
    )
    return {
        "tone": outcome.tone,
        "sentence": outcome.sentence,
        "facts": (outcome.size, f"batch {report.batch}"),
        "sparks": [spark for spark in sparks if spark is not None],
        "heads": ("code", "finding", "where", "measured", "cause", "cure") if rows else (),
        "rows": rows,
        "more": _more(len(report.findings) - len(rows), "finding"),
        "notes": report.notes[:_LINES],
    }


def _coordinates(check: CoordinateCheck) -> dict[str, Any]:
    tone, sentence = coordinate_verdict(check)
    rows = [
        (
            layer.name or check.model,
            exponent(layer.change_slope, layer.change_interval),
            exponent(layer.output_slope, layer.output_interval),
        )
        for layer in check.layers[:_LINES]
    ]
    widths = ", ".join(map(str, check.widths))
    return {
        "tone": tone,
        "sentence": sentence,
        "facts": (check.optimizer, count(check.steps, "step"), f"widths {widths}"),
        "heads": ("layer", "exponent of its change", "of its output") if rows else (),
        "rows": rows,
        "more": _more(len(check.layers) - len(rows), "layer"),
        "notes": [f"{each.code} {each.title}: {prose(each.cause)}" for each in check.findings],
    }


def _training(log: MonitorLog) -> dict[str, Any]:
    tone, sentence, span = training_verdict(log)
    events = sorted(log.events, key=lambda event: event.kind not in BAD)
    rows = [(f"{event.step:,}", event.kind.replace("_", " "), event.message) for event in events[:_LINES]]
    return {
        "tone": tone,
        "sentence": sentence,
        "facts": (span,) if span else (),
        "heads": ("step", "what", "message") if rows else (),
        "rows": rows,
        "more": _more(len(events) - len(rows), "event"),
        "notes": log.notes[:_LINES],
    }


def _plan(record: PlanRecord) -> dict[str, Any]:
    lines = folded(record.rows)
    rows = [
        (
            name + (f" ×{times}" if times > 1 else "") + (f" = {row.aliases[0]}" if row.aliases else ""),
            shape(row.shape),
            short_initializer(row.initializer),
            scientific(row.std),
            row.why,
        )
        for name, times, row in lines[:_LINES]
    ]
    return {
        "tone": "plain",
        "sentence": plan_sentence(record),
        "facts": (count(len(record.rows), "parameter"),),
        "heads": ("parameter", "shape", "initializer", "std", "why") if rows else (),
        "rows": rows,
        "more": _more(len(lines) - len(rows), "kind of row"),
        "notes": record.notes[:_LINES],
    }


def _verification(outcome: Verification) -> dict[str, Any]:
    sentence, tone, facts = verification_sentence(outcome)
    groups = fold(outcome.failures, name=lambda check: check.name, key=lambda check: check.test)
    rows = []
    for name, group in groups[:_LINES]:
        worst = min(group, key=lambda check: -1.0 if check.p_value is None else check.p_value)
        times = f" ×{len(group)}" if len(group) > 1 else ""
        p = "exact" if worst.p_value is None else scientific(worst.p_value)
        rows.append((name + times, worst.test, p, worst.detail))
    return {
        "tone": tone,
        "sentence": sentence,
        "facts": facts,
        "heads": ("parameter", "test", "p", "found") if rows else (),
        "rows": rows,
        "more": _more(len(groups) - len(rows), "kind of failure"),
    }


def _comparison(made: Comparison) -> dict[str, Any]:
    rows = [
        (
            each.plan,
            scientific(each.score.value),
            interval((each.score.low, each.score.high)),
            percent(each.diverged.value),
            percent(each.dead.value),
        )
        for each in made.best[:_LINES]
    ]
    return {
        "tone": "plain",
        "sentence": made.conclusions[0] if made.conclusions else "Nothing was compared.",
        "facts": (f"{made.model} on {made.data}", f"{len(made.seeds)} seeds"),
        "heads": ("plan", f"final {made.metric}", "95 % interval", "diverged", "dead") if rows else (),
        "rows": rows,
        "more": _more(len(made.best) - len(rows), "plan"),
        "notes": made.conclusions[1:_LINES],
    }


def _experiment(made: ExperimentResult) -> dict[str, Any]:
    rows = [
        (
            each.name,
            scientific(each.measured.value),
            interval((each.measured.low, each.measured.high)),
            each.stated,
        )
        for each in made.facts[:_LINES]
    ]
    return {
        "tone": "plain",
        "sentence": made.answer[0] if made.answer else "",
        "facts": (made.title, f"{made.size} size"),
        "heads": ("what", "measured", "95 % interval", "stated") if rows else (),
        "rows": rows,
        "more": _more(len(made.facts) - len(rows), "fact"),
        "notes": made.answer[1:_LINES],
    }


# What is drawn by what.
_CONTENT: dict[type, Callable[[Any], dict[str, Any]]] = {
    Report: _report,
    PlanRecord: _plan,
    Verification: _verification,
    CoordinateCheck: _coordinates,
    MonitorLog: _training,
    Comparison: _comparison,
    ExperimentResult: _experiment,
}


def _more(number: int, noun: str) -> str:
    return f"and {count(number, noun)} more" if number > 0 else ""


def _spark(title: str, layers: Sequence[LayerSignal], moments: Any) -> _Spark | None:
    known = [(layer, found) for layer in layers if (found := moments(layer)) is not None]
    if len(known) < 2:
        return None
    known = thinned(known, _POINTS)
    levels = [
        math.log10(found.second_moment)
        if not found.nonfinite and 0 < found.second_moment < math.inf
        else None
        for _, found in known
    ]
    heights = [level for level in levels if level is not None]
    low, high = min(heights, default=0.0), max(heights, default=0.0)
    # Less than two decades is drawn as the small change that it is.
    middle, span = (low + high) / 2, max(high - low, 2.0)
    lines: list[list[str]] = [[]]
    crosses = []
    for place, level in enumerate(levels):
        x = 4 + (_WIDTH - 8) * place / (len(levels) - 1)
        if level is None:
            crosses.append(round(x, 1))
            lines.append([])
        else:
            y = _HEIGHT / 2 - (_HEIGHT - 12) * (level - middle) / span
            lines[-1].append(f"{x:.1f},{y:.1f}")
    (first, start), (last, end) = known[0], known[-1]
    ends = [
        f"{_size(found)} at {short_name(layer.name, 24)}" for layer, found in ((first, start), (last, end))
    ]
    words = f"{title}: {ends[0]} to {ends[1]}"
    return _Spark(title, words, tuple(" ".join(line) for line in lines if line), tuple(crosses))


def _size(found: Any) -> str:
    return f"{found.nonfinite:,} NaN or infinite" if found.nonfinite else scientific(found.second_moment)
