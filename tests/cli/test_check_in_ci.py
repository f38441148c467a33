"""`goodinit check` in CI: baselines, exit codes, SARIF and HTML, and an earlier report to compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goodinit.cli import main
from goodinit.cli.locating import place_of
from goodinit.cli.model_source import load_model
from goodinit.records import Baseline, Report

MORE = '''
"""Models with known faults."""
import torch
from torch import nn
from models import mlp

def equal():
    """A warning: all units of one layer are equal, and the next layer will part them."""
    model = mlp()
    nn.init.constant_(model[0].weight, 0.1)
    return model

def both():
    model = equal()
    nn.init.constant_(model[2].weight, 0.1)
    return model

def broken():
    """An error: a value that no initialization gives."""
    model = mlp()
    nn.init.constant_(model[0].weight[0], 1e9)
    return model

def flat():
    """A warning: saturated units."""
    model = nn.Sequential(nn.Linear(16, 64), nn.Sigmoid(), nn.Linear(64, 4))
    nn.init.normal_(model[0].weight, std=30.0)
    return model

ready = mlp()
'''


@pytest.fixture(autouse=True)
def more(run: Any, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(MORE)


def codes(name: str, run: Any) -> set[str]:
    return {finding.code for finding in Report.from_json(run("check", name, "--json").out).findings}


def test_the_planted_faults_are_what_the_tests_below_take_them_for(run: Any) -> None:
    assert codes("models.py:mlp", run) == set()
    assert "GI110" in codes("more.py:equal", run)
    report = Report.from_json(run("check", "more.py:flat", "--json").out)
    assert {finding.severity for finding in report.findings} == {"warning"}


def test_a_baseline_makes_known_findings_pass_and_new_ones_fail(run: Any) -> None:
    assert run("check", "more.py:equal").code == 1
    written = run("check", "more.py:equal", "--write-baseline", "baseline.json")
    assert written.code == 0
    assert written.out.splitlines()[-1].startswith("wrote baseline.json: ")
    same = run("check", "more.py:equal", "--baseline", "baseline.json")
    assert (same.code, same.out.splitlines()[0][:36]) == (0, "Sequential: nothing new since the ba")
    other = run("check", "more.py:both", "--baseline", "baseline.json")
    assert other.code == 1
    assert "GI110" in other.out
    assert "2.weight" in other.out


def test_what_is_gone_is_told_and_leaves_the_file_when_it_is_written_again(run: Any) -> None:
    run("check", "more.py:equal", "--write-baseline", "baseline.json")
    fixed = run("check", "models.py:mlp", "--baseline", "baseline.json")
    assert fixed.code == 0
    assert "gone  GI110 Units that start equal  0.weight" in fixed.out
    assert "add: --write-baseline baseline.json" in fixed.out
    again = ("--baseline", "baseline.json", "--write-baseline", "baseline.json")
    assert run("check", "models.py:mlp", *again).code == 0
    assert Baseline.load("baseline.json").findings == ()


def test_reasons_in_the_baseline_stay_when_it_is_written_again(run: Any) -> None:
    run("check", "more.py:equal", "--write-baseline", "baseline.json")
    value = json.loads(Path("baseline.json").read_text())
    for entry in value["findings"]:
        entry["why"] = f"reason of {entry['code']}"
    Path("baseline.json").write_text(json.dumps(value))
    run("check", "more.py:equal", "--baseline", "baseline.json", "--write-baseline", "new.json")
    assert [e.why for e in Baseline.load("new.json").findings] == [e["why"] for e in value["findings"]]
    assert "(reason of GI110)" in run("check", "more.py:equal", "--baseline", "new.json").out


def test_json_holds_the_report_and_the_comparison(run: Any) -> None:
    run("check", "models.py:mlp", "--write-baseline", "baseline.json")
    outcome = run("check", "more.py:equal", "--baseline", "baseline.json", "--json")
    assert outcome.code == 1
    value = json.loads(outcome.out)
    assert "GI110" in {each["code"] for each in value["since_baseline"]["new"]}
    assert Report.from_json(outcome.out).findings
    assert "since_baseline" not in json.loads(run("check", "models.py:mlp", "--json").out)


def test_fail_on_error_lets_warnings_pass_and_still_shows_them(run: Any) -> None:
    assert run("check", "more.py:flat").code == 1
    lenient = run("check", "more.py:flat", "--fail-on", "error")
    assert lenient.code == 0
    assert "GI109" in lenient.out
    assert run("check", "more.py:broken", "--fail-on", "error").code == 1
    run("check", "models.py:mlp", "--write-baseline", "baseline.json")
    against = ("--baseline", "baseline.json", "--fail-on")
    assert run("check", "more.py:flat", *against, "warning").code == 1
    assert run("check", "more.py:flat", *against, "error").code == 0


def test_the_whole_report_comes_first_with_full(run: Any) -> None:
    run("check", "more.py:broken", "--write-baseline", "baseline.json")
    lines = run("check", "more.py:broken", "--baseline", "baseline.json", "--full").out.splitlines()
    assert lines[0].startswith("Sequential is not healthy")
    assert any(line.startswith("Sequential: nothing new") for line in lines)


def test_sarif_points_at_the_callable(run: Any, tmp_path: Path) -> None:
    outcome = run("check", "more.py:equal", "--sarif", "ci/goodinit.sarif")
    assert outcome.code == 1
    assert outcome.out.rstrip().endswith("wrote ci/goodinit.sarif")
    log = json.loads((tmp_path / "ci" / "goodinit.sarif").read_text())
    results = log["runs"][0]["results"]
    assert "GI110" in {result["ruleId"] for result in results}
    place = results[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "more.py"
    assert MORE.splitlines()[place["region"]["startLine"] - 1] == "def equal():"
    assert "baselineState" not in results[0]


def test_sarif_marks_what_the_baseline_has(run: Any) -> None:
    run("check", "more.py:equal", "--write-baseline", "baseline.json")
    run("check", "more.py:equal", "--baseline", "baseline.json", "--sarif", "goodinit.sarif")
    results = json.loads(Path("goodinit.sarif").read_text())["runs"][0]["results"]
    assert results
    assert {result["baselineState"] for result in results} == {"unchanged"}


def test_html_is_one_page_with_the_earlier_report_beside_it(run: Any) -> None:
    run("check", "more.py:equal", "--out", "old.json")
    plain = run("check", "models.py:mlp", "--html", "plain.html")
    compared = run("check", "models.py:mlp", "--html", "compared.html", "--before", "old.json")
    assert (plain.code, compared.code) == (0, 0)
    assert "since the earlier report: gone: " in compared.out
    assert "GI110" in compared.out
    one, other = Path("plain.html").read_text(), Path("compared.html").read_text()
    assert one.startswith("<!DOCTYPE html>")
    assert "GI110" not in one
    assert "GI110" in other


def test_quiet_writes_its_files_and_says_nothing(run: Any) -> None:
    outcome = run(
        "check", "more.py:equal", "--quiet", "--sarif", "s.sarif", "--html", "r.html", "--out", "r.json"
    )
    assert (outcome.code, outcome.out) == (1, "")
    assert all(Path(name).is_file() for name in ("s.sarif", "r.html", "r.json"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("--baseline", "{", "bad.json: baseline: not JSON"),
        ("--baseline", '{"goodinit": "report"}', "bad.json: baseline: this file holds a goodinit report"),
        ("--before", "{", "--before bad.json: this is no report (text: no JSON, or cut short"),
        ("--before", "[]", "--before bad.json: this is no report"),
        ("--before", '{"goodinit": "plan"}', "found plan); write one with `goodinit check MODEL --out"),
        ("--before", '{"goodinit": "report"}', "--before bad.json: this is no report"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_line(
    run: Any, name: str, text: str, message: str
) -> None:
    Path("bad.json").write_text(text)
    outcome = run("check", "models.py:mlp", name, "bad.json")
    assert outcome.code == 2
    assert message in outcome.line


def test_two_outputs_in_one_file_are_refused_before_anything_is_written(run: Any) -> None:
    outcome = run("check", "models.py:mlp", "--out", "r.json", "--sarif", "./r.json")
    assert outcome.code == 2
    assert "--out and --sarif name the same file r.json" in outcome.line
    assert not Path("r.json").exists()


def test_an_output_that_cannot_be_written_names_its_option(run: Any) -> None:
    Path("file").write_text("")
    outcome = run("check", "models.py:mlp", "--html", "file/report.html")
    assert outcome.code == 2
    assert "--html file/report.html: cannot write: " in outcome.line


def test_the_help_text_tells_of_the_options_and_of_ci(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--html", "--sarif", "--before", "--baseline", "--write-baseline", "--fail-on"):
        assert f"  {option} " in text
    assert "    goodinit check models.py:build --baseline baseline.json --sarif goodinit.sarif\n" in text
    assert max(map(len, text.splitlines())) <= 84


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("more.py:equal", ("more.py", "def equal():")),
        ("./more.py:equal", ("more.py", "def equal():")),
        ("models.py:Makers.mlp", ("models.py", "    @staticmethod")),
        ("models.py:Scaled", ("models.py", "class Scaled(nn.Module):")),
        ("more.py:mlp", ("models.py", "def mlp():")),  # where it is defined, not where it is imported
        ("more.py:ready", ("more.py", "")),
    ],
)
def test_a_callable_is_located_where_it_is_written(run: Any, source: str, place: tuple[str, str]) -> None:
    load_model(source)
    found = place_of(source)
    assert found is not None
    assert found[0] == Path(place[0])
    assert found[0].read_text().splitlines()[found[1] - 1] == place[1]


def test_what_has_no_file_here_has_no_place(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model("more.py:equal")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert place_of("more.py:equal") is None
    assert place_of("transformers:gpt2") is None
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    assert place_of("transformers:config.json") == (Path("config.json"), 1)
