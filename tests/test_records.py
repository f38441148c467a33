"""Records survive JSON exactly, with NaN and infinity, and the JSON is standard."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

import goodinit
from goodinit.errors import ArgumentError, UnhealthyError
from goodinit.records import (
    Finding,
    LayerSignal,
    Moments,
    ParameterSignal,
    PlanRecord,
    Report,
    RowCheck,
    RowRecord,
    Verification,
    from_jsonable,
    to_jsonable,
)

# from_type makes arbitrary values for every annotated field, nested records included.
reports = st.from_type(Report)
anything = st.one_of(
    *(st.from_type(kind) for kind in (Moments, LayerSignal, ParameterSignal, Finding, RowRecord, RowCheck))
)


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN and types count."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@settings(max_examples=100, deadline=None)
@given(anything)
def test_every_record_survives_json(record: Any) -> None:
    text = json.dumps(to_jsonable(record), allow_nan=False)
    assert same(from_jsonable(type(record), json.loads(text)), record)


@settings(max_examples=40, deadline=None)
@given(reports)
def test_reports_survive_json(report: Report) -> None:
    assert same(Report.from_json(report.to_json()), report)


@settings(max_examples=40, deadline=None)
@given(st.from_type(Verification))
def test_verifications_survive_json(outcome: Verification) -> None:
    assert same(Verification.from_json(outcome.to_json()), outcome)


def test_the_comparison_above_sees_a_difference() -> None:
    one = Moments(1, math.nan, 1.0, 0.0)
    assert same(one, Moments(1, math.nan, 1.0, 0.0))
    assert not same(one, Moments(1, 0.0, 1.0, 0.0))
    assert not same(one, Moments(1, math.nan, 1, 0.0))


def test_non_finite_floats_are_strings_in_json() -> None:
    assert to_jsonable([math.nan, math.inf, -math.inf]) == ["NaN", "Infinity", "-Infinity"]


def test_fields_that_a_later_version_added_are_passed_over() -> None:
    data = {**to_jsonable(Moments(1, 0.0, 1.0, 1.0)), "kurtosis": 3.0}
    assert from_jsonable(Moments, data) == Moments(1, 0.0, 1.0, 1.0)


def test_a_record_that_lacks_newer_fields_is_read_with_their_defaults() -> None:
    signal = ParameterSignal("w", (2,), "float32", True, Moments(2, 0.0, 1.0, 1.0), None, 1.0)
    data = to_jsonable(signal)
    del data["subnormal"]
    assert from_jsonable(ParameterSignal, data) == signal


def test_a_report_is_healthy_without_findings_and_raises_with_them() -> None:
    report = Report("M", "batch", None, (), (), ())
    assert report.healthy
    report.assert_healthy()
    finding = Finding("GI101", "Title", "error", ("w",), "count", 1.0, None, None, "Cause.", "cure()")
    sick = dataclasses.replace(report, findings=(finding,))
    assert not sick.healthy
    with pytest.raises(UnhealthyError, match=r"(?s)M is not healthy:.*GI101 Title: Cause\. Cure: cure\(\)"):
        sick.assert_healthy()


def test_a_verification_is_true_if_every_row_passed() -> None:
    good, bad = RowCheck("a", True, "t", 0.5, ""), RowCheck("b", False, "t", 0.0, "")
    assert Verification((good,), 1e-6)
    outcome = Verification((good, bad), 1e-6)
    assert not outcome
    assert outcome.failures == (bad,)


@pytest.mark.parametrize(
    "record",
    [
        Report("M", "batch", None, (), (), ()),
        Verification((), 1e-6),
        PlanRecord("M", "recipe", (RowRecord("w", (2,), "Normal(std=1.0)", 0.0, 1.0, None, None, ""),)),
    ],
)
def test_records_show_themselves_with_rich(record: Any) -> None:
    stream = io.StringIO()
    Console(width=80, file=stream).print(record)
    assert stream.getvalue().strip()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:300], "no JSON, or cut short"),
        (lambda text: "", "no JSON, or cut short"),
        (lambda text: "[]", "expected the JSON of a goodinit report, found a list"),
        (
            lambda text: text.replace('"report"', '"plan"', 1),
            "expected the JSON of a goodinit report, found plan",
        ),
        (lambda text: text.replace('"model"', '"modle"', 1), "is damaged"),
        (lambda text: json.dumps(json.loads(text) | {"layers": "abc"}), "is damaged"),
        (lambda text: json.dumps(json.loads(text) | {"findings": None}), "is damaged .null in place of"),
    ],
)
def test_text_that_is_no_whole_report_is_one_error(change: Callable[[str], str], words: str) -> None:
    text = goodinit.check(nn.Linear(2, 2)).to_json()
    with pytest.raises(ArgumentError, match=f"text: .*{words}"):
        Report.from_json(change(text))


def test_fields_of_a_later_version_are_left_out() -> None:
    report = goodinit.check(nn.Linear(2, 2))
    value = json.loads(report.to_json())
    value["layers"][0]["later"] = value["later"] = 1
    assert Report.from_json(json.dumps(value)) == report
