"""`goodinit compare` and `goodinit lab` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from goodinit import lab
from goodinit.records import Comparison, ExperimentResult

SHORT = ("--steps", "6", "--seeds", "3", "--lr", "0.01")


@pytest.fixture
def points(tmp_path: Path) -> str:
    """A file of 40 examples for the model `mlp`: sixteen inputs, four outputs."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(40, 16, generator=draws)
    save_file({"x": x, "y": x[:, :4] * 2}, tmp_path / "points.safetensors")
    return "points.safetensors"


def test_plans_are_compared_on_a_file_and_the_outcome_is_written(
    run: Any, points: str, tmp_path: Path
) -> None:
    outcome = run(
        "compare", "models.py:mlp", "--data", points, "--loss", "mse", *SHORT, "-p", "torch",
        "-p", "he=kaiming_normal", "--out", "found.json", "--html", "found.html",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = Comparison.from_json((tmp_path / "found.json").read_text())
    assert found.plans == ("torch", "he")
    assert len(found.runs) == 6
    assert outcome.out.startswith(found.conclusions[0][:40])
    assert found.conclusions[0] in (tmp_path / "found.html").read_text()


def test_a_file_may_hold_a_tensor_for_each_argument(run: Any, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from torch import nn\n\n\n"
        "class Two(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = nn.Linear(3, 1), nn.Linear(2, 1)\n\n"
        "    def forward(self, left, right):\n"
        "        return self.a(left) + self.b(right)\n"
    )
    draws = torch.Generator().manual_seed(0)
    parts = {
        name: torch.randn(40, size, generator=draws) for name, size in (("right", 2), ("left", 3), ("y", 1))
    }
    save_file(parts, tmp_path / "two.safetensors")
    outcome = run("compare", "two.py:Two", "-d", "two.safetensors", *SHORT, "-p", "torch", "--json")
    assert outcome.code == 0, outcome.err
    save_file({name: parts[name] for name in ("left", "y")}, tmp_path / "two.safetensors")
    outcome = run("compare", "two.py:Two", "-d", "two.safetensors", *SHORT)
    assert outcome.code == 2
    assert "a tensor for each argument, and y" in outcome.err
    save_file({"left": parts["left"]}, tmp_path / "two.safetensors")
    assert "must hold the targets y" in run("compare", "two.py:Two", "-d", "two.safetensors", *SHORT).err


def test_the_decay_of_matrices_alone_is_an_option(run: Any, points: str) -> None:
    command = ("compare", "models.py:mlp", "-d", points, "--loss", "mse", *SHORT, "-p", "torch", "--json")
    told = json.loads(run(*command, "--weight-decay", "0.1", "--decay", "matrices").out)
    assert "weight_decay=0.1 (not of" in told["settings"]["optimizer"]
    assert "give both" in run(*command, "--decay", "matrices").err


def test_json_alone_is_printed_and_equals_a_second_run(run: Any, points: str) -> None:
    texts = [
        run("compare", "models.py:mlp", "-d", points, "--loss", "mse", *SHORT, "--json").out for _ in "ab"
    ]
    assert texts[0] == texts[1]
    assert Comparison.from_json(texts[0]).plans == ("torch", "auto")


def test_what_a_recipe_keeps_differs_between_seeds(run: Any, points: str) -> None:
    text = run("compare", "models.py:mlp", "-d", points, "--loss", "mse", *SHORT, "-p", "torch", "--json").out
    starts = {member.train[0] for member in Comparison.from_json(text).runs}
    assert len(starts) == 3


def test_a_plan_file_is_a_plan(run: Any, points: str) -> None:
    assert run("plan", "models.py:mlp", "-r", "xavier_normal", "--out", "mine.json").code == 0
    outcome = run(
        "compare", "models.py:mlp", "-d", points, "--loss", "mse", *SHORT, "-p", "mine.json", "-p", "auto"
    )
    assert outcome.code == 0, outcome.err
    assert "mine" in outcome.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("-d", "sfour"), "s4"),
        (("-d", "none.safetensors"), "no such file"),
        (("-p", "torch", "-p", "torch"), "label 'torch' is taken"),
        (("-p", "toch"), "torch"),
        (("--seeds", "0"), "seeds"),
        (("--steps", "0"), "steps"),
        (("--workers", "0"), "--workers 0"),
        (("--optimizer", "sdg"), "sgd"),
        (("--loss", "mes"), "mse"),
    ],
)
def test_bad_input_is_refused_with_one_line_and_nothing_is_written(
    run: Any, points: str, tmp_path: Path, change: tuple[str, ...], words: str
) -> None:
    command = [
        "compare",
        "models.py:mlp",
        "-d",
        points,
        "--loss",
        "mse",
        *SHORT,
        "--out",
        "found.json",
        *change,
    ]
    outcome = run(*command)
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "found.json").exists()


def test_the_experiments_are_listed_with_their_titles(run: Any) -> None:
    shown = run("lab", "list")
    assert shown.code == 0
    for name in lab.names():
        assert name in shown.out
    listed = json.loads(run("lab", "list", "--json").out)
    assert [each["name"] for each in listed] == list(lab.names())
    assert all(each["question"] for each in listed)


def test_an_experiment_runs_and_is_written_as_a_page_and_as_json(run: Any, tmp_path: Path) -> None:
    outcome = run("lab", "run", "xavier-by-hand", "--size", "small", "--html", "x.html", "--out", "x.json")
    assert outcome.code == 0, outcome.err
    result = ExperimentResult.from_json((tmp_path / "x.json").read_text())
    assert result.size == "small"
    assert result.title in (tmp_path / "x.html").read_text()
    assert result.answer[0].split()[0] in outcome.out


def test_an_unknown_experiment_is_refused_with_the_nearest_name(run: Any) -> None:
    outcome = run("lab", "run", "xavier-by-hant")
    assert outcome.code == 2
    assert "xavier-by-hand" in outcome.err


def test_all_goes_on_where_it_stopped(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodinit.lab._NAMES", ("xavier-by-hand", "garbage"))
    first = lab.run("xavier-by-hand", "small")
    (tmp_path / "found").mkdir()
    marked = first.to_json().replace(json.dumps(first.title), json.dumps("kept from before"))
    (tmp_path / "found" / "xavier-by-hand.json").write_text(marked)
    assert run("lab", "all", "--size", "small", "--out", "found").code == 0
    assert (tmp_path / "found" / "garbage.html").is_file()
    assert "kept from before" in (tmp_path / "found" / "xavier-by-hand.html").read_text()
    assert run("lab", "all", "--size", "small", "--out", "found", "--again").code == 0
    assert "kept from before" not in (tmp_path / "found" / "xavier-by-hand.html").read_text()


def test_a_file_that_is_no_result_is_not_overwritten(run: Any, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "xavier-by-hand.json").write_text("mine")
    outcome = run("lab", "all", "--size", "small", "--out", "found")
    assert outcome.code == 2
    assert "xavier-by-hand.json" in outcome.err
    assert (tmp_path / "found" / "xavier-by-hand.json").read_text() == "mine"
