"""What is new since a baseline comes first and in full; what is known or gone takes a line."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

from rich.console import Console

from goodinit.records import Baseline, Finding, Report, SinceBaseline
from goodinit.report import to_text

Make = Callable[..., Finding]


def report(*found: Finding) -> Report:
    return Report("Net", "given", None, (), (), found)


def test_new_and_worse_stand_before_known_and_gone(found: Make) -> None:
    before = report(found(), found(code="GI106", title="Dead units"), found(code="GI102"))
    now = report(
        found(effect=1e-30, interval=None), found(code="GI106", title="Dead units"), found(code="GI108")
    )
    lines = to_text(now.against(before.baseline())).splitlines()
    assert lines[0] == "Net: 1 new and 1 worse finding since the baseline; 1 known finding."
    marks = [line.split()[0:2] for line in lines if line.split()[:1] and line[0].isalpha()][1:]
    assert marks == [["new", "GI108"], ["worse", "GI104"], ["known", "GI106"], ["gone", "GI102"]]
    assert any(line.strip().startswith("cure") for line in lines)


def test_worse_says_what_it_was_and_where_it_reached(found: Make) -> None:
    before = found(severity="warning", effect=1e-4)
    now = found(where=(*before.where, "head"), interval=None)
    text = to_text(report(now).against(report(before).baseline()))
    assert "baseline reached head, warning before, measured 0.0001; healthy: 0.00053 to 393" in text


def test_nothing_new_is_said_without_calling_the_model_healthy(found: Make) -> None:
    text = to_text(report(found()).against(report(found()).baseline()))
    assert text.splitlines()[0] == "Net: nothing new since the baseline; 1 known finding."
    assert "healthy" not in text


def test_a_known_finding_carries_its_reason_as_it_was_written(found: Make) -> None:
    known = report(found()).baseline()
    known = Baseline("Net", (dataclasses.replace(known.findings[0], why="[bold]until[/bold] May {x}"),))
    assert "([bold]until[/bold] May {x})" in to_text(report(found()).against(known))


def test_new_notes_are_shown_but_not_counted(found: Make) -> None:
    outcome = report(found(severity="note"), found(code="GI106")).against(Baseline("Net", ()))
    text = to_text(outcome)
    assert text.splitlines()[0] == "Net: 1 new finding since the baseline."
    assert text.count("new  GI") == 2


def test_it_fits_eighty_columns_and_has_colour_only_on_a_terminal(found: Make) -> None:
    outcome = report(found()).against(Baseline("Net", ()))
    assert max(map(len, to_text(outcome, width=80).splitlines())) <= 80
    assert "\x1b" not in str(outcome)
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard", width=80).print(outcome)
    assert "\x1b[1;31m" in stream.getvalue()


def test_a_comparison_renders_again_from_json(found: Make) -> None:
    outcome = report(found()).against(Baseline("Net", ()))
    assert SinceBaseline.from_json(outcome.to_json()).to_text() == outcome.to_text()
