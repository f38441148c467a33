"""A record as one HTML file that needs nothing else: no network, no second file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.files import write_beside
from goodinit.records import (
    Comparison,
    CoordinateCheck,
    ExperimentResult,
    MonitorLog,
    PlanRecord,
    Report,
    Verification,
)
from goodinit.report.html import (
    comparing,
    coordinates,
    depth,
    experiment,
    maps,
    overview,
    recurrence,
    shares,
    spectra,
    tables,
    training,
    violins,
)
from goodinit.report.html.cards import card
from goodinit.report.html.engine import TEMPLATES, environment, needed
from goodinit.report.html.palette import DARK, LIGHT
from goodinit.report.html.pieces import Figure, Section, Table, Tile
from goodinit.report.html.sentences import plan_sentence, verification_sentence
from goodinit.report.links import docs_address
from goodinit.report.verdict import fine, verdict
from goodinit.report.words import count

__all__ = ["render", "to_html"]

# Rows that stand in the page itself; the others follow as data, so that 5,000 rows open at once.
_ROWS = 40


def to_html(record: Any, path: str | Path, *, before: Report | None = None, docs: str | None = None) -> Path:
    """Write a record as one self-contained HTML file, whole or not at all.

    Args:
        record: a `Report`, `PlanRecord`, `Verification`, `CoordinateCheck`, `MonitorLog`, `Comparison`
            or `ExperimentResult`.
        path: of the file; its folder must exist.
        before: an earlier report to compare a report with.
        docs: as for `render`.

    Returns:
        The path.

    Raises:
        WrongTypeError: for any other kind of record.
        ArgumentError: if the file cannot be written.

    >>> import tempfile
    >>> from goodinit.records import Verification
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_html(Verification((), 1e-6), folder + "/verification.html").name
    'verification.html'
    """
    target = Path(path)
    text = render(record, before=before, docs=docs)
    if not target.parent.is_dir():
        raise ArgumentError(f"path: there is no folder {str(target.parent)!r} to write {target.name!r} into")
    if target.is_dir():
        raise ArgumentError(f"path: {str(target)!r} is a folder; name a file, such as {'report.html'!r}")
    try:
        # A lone surrogate in a name has no UTF-8 form; it is shown as its escape.
        return write_beside(target, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise ArgumentError(f"path: cannot write {str(target)!r}: {error.strerror or error}") from error


def render(record: Any, *, before: Report | None = None, docs: str | None = None) -> str:
    """Return a record as the text of one self-contained HTML page; equal records give equal text.

    Args:
        record: a `Report`, `PlanRecord`, `Verification`, `CoordinateCheck`, `MonitorLog`, `Comparison`
            or `ExperimentResult`.
        before: an earlier report to compare a report with.
        docs: address of the folder with the documentation pages, for links to findings;
            None takes the one that the installed package declares.

    Raises:
        WrongTypeError: for any other kind of record, or `before` beside anything but a report.

    >>> from goodinit.records import Verification
    >>> render(Verification((), 1e-6))[:15]
    '<!DOCTYPE html>'
    """
    if before is not None and not (isinstance(record, Report) and isinstance(before, Report)):
        raise WrongTypeError(
            f"before: two reports can be compared, not a {type(record).__name__} "
            f"with a {type(before).__name__}"
        )
    address = docs if docs is not None else docs_address()
    if isinstance(record, Report):
        return _page(**_report(record, before, address))
    if isinstance(record, CoordinateCheck):
        return _page(**coordinates.content(record, address))
    for kind, content in _CONTENT.items():
        if isinstance(record, kind):
            return _page(**content(record))
    known = ", ".join(kind.__name__ for kind in (Report, CoordinateCheck, *_CONTENT))
    raise WrongTypeError(f"record: expected one of {known}; got {type(record).__name__}")


def _report(report: Report, before: Report | None, docs: str | None) -> dict[str, Any]:
    outcome = verdict(report)
    start = "a random linear functional of the outputs" if report.loss is None else "the loss"
    return {
        "kind": "health report",
        "title": report.model,
        "tone": outcome.tone,
        "sentence": outcome.sentence,
        "facts": [outcome.size, f"batch {report.batch}", f"backward from {start}"],
        "tiles": overview.tiles(report),
        "changes": None if before is None else overview.changes(report, before),
        "cards": [card(finding, docs) for finding in report.findings],
        "judged": True,
        "fine": fine(report),
        "notes": report.notes,
        "sections": _sections(report, before),
        "versions": report.versions,
    }


def _sections(report: Report, before: Report | None) -> list[Section]:
    found = [
        Section(
            "signal",
            "Signal and gradient with depth",
            "Signal",
            "The second moment, the mean square of all elements, should change little from layer to layer: "
            "outputs from first to last, gradients from last to first.",
            _present(depth.forward(report, before), depth.backward(report, before), recurrence.steps(report)),
        ),
        Section(
            "information",
            "Information and idle units",
            "Information",
            "Where samples become alike or units stay silent, nothing can be learnt.",
            tuple(shares.shares(report)),
        ),
        Section(
            "distributions",
            "Distributions",
            "Distributions",
            "One violin for each tensor; the bar spans the middle half, the dot is the median.",
            tuple(violins.violins(report)),
        ),
        Section(
            "units",
            "Single units",
            "Units",
            "Each column is a layer, each cell one unit against the mean of its layer.",
            tuple(maps.units(report)),
        ),
        Section(
            "attention",
            "Attention",
            "Attention",
            "Entropy over its maximum: 1 looks at every key alike, 0 at a single one.",
            _present(maps.attention(report)),
        ),
        Section(
            "jacobian",
            "Jacobian",
            "Jacobian",
            "Singular values tell how a small change travels: 1 keeps its size.",
            tuple(spectra.jacobians(report)),
        ),
        Section("layers", "Layers", "Layers", "", (), (tables.layers(report),)),
        Section("parameters", "Parameters", "Parameters", "", (), (tables.parameters(report),)),
    ]
    if report.plan is not None:
        plan = Section(
            "plan", "Plan", "Plan", f"Recipe {report.plan.recipe}.", (), (tables.plan(report.plan),)
        )
        found.insert(-2, plan)
    return [section for section in found if not section.empty]


def _present(*figures: Figure | None) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _plan(record: PlanRecord) -> dict[str, Any]:
    kept = sum(row.initializer.startswith("Keep(") for row in record.rows)
    rows = count(len(record.rows), "row")
    facts = [rows, *([f"{kept:,} kept as they are"] if kept else [])]
    return {
        "kind": "plan",
        "title": record.model,
        "tone": "plain",
        "sentence": plan_sentence(record),
        "facts": facts,
        "notes": record.notes,
        "sections": [Section("plan", "Rows", "Rows", "", (), (tables.plan(record),))],
    }


def _verification(outcome: Verification) -> dict[str, Any]:
    sentence, tone, facts = verification_sentence(outcome)
    return {
        "kind": "verification",
        "title": "verification",
        "tone": tone,
        "sentence": sentence,
        "facts": facts,
        "sections": [Section("checks", "Checks", "Checks", "", (), (tables.checks(outcome),))]
        if outcome.checks
        else [],
    }


# What is drawn by what; a report alone may stand beside an earlier one and link to the documentation.
_CONTENT: dict[type, Callable[[Any], dict[str, Any]]] = {
    PlanRecord: _plan,
    Verification: _verification,
    MonitorLog: training.content,
    Comparison: comparing.content,
    ExperimentResult: experiment.content,
}


def _page(
    *,
    kind: str,
    title: str,
    tone: str,
    sentence: str,
    facts: Sequence[str],
    answers: Sequence[str] = (),
    tiles: Sequence[Tile] = (),
    changes: Table | None = None,
    cards: Sequence[Any] = (),
    judged: bool = False,
    fine: Sequence[str] = (),
    notes: Sequence[str] = (),
    sections: Sequence[Section] = (),
    versions: dict[str, str] | None = None,
) -> str:
    figures = [figure for section in sections for figure in section.figures]
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    plotly, fingerprint = _plotly() if figures else ("", "")
    drawn = {
        figure.key: {
            "height": figure.height,
            "views": [{"traces": view.traces, "layout": view.layout} for view in figure.views],
        }
        for figure in figures
    }
    every = [
        *([changes] if changes is not None else []),
        *(table for section in sections for table in section.tables),
        *(figure.table for figure in figures if figure.table is not None),
    ]
    rest = {table.key: table.rows[_ROWS:] for table in every if len(table.rows) > _ROWS}
    text: str = (
        environment()
        .get_template("page.html")
        .render(
            kind=kind,
            title=title,
            tone=tone,
            sentence=sentence,
            facts=facts,
            answers=answers,
            tiles=tiles,
            changes=changes,
            cards=cards,
            judged=judged,
            fine=fine,
            notes=notes,
            sections=sections,
            versions=sorted((versions or {}).items()),
            light=LIGHT,
            dark=DARK,
            style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
            script=script,
            hashes=[_sha256(script), *([fingerprint] if fingerprint else [])],
            figures=_data(drawn),
            rest=_packed(json.dumps(rest)) if rest else "",
            plotly=plotly,
            shown=_ROWS,
        )
    )
    return text


@cache
def _plotly() -> tuple[str, str]:
    """Plotly's script, packed to two fifths of its size, and the fingerprint that lets it run."""
    source: str = needed("plotly.offline").get_plotlyjs()
    return _packed(source), _sha256(source)


def _packed(text: str) -> str:
    """Text as a browser unpacks it; without a time stamp, so that equal text gives equal bytes."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode("ascii")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _data(value: Any) -> Any:
    """JSON that may stand in a script element: nothing in it ends the element or opens another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return needed("markupsafe").Markup(text)
