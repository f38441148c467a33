"""What a notebook shows is short, needs no script, and says what the page says first."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from goodinit.errors import WrongTypeError
from goodinit.records import Moments, PlanRecord, Report, RowCheck, RowRecord, Verification
from goodinit.report import compact


def test_a_report_leads_with_the_verdict_and_lists_findings(sample: Any, found: Any) -> None:
    text = sample(30, 0.9, 0.5, found())._repr_html_()
    places = [text.index(part) for part in ("is not healthy: 1 error.", "forward E[x²]", "GI104", "note")]
    assert places == sorted(places)
    assert "8.3×10⁻⁹ (1.92×10⁻¹⁰ to 3.58×10⁻⁷); healthy: 5.3×10⁻⁴ to 393" in text


def test_it_needs_no_script_and_is_small(sample: Any, found: Any) -> None:
    text = sample(500, 0.99, 0.98, *(found(code=f"GI{i}") for i in range(200)))._repr_html_()
    assert len(text) < 60_000
    assert "and 170 findings more" in text
    for part in ("<script", "<style", "http", " onload", " class="):
        assert part not in text


def test_names_are_text() -> None:
    bad = "<script>alert(1)</script>"
    plan = PlanRecord(bad, bad, (RowRecord(bad, (1,), bad, None, None, None, None, bad),), (bad,))
    outcome = Verification((RowCheck(bad, False, bad, 0.0, bad),), 1e-6)
    for record in (Report(bad, bad, None, (), (), (), (bad,)), plan, outcome):
        text = compact(record)
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_what_cannot_be_drawn_is_crossed(sample: Any) -> None:
    report = sample(5)
    broken = dataclasses.replace(report.layers[3], output=Moments(10, math.nan, math.nan, math.nan, 10))
    layers = (*report.layers[:3], broken, *report.layers[4:])
    # A cross has the only horizontal-vertical strokes of this size in the fragment.
    cross = "l6 6m0-6l-6 6"
    assert compact(report).count(cross) == 0
    assert compact(dataclasses.replace(report, layers=layers)).count(cross) == 1


def test_a_plan_folds_alike_rows() -> None:
    rows = tuple(
        RowRecord(f"layers.{i}.w", (4, 4), "Normal(mean=0.0, std=0.5)", 0.0, 0.5, 4.0, 4.0, "He")
        for i in range(99)
    )
    text = PlanRecord("Net", "auto", rows)._repr_html_()
    assert "layers.{0..98}.w ×99" in text
    assert text.count("<tr>") == 2


def test_a_verification_shows_its_failures() -> None:
    checks = (RowCheck("a", True, "std", 0.4, ""), RowCheck("b", False, "std", 1e-30, "std 0.5, planned 0.1"))
    text = Verification(checks, 1e-6)._repr_html_()
    assert "1 of 2 parameters does not follow the plan." in text
    assert "10⁻³⁰" in text
    assert "All 1 parameters" not in text


def test_other_things_are_refused_by_name() -> None:
    with pytest.raises(WrongTypeError, match="got dict"):
        compact({})
