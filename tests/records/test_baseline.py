"""A baseline knows findings again by code and layers, and speaks up only where something is new or worse."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.errors import ArgumentError, UnhealthyError, WrongTypeError
from goodinit.records import Baseline, Finding, KnownFinding, Report, SinceBaseline

SEVERITIES = st.sampled_from(["note", "warning", "error"])
# Few codes and names, so that findings meet entries often.
findings = st.builds(
    Finding,
    code=st.sampled_from(["GI102", "GI104", "GI106"]),
    severity=SEVERITIES,
    where=st.lists(st.sampled_from(["a", "b.2", "b.10", "'\\\ud800{<"]), max_size=3).map(tuple),
    effect=st.floats(),
    interval=st.none() | st.tuples(st.floats(), st.floats()),
    expected=st.none() | st.tuples(st.floats(), st.floats()),
)


def finding(**changes: Any) -> Finding:
    made = Finding(
        "GI104",
        "Vanishing gradient",
        "warning",
        ("layers.2", "layers.10"),
        "first layer over last",
        1e-9,
        (1e-10, 1e-8),
        (1e-3, 1e3),
        "Too small.",
        "goodinit.initialize(model)",
    )
    return dataclasses.replace(made, **changes)


def report(*found: Finding) -> Report:
    return Report("Net", "given", None, (), (), found)


def since(now: Finding, before: Finding) -> SinceBaseline:
    return report(now).against(report(before).baseline())


def kind(now: Finding, before: Finding | None = None) -> str:
    """What a finding is, given the one that was accepted."""
    outcome = since(now, before or finding())
    return next(word for word in ("new", "worse", "known") if getattr(outcome, word))


@settings(max_examples=300, deadline=None)
@given(st.lists(findings, max_size=5))
def test_a_report_has_nothing_new_against_its_own_baseline(found: list[Finding]) -> None:
    own = report(*found)
    outcome = own.against(own.baseline())
    assert (outcome.new, outcome.worse, outcome.gone) == ((), (), ())
    assert [str(each) for each, _ in outcome.known] == [str(each) for each in found]
    assert outcome.nothing_new


@settings(max_examples=200, deadline=None)
@given(st.lists(findings, max_size=5), st.lists(findings, max_size=5), st.randoms(use_true_random=False))
def test_every_finding_is_new_or_worse_or_known_in_any_order(
    now: list[Finding], before: list[Finding], chance: random.Random
) -> None:
    def shuffled(found: list[Finding]) -> list[Finding]:
        mixed = [
            dataclasses.replace(each, where=tuple(chance.sample(each.where, len(each.where))))
            for each in found
        ]
        chance.shuffle(mixed)
        return mixed

    def named(outcome: SinceBaseline) -> list[list[str]]:
        groups = (outcome.new, [f for f, _ in outcome.worse], [f for f, _ in outcome.known])
        rows = [[f"{f.fingerprint} {f.severity} {f.effect}" for f in group] for group in groups]
        gone = [f"{entry.code} {sorted(entry.where)} {entry.effect}" for entry in outcome.gone]
        return [sorted(row) for row in (*rows, gone)]

    outcome = report(*now).against(report(*before).baseline())
    assert sum(map(len, (outcome.new, outcome.worse, outcome.known))) == len(now)
    again = report(*shuffled(now)).against(report(*shuffled(before)).baseline())
    assert named(again) == named(outcome)


@settings(max_examples=200, deadline=None)
@given(st.lists(findings, max_size=5))
def test_a_baseline_survives_its_file(found: list[Finding]) -> None:
    made = report(*found).baseline()
    text = made.to_json().encode("utf-8", "backslashreplace").decode()
    assert Baseline.from_json(text).to_json() == made.to_json()


def test_the_file_is_sorted_by_code_with_layers_in_their_order_and_short_numbers() -> None:
    second = finding(code="GI102", where=("layers.10", "layers.9", "layers.10"), effect=1.23456e-7)
    written = json.loads(report(finding(), second).baseline().to_json())
    assert [entry["code"] for entry in written["findings"]] == ["GI102", "GI104"]
    assert written["findings"][0]["where"] == ["layers.9", "layers.10"]
    assert written["findings"][0]["effect"] == 1.23e-7
    assert report(second, finding()).baseline() == report(finding(), second).baseline()


def test_the_fingerprint_is_of_code_and_layers_alone() -> None:
    known = finding()
    same = finding(
        where=("layers.10", "layers.2"), effect=3.0, severity="error", title="Other", cause="Other."
    )
    assert same.fingerprint == known.fingerprint
    assert finding(code="GI105").fingerprint != known.fingerprint
    assert finding(where=("layers.2",)).fingerprint != known.fingerprint
    # Names are kept apart: one name with a comma is not two.
    assert finding(where=('a", "b',)).fingerprint != finding(where=("a", "b")).fingerprint


def test_numbers_that_waver_are_known_and_an_order_of_magnitude_is_worse() -> None:
    assert kind(finding(effect=1.2e-10, interval=None)) == "known"
    assert kind(finding(effect=0.9e-10, interval=None)) == "worse"
    assert kind(finding(effect=1e-4, interval=None)) == "known"  # better


def test_an_effect_within_its_own_uncertainty_is_not_worse() -> None:
    assert kind(finding(effect=1e-11, interval=(1e-13, 1e-8))) == "known"
    assert kind(finding(effect=1e-11, interval=(1e-13, 1e-10))) == "worse"


@pytest.mark.parametrize(
    ("before", "now", "healthy", "expected"),
    [
        (50.0, 400.0, (0.1, 10.0), "known"),
        (50.0, 600.0, (0.1, 10.0), "worse"),
        (50.0, 1e-9, (0.1, 10.0), "worse"),  # the other side
        (3.0, 20.0, (0.0, 0.0), "known"),
        (3.0, 30.0, (0.0, 0.0), "worse"),
        (-2.0, -25.0, (-1.0, 1.0), "worse"),
        (-2.0, 2.0, (-1.0, 1.0), "worse"),
        (1e-5, 0.0, (1e-3, 1.0), "worse"),
        (0.0, 0.0, (1e-3, 1.0), "known"),
        (50.0, math.inf, (0.1, 10.0), "worse"),
        (math.inf, math.inf, (0.1, 10.0), "known"),
        (math.nan, math.nan, (0.1, 10.0), "known"),
        (50.0, math.nan, (0.1, 10.0), "worse"),
        (-99960.0, -99960.0, (-2e5, -1e5), "known"),  # rounded to the edge in the file
    ],
)
def test_worse_is_ten_times_further_outside_the_healthy_range(
    before: float, now: float, healthy: tuple[float, float], expected: str
) -> None:
    first = finding(effect=before, expected=healthy, interval=None)
    assert kind(finding(effect=now, expected=healthy, interval=None), first) == expected


def test_a_graver_severity_is_worse_and_a_milder_one_known() -> None:
    assert kind(finding(severity="error")) == "worse"
    assert kind(finding(severity="note")) == "known"
    assert kind(finding(severity="warning"), finding(severity="note")) == "worse"


def test_further_layers_are_worse_fewer_are_known_and_the_free_ones_are_gone() -> None:
    more, fewer = finding(where=("layers.2", "layers.10", "layers.11")), finding(where=("layers.2",))
    assert kind(more) == "worse"
    assert kind(fewer) == "known"
    assert [entry.where for entry in since(fewer, finding()).gone] == [("layers.10",)]
    assert since(more, finding()).gone == ()


def test_another_code_or_other_layers_are_new() -> None:
    assert kind(finding(code="GI105")) == "new"
    elsewhere = since(finding(where=("head",)), finding())
    assert elsewhere.new
    assert [entry.where for entry in elsewhere.gone] == [("layers.2", "layers.10")]


def test_two_entries_of_one_code_are_matched_by_layers() -> None:
    known = report(finding(where=("a",), effect=1e-4), finding(where=("b",), effect=1e-20)).baseline()
    outcome = report(finding(where=("b",), effect=1e-20, interval=None)).against(known)
    assert [entry.where for _, entry in outcome.known] == [("b",)]
    assert [entry.where for entry in outcome.gone] == [("a",)]


def test_a_new_note_is_told_but_nothing_to_act_on() -> None:
    outcome = report(finding(severity="note")).against(Baseline("Net", ()))
    assert outcome.new
    assert outcome.nothing_new
    outcome.assert_nothing_new()


def test_assert_nothing_new_passes_what_is_known_and_raises_the_rest() -> None:
    since(finding(), finding()).assert_nothing_new()
    with pytest.raises(UnhealthyError, match=r"(?s)1 new finding since the baseline.*GI105.*Too small"):
        since(finding(code="GI105"), finding()).assert_nothing_new()


def test_reasons_stay_with_their_findings_when_the_baseline_is_written_again() -> None:
    first = report(finding()).baseline()
    reasoned = Baseline("Net", (dataclasses.replace(first.findings[0], why="until May"),))
    again = report(finding(effect=1e-12), finding(code="GI105")).baseline(keep=reasoned)
    assert [entry.why for entry in again.findings] == ["until May", ""]
    assert report(finding(where=("head",))).baseline(keep=reasoned).findings[0].why == ""


def test_a_baseline_is_saved_loaded_and_taken_by_path(tmp_path: Path) -> None:
    path = report(finding()).baseline().save(tmp_path / "ci" / "baseline.json")
    assert Baseline.load(path) == report(finding()).baseline()
    assert report(finding()).against(path).nothing_new
    assert not report(finding(code="GI105")).against(str(path)).nothing_new


def test_what_is_no_baseline_is_refused_with_the_place_and_the_cure(tmp_path: Path) -> None:
    own = report(finding())
    with pytest.raises(WrongTypeError, match="expected a Baseline or the path of its file, got Report"):
        own.against(own)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"cannot read '.*none.json': No such file.*--write-baseline"):
        own.against(tmp_path / "none.json")
    with pytest.raises(ArgumentError, match="cannot write"):
        own.baseline().save(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nonsense", "not JSON"),
        ([], "holds something else"),
        ({"goodinit": "report"}, "holds a goodinit report; write one with"),
        ({"version": 2}, "version: expected 1, found 2"),
        ({"model": 3}, "a text 'model' and a list 'findings'"),
        ({"findings": {}}, "a text 'model' and a list 'findings'"),
        ({"findings": ["GI104"]}, r"findings\[0\]: expected an object with a 'code', found 'GI104'"),
    ],
)
def test_a_file_that_is_damaged_as_a_whole_is_refused(change: Any, message: str) -> None:
    text = change
    if isinstance(change, dict):
        text = {**json.loads(report(finding()).baseline().to_json()), **change}
    with pytest.raises(ArgumentError, match=message):
        Baseline.from_json(text if isinstance(text, str) else json.dumps(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": None}, r"findings\[0\].code: expected a text, found None"),
        ({"where": "layers.2"}, r"findings\[0\].where: expected a list of layer names, found 'layers.2'"),
        ({"where": [2]}, "where: expected a list of layer names"),
        ({"effect": "small"}, "effect: expected a number, found 'small'"),
        ({"effect": True}, "effect: expected a number, found True"),
        ({"expected": [1.0]}, "expected: expected two numbers or null"),
        ({"why": 3}, "why: expected a text, found 3"),
    ],
)
def test_a_damaged_entry_is_refused_with_its_place(change: dict[str, Any], message: str) -> None:
    value = json.loads(report(finding()).baseline().to_json())
    value["findings"][0].update(change)
    with pytest.raises(ArgumentError, match=message):
        Baseline.from_json(json.dumps(value))


def test_an_entry_written_by_hand_needs_no_reason_and_no_range() -> None:
    value = json.loads(report(finding()).baseline().to_json())
    del value["findings"][0]["why"], value["findings"][0]["expected"]
    entry = Baseline.from_json(json.dumps(value)).findings[0]
    assert (entry.why, entry.expected) == ("", None)
    # Without a range there is no telling how far outside it lies, so only layers and severity count.
    assert report(finding(effect=1e-30)).against(Baseline("Net", (entry,))).nothing_new


def test_a_comparison_survives_json() -> None:
    outcome = since(finding(code="GI105"), finding())
    outcome = dataclasses.replace(
        outcome, known=((finding(), KnownFinding("GI1", "t", "note", (), 1.0, None)),)
    )
    assert SinceBaseline.from_json(outcome.to_json()) == outcome
