"""An experiment of the laboratory as a page: question, answer, figures, and the numbers behind them."""

from __future__ import annotations

from typing import Any

from goodinit.records import ExperimentResult, Fact, Sheet
from goodinit.report.html import comparing
from goodinit.report.html.numbers import scientific
from goodinit.report.html.pictures import picture
from goodinit.report.html.pieces import Column, Section, Table

__all__ = ["content"]


def content(made: ExperimentResult) -> dict[str, Any]:
    """Return what the page of an experiment holds."""
    return {
        "kind": "experiment",
        "title": made.title,
        "tone": "plain",
        "sentence": made.answer[0] if made.answer else "",
        "facts": (made.title, f"{made.size} size"),
        "answers": made.answer[1:],
        "sections": _sections(made),
    }


def _sections(made: ExperimentResult) -> list[Section]:
    sheets = tuple(_sheet(sheet, f"sheet-{number}") for number, sheet in enumerate(made.sheets))
    found = [
        Section("question", "Question", "Question", made.question, (), (_facts(made.facts),)),
        Section("textbook", "What the textbook says", "Textbook", made.textbook),
        Section(
            "pictures", "Pictures", "Pictures", "", tuple(picture(each) for each in made.pictures), sheets
        ),
    ]
    for number, each in enumerate(made.comparisons):
        found += comparing.sections(each, f"c{number}-")
    found.append(comparing.circumstances(made.settings, made.notes))
    return [section for section in found if section.lead or not section.empty]


def _facts(facts: tuple[Fact, ...]) -> Table:
    columns = (
        Column("what", "text"),
        Column("measured"),
        Column("95 % interval", "text"),
        Column("stated", "text"),
        Column("holds", "text"),
    )
    rows = tuple(
        (
            each.name,
            scientific(each.measured.value),
            f"{scientific(each.measured.low)} to {scientific(each.measured.high)}",
            each.stated,
            {None: "", True: "yes", False: "no"}[each.holds],
        )
        for each in facts
    )
    return Table("facts", "What was measured", columns, rows)


def _sheet(sheet: Sheet, key: str) -> Table:
    columns = tuple(Column(name, "name" if at == 0 else "text") for at, name in enumerate(sheet.columns))
    return Table(key, sheet.caption, columns, sheet.rows)
