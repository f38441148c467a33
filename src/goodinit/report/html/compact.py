"""A record as a short fragment of HTML for notebooks: no script, a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from goodinit.errors import WrongTypeError
from goodinit.records import LayerSignal, PlanRecord, Report, Verification
from goodinit.report.folding import fold
from goodinit.report.html.engine import environment
from goodinit.report.html.numbers import interval, prose, scientific, short_name
from goodinit.report.html.pieces import thinned
from goodinit.report.html.sentences import plan_sentence, verification_sentence
from goodinit.report.plan import folded, short_initializer
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
        record: a `Report`, `PlanRecord` or `Verification`.

    Raises:
        WrongTypeError: for any other kind of record.

    >>> compact(Verification((), 1e-6)).startswith("<div")
    True
    """
    if isinstance(record, Report):
        content = _report(record)
    elif isinstance(record, PlanRecord):
        content = _plan(record)
    elif isinstance(record, Verification):
        content = _verification(record)
    else:
        raise WrongTypeError(
            f"record: expected a Report, PlanRecord or Verification, got {type(record).__name__}"
        )
    page = {"facts": (), "sparks": (), "heads": (), "rows": (), "more": "", "notes": (), **content}
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
