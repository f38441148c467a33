"""`goodinit plan`, `goodinit diff` and `goodinit recipes`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goodinit import Plan
from goodinit.initializers import Constant, Normal
from goodinit.recipes import RECIPES


def test_the_plan_is_shown_with_its_reasons(run: Any) -> None:
    outcome = run("plan", "models.py:mlp")
    assert outcome.code == 0
    assert outcome.out.startswith("Plan of Sequential by recipe auto.")
    assert "weight (matmul, 16→32); reads the data" in " ".join(outcome.out.split())
    assert outcome.out.rstrip().endswith("4 parameters, 676 elements.")


def test_nothing_is_wider_than_the_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (("plan", "models.py:mlp"), ("check", "models.py:deep"), ("verify", "models.py:mlp")):
        lines = run(*arguments).out.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80


def test_json_is_the_plan_and_nothing_else(run: Any) -> None:
    outcome = run("plan", "models.py:mlp", "--recipe", "orthogonal", "--json")
    assert Plan.from_json(outcome.out).recipe == "orthogonal"


def test_a_saved_plan_is_the_shown_one(run: Any, tmp_path: Path) -> None:
    outcome = run("plan", "models.py:mlp", "--out", "new/plan.json")
    assert outcome.out.rstrip().endswith("wrote new/plan.json")
    shown = run("plan", "models.py:mlp", "--json").out
    assert Plan.load(tmp_path / "new" / "plan.json") == Plan.from_json(shown)


def test_overrides_are_carried_out_and_the_later_one_wins(run: Any) -> None:
    outcome = run("plan", "models.py:mlp", "-o", "*.weight=Normal(std=0.5)", "-o", "2.weight=0.25", "--json")
    plan = Plan.from_json(outcome.out)
    assert plan["0.weight"].initializer == Normal(std=0.5)
    assert plan["2.weight"].initializer == Constant(0.25)


def test_quiet_prints_nothing(run: Any) -> None:
    outcome = run("plan", "models.py:mlp", "--quiet")
    assert (outcome.code, outcome.out) == (0, "")


def test_full_shows_every_row(run: Any) -> None:
    folded, full = run("plan", "models.py:deep"), run("plan", "models.py:deep", "--full")
    assert "14.weight" not in folded.out
    assert "14.weight" in full.out


def test_an_unknown_recipe_gets_the_nearest_name(run: Any) -> None:
    outcome = run("plan", "models.py:mlp", "--recipe", "kaimin_normal")
    assert outcome.code == 2
    assert outcome.line.startswith("goodinit: no recipe 'kaimin_normal' (did you mean 'kaiming_normal'?)")


def test_an_override_that_matches_nothing_is_refused(run: Any) -> None:
    outcome = run("plan", "models.py:mlp", "-o", "0.wieght=0")
    assert outcome.code == 2
    assert "override '0.wieght' matches no parameter (did you mean '0.weight'?)" in outcome.line


def test_uncovered_parameters_are_listed_with_the_cure_for_this_place(run: Any) -> None:
    outcome = run("plan", "models.py:Scaled", "-r", "torch")
    assert outcome.code == 2
    assert "scale  (4,)" in outcome.err
    assert outcome.err.rstrip().endswith(
        "on the command line: --override 'NAME=Normal(std=0.02)', or --override NAME=keep"
    )
    assert run("plan", "models.py:Scaled", "-r", "torch", "--override", "scale=keep").code == 0


@pytest.mark.parametrize("target", ["folder", "models.py/plan.json"])
def test_a_file_that_cannot_be_written_is_said_in_one_line(run: Any, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    outcome = run("plan", "models.py:mlp", "--out", target)
    assert outcome.code == 2
    assert "--out" in outcome.line
    assert target in outcome.line


def test_diff_of_a_plan_with_itself_is_empty(run: Any) -> None:
    run("plan", "models.py:mlp", "--out", "a.json")
    outcome = run("diff", "a.json", "a.json")
    assert outcome.code == 0
    assert outcome.out == "The plans fill all 4 parameters alike.\n"


def test_diff_shows_what_changed_with_exit_code_1(run: Any) -> None:
    run("plan", "models.py:mlp", "--out", "a.json")
    run("plan", "models.py:mlp", "-o", "2.bias=0.5", "--out", "b.json")
    outcome = run("diff", "a.json", "b.json")
    assert outcome.code == 1
    assert outcome.out.startswith("1 of 4 parameters differs.")
    assert outcome.out.split()[-3:] == ["2.bias", "Constant(value=0.0)", "Constant(value=0.5)"]
    value = json.loads(run("diff", "a.json", "b.json", "--json").out)
    assert [(each["name"], each["b"]["initializer"]["value"]) for each in value["differences"]] == [
        ("2.bias", 0.5)
    ]


def test_diff_names_missing_parameters_and_other_shapes(run: Any) -> None:
    run("plan", "models.py:mlp", "--out", "a.json")
    run("plan", "models.py:ready", "--out", "b.json")
    run("plan", "models.py:deep", "--out", "c.json")
    assert "no such parameter" in run("diff", "a.json", "b.json").out
    assert "shape (32, 16)" in run("diff", "a.json", "c.json").out


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("{}", "no goodinit plan"), ('{"goodinit": "plan", "format": 99}', "reads format")],
)
def test_an_unreadable_plan_is_said_in_one_line(run: Any, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    for arguments in (
        ("diff", "bad.json", "bad.json"),
        ("apply", "models.py:mlp", "--plan", "bad.json", "--out", "w.safetensors"),
    ):
        outcome = run(*arguments)
        assert outcome.code == 2
        assert outcome.line.startswith("goodinit: bad.json: ")
        assert message in outcome.line


def test_the_recipes_are_listed_with_their_summaries(run: Any) -> None:
    outcome = run("recipes")
    assert [line.split()[0] for line in outcome.out.splitlines() if not line.startswith(" ")] == list(RECIPES)
    assert outcome.out.startswith("auto ")
    assert outcome.out.splitlines()[0].endswith("(the default)")
    assert json.loads(run("recipes", "--json").out) == {r.name: r.summary for r in RECIPES.values()}
