"""Findings as SARIF: what the standard requires, what GitHub asks for beyond it, and nothing made up."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.records import Baseline, Finding, Report
from goodinit.report import to_sarif
from goodinit.report.rules import RULES

ROOT = Path(__file__).resolve().parent.parent.parent
Make = Callable[..., Finding]

# From the published schema (OASIS, sarif-schema-2.1.0.json, errata 01), for the objects that we write:
# what is required, and what else is allowed. All of them forbid further properties.
SHAPES: dict[str, tuple[set[str], set[str]]] = {
    "sarifLog": ({"version", "runs"}, {"$schema", "inlineExternalProperties", "properties"}),
    "run": ({"tool"}, {"invocations", "results", "columnKind", "properties", "automationDetails"}),
    "tool": ({"driver"}, {"extensions", "properties"}),
    "toolComponent": ({"name"}, {"version", "rules", "informationUri", "fullName", "properties"}),
    "reportingDescriptor": (
        {"id"},
        {
            *("name", "shortDescription", "fullDescription", "defaultConfiguration"),
            *("helpUri", "help", "properties", "messageStrings"),
        },
    ),
    "reportingConfiguration": (set(), {"enabled", "level", "rank", "parameters", "properties"}),
    "multiformatMessageString": ({"text"}, {"markdown", "properties"}),
    "message": ({"text"}, {"markdown", "id", "arguments", "properties"}),
    "invocation": ({"executionSuccessful"}, {"toolExecutionNotifications", "exitCode", "properties"}),
    "notification": ({"message"}, {"level", "locations", "properties"}),
    "result": (
        {"message"},
        {
            *("ruleId", "ruleIndex", "kind", "level", "locations", "partialFingerprints"),
            *("baselineState", "suppressions", "properties"),
        },
    ),
    "location": (set(), {"physicalLocation", "logicalLocations", "message", "properties"}),
    "physicalLocation": ({"artifactLocation"}, {"region", "contextRegion", "properties"}),
    "artifactLocation": (set(), {"uri", "uriBaseId", "index", "properties"}),
    "region": (set(), {"startLine", "startColumn", "endLine", "endColumn", "properties"}),
    "logicalLocation": (set(), {"name", "fullyQualifiedName", "kind", "index", "properties"}),
    "suppression": ({"kind"}, {"status", "justification", "location", "properties"}),
}
# Property -> the kind of object under it.
UNDER = {
    "runs": "run",
    "tool": "tool",
    "driver": "toolComponent",
    "rules": "reportingDescriptor",
    "defaultConfiguration": "reportingConfiguration",
    "shortDescription": "multiformatMessageString",
    "fullDescription": "multiformatMessageString",
    "help": "multiformatMessageString",
    "message": "message",
    "invocations": "invocation",
    "toolExecutionNotifications": "notification",
    "results": "result",
    "locations": "location",
    "physicalLocation": "physicalLocation",
    "artifactLocation": "artifactLocation",
    "region": "region",
    "logicalLocations": "logicalLocation",
    "suppressions": "suppression",
}
WORDS = {
    "version": None,
    "level": {"none", "note", "warning", "error"},
    "kind": None,
    "baselineState": {"new", "unchanged", "updated", "absent"},
    "status": {"accepted", "underReview", "rejected"},
    "columnKind": {"utf16CodeUnits", "unicodeCodePoints"},
}


def faults(value: Any, shape: str = "sarifLog", place: str = "log") -> list[str]:
    """What in a log breaks the schema."""
    required, allowed = SHAPES[shape]
    found = [f"{place}: no {name}" for name in required - value.keys()]
    found += [f"{place}: {name} is not allowed" for name in value.keys() - required - allowed]
    for name, item in value.items():
        words = WORDS.get(name)
        if words and item not in words:
            found.append(f"{place}.{name}: {item!r}")
        if name in UNDER:
            items = item if isinstance(item, list) else [item]
            for index, each in enumerate(items):
                found += faults(each, UNDER[name], f"{place}.{name}[{index}]")
            if name in ("rules", "logicalLocations", "suppressions"):
                texts = [json.dumps(each, sort_keys=True) for each in items]
                found += [f"{place}.{name}: not unique"] if len(set(texts)) < len(texts) else []
    if shape == "sarifLog" and value.get("version") != "2.1.0":
        found.append(f"{place}.version: {value.get('version')!r}")
    if shape == "result" and value.get("kind") != "fail":
        found.append(f"{place}.kind: only a failure has a level")
    if shape == "result" and not all(isinstance(each, str) for each in value["partialFingerprints"].values()):
        found.append(f"{place}.partialFingerprints: not texts")
    if shape == "suppression" and value.get("kind") not in ("inSource", "external"):
        found.append(f"{place}.kind: {value.get('kind')!r}")
    if shape == "region" and value.get("startLine", 1) < 1:
        found.append(f"{place}.startLine: {value['startLine']}")
    return found


def report(*found: Finding, **changes: Any) -> Report:
    return dataclasses.replace(Report("Net", "given", None, (), (), found), **changes)


def run_of(*arguments: Any, **options: Any) -> dict[str, Any]:
    log = json.loads(to_sarif(*arguments, **options))
    assert faults(log) == []
    run: dict[str, Any] = log["runs"][0]
    return run


def test_the_hand_written_check_catches_planted_faults(found: Make) -> None:
    text = to_sarif(report(found()), source="net.py")
    plants: list[tuple[Callable[[Any], Any], str]] = [
        (lambda log: log.update(version="2.0.0"), "log.version: '2.0.0'"),
        (lambda log: log.pop("runs"), "log: no runs"),
        (lambda log: log["runs"][0].update(model="Net"), "log.runs[0]: model is not allowed"),
        (lambda log: log["runs"][0]["tool"]["driver"].pop("name"), "log.runs[0].tool[0].driver[0]: no name"),
        (
            lambda log: log["runs"][0]["invocations"][0].clear(),
            "log.runs[0].invocations[0]: no executionSuccessful",
        ),
        (lambda log: log["runs"][0]["results"][0].pop("message"), "log.runs[0].results[0]: no message"),
        (
            lambda log: log["runs"][0]["results"][0].update(level="fatal"),
            "log.runs[0].results[0].level: 'fatal'",
        ),
        (
            lambda log: log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].update(
                startLine=0
            ),
            "log.runs[0].results[0].locations[0].physicalLocation[0].region[0].startLine: 0",
        ),
    ]
    for plant, said in plants:
        log = json.loads(text)
        assert faults(log) == []
        plant(log)
        assert faults(log) == [said]


def test_a_result_names_rule_level_layers_and_fingerprint(found: Make) -> None:
    one = found()
    run = run_of(report(found(code="GI102", title="Vanishing signal", severity="warning"), one))
    result = run["results"][1]
    assert (result["ruleId"], result["level"]) == ("GI104", "error")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "GI104"
    assert [each["fullyQualifiedName"] for each in result["locations"][0]["logicalLocations"]] == list(
        one.where
    )
    assert result["locations"][0]["logicalLocations"][0]["name"] == "linear"
    assert result["partialFingerprints"]["goodinitFinding/v1"] == one.fingerprint
    assert result["properties"]["effect"] == one.effect
    text = result["message"]["text"]
    assert text.startswith(one.cause)
    assert "8.3e-09 (1.92e-10 to 3.58e-07); healthy: 0.00053 to 393" in text
    assert text.endswith('Cure: goodinit.initialize(model, "kaiming_normal").')


def test_parameters_are_members_and_layers_are_modules(found: Make, sample: Callable[..., Report]) -> None:
    where = ("blocks.0.linear.weight", "blocks.0.linear")
    run = run_of(dataclasses.replace(sample(), findings=(found(where=where),)))
    places = run["results"][0]["locations"][0]["logicalLocations"]
    assert [each["kind"] for each in places] == ["member", "module"]


@pytest.mark.parametrize(
    ("severity", "level"), [("error", "error"), ("warning", "warning"), ("note", "note"), ("odd", "warning")]
)
def test_severities_are_levels(found: Make, severity: str, level: str) -> None:
    run = run_of(report(found(severity=severity)))
    assert run["results"][0]["level"] == level
    assert run["tool"]["driver"]["rules"][0]["defaultConfiguration"]["level"] == level


def test_a_rule_is_listed_once_with_its_gravest_level_and_links_to_its_section(found: Make) -> None:
    two = report(found(severity="warning", where=("a",)), found(where=("b",)))
    rules = run_of(two, docs="https://example.org/docs/")["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["GI104"]
    assert rules[0]["defaultConfiguration"]["level"] == "error"
    assert rules[0]["name"] == "VanishingGradient"
    assert rules[0]["helpUri"] == "https://example.org/docs/findings.md#gi104"
    assert rules[0]["helpUri"] in rules[0]["help"]["markdown"]
    # helpUri must be a whole address, so without documentation on the network there is none.
    (local,) = run_of(two, docs="")["tool"]["driver"]["rules"]
    assert "helpUri" not in local
    assert "docs/findings.md#gi104" in local["help"]["text"]


def test_every_code_of_the_documentation_has_its_rule() -> None:
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (GI\d+)$", page, re.MULTILINE))
    assert sections
    assert sections - RULES.keys() == set()
    assert all(text.endswith(".") and len(text) < 400 for text in RULES.values())


def test_a_code_of_a_later_release_explains_itself(found: Make) -> None:
    (rule,) = run_of(report(found(code="GI999", title="A new thing")))["tool"]["driver"]["rules"]
    assert rule["shortDescription"]["text"] == "A new thing"
    assert found().cause in rule["fullDescription"]["text"]


def test_a_source_makes_the_physical_location_that_github_needs(found: Make) -> None:
    result = run_of(report(found()), source="my nets/net#1.py", line=12)["results"][0]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20nets/net%231.py"
    assert unquote(place["artifactLocation"]["uri"]) == "my nets/net#1.py"
    assert place["region"] == {"startLine": 12}
    assert "physicalLocation" not in run_of(report(found()))["results"][0]["locations"][0]


@pytest.mark.parametrize("source", ["/abs/net.py", "../net.py", "a/../../net.py", ""])
def test_a_source_outside_the_repository_is_refused(found: Make, source: str) -> None:
    with pytest.raises(ArgumentError, match="relative to the repository's root"):
        to_sarif(report(found()), source=source)


def test_a_line_before_the_first_is_refused(found: Make) -> None:
    with pytest.raises(ArgumentError, match="line: counted from 1, found 0"):
        to_sarif(report(found()), source="net.py", line=0)


def test_a_baseline_marks_every_result(found: Make) -> None:
    known, worse = found(code="GI102"), found(code="GI106", severity="warning")
    accepted = report(known, worse).baseline()
    accepted = Baseline(
        "Net", (dataclasses.replace(accepted.findings[0], why="by design"), accepted.findings[1])
    )
    now = report(found(), known, found(code="GI106"))
    results = run_of(now, since=now.against(accepted))["results"]
    assert [each["baselineState"] for each in results] == ["new", "unchanged", "updated"]
    assert [each["suppressions"] for each in results] == [
        [],
        [{"kind": "external", "status": "accepted", "justification": "by design"}],
        [],
    ]
    assert all("baselineState" not in each and "suppressions" not in each for each in run_of(now)["results"])


def test_nothing_a_name_or_cure_holds_becomes_a_placeholder_or_a_link(found: Make) -> None:
    hostile = found(
        where=("[x](https://example.org)", "<script>"),
        cause="At '[x](1)' the scale {0} is off.",
        cure='plan(model, overrides={"*.weight": keep})',
    )
    text = run_of(report(hostile))["results"][0]["message"]["text"]
    # A brace that stands alone would open a placeholder (section 3.11.5).
    assert "{" not in text.replace("{{", "").replace("}}", "")
    assert text.replace("{{", "{").replace("}}", "}").endswith(f"Cure: {hostile.cure}.")
    assert re.findall(r"(?<!\\)\[[^\]]*\]\(", text) == []
    rule = run_of(report(dataclasses.replace(hostile, code="GI999")), docs="")["tool"]["driver"]["rules"][0]
    assert re.findall(r"(?<!\\)\[[^\]]*\]\(", rule["help"]["markdown"]) == []


def test_what_is_not_finite_is_standard_json(found: Make) -> None:
    odd = found(effect=float("nan"), interval=(float("-inf"), float("inf")), expected=None)
    text = to_sarif(report(odd))
    result = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["runs"][0][
        "results"
    ][0]
    assert result["properties"]["effect"] == "NaN"
    assert "NaN (-∞ to ∞)" in result["message"]["text"]


def test_notes_are_notifications_and_the_model_is_a_property() -> None:
    run = run_of(report(notes=("Not judged {0}.",), versions={"torch": "2.13.0"}))
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note == {"level": "note", "message": {"text": "Not judged {{0}}."}}
    assert run["properties"] == {"model": "Net", "batch": "given", "versions": {"torch": "2.13.0"}}
    assert run["results"] == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.from_type(Finding), max_size=4), st.booleans())
def test_whatever_a_report_holds_makes_a_valid_log(found: list[Finding], compared: bool) -> None:
    made = report(*found)
    since = made.against(report(*found[1:]).baseline()) if compared else None
    assert faults(json.loads(to_sarif(made, source="net.py", since=since))) == []


def test_equal_reports_give_equal_text_also_from_json_and_by_the_method(found: Make) -> None:
    made = report(found(), found(code="GI106"))
    assert made.to_sarif(source="net.py", line=3) == to_sarif(
        Report.from_json(made.to_json()), source="net.py", line=3
    )
