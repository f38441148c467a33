"""`goodinit check`: the verdict, its exit code, and where the batch and the weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from goodinit import signals
from goodinit.cli.model_source import load_model
from goodinit.records import Report


def test_findings_give_exit_code_1_and_their_cure_gives_0(run: Any) -> None:
    sick, cured = run("check", "models.py:deep"), run("check", "models.py:deep", "--apply", "kaiming_normal")
    assert sick.code == 1
    assert sick.out.startswith("Sequential is not healthy")
    assert cured.code == 0
    assert cured.out.startswith("Sequential is healthy")


def test_json_is_the_report_also_with_findings_and_quiet_is_silent(run: Any) -> None:
    outcome = run("check", "models.py:deep", "--json")
    assert outcome.code == 1
    report = Report.from_json(outcome.out)
    assert report.findings
    assert "GI104" in {finding.code for finding in report.findings}
    quiet = run("check", "models.py:deep", "--quiet")
    assert (quiet.code, quiet.out) == (1, "")


def test_the_report_is_that_of_the_library(run: Any) -> None:
    shown = Report.from_json(run("check", "models.py:mlp", "--seed", 5, "--json").out)
    assert shown == signals.check(load_model("models.py:mlp", seed=5), seed=5)


def test_the_report_is_written_and_renders_again(run: Any, tmp_path: Path) -> None:
    outcome = run("check", "models.py:mlp", "--out", "reports/mlp.json")
    assert outcome.out.rstrip().endswith("wrote reports/mlp.json")
    report = Report.from_json((tmp_path / "reports" / "mlp.json").read_text())
    assert report.to_text().splitlines()[0] in outcome.out


def test_given_weights_are_checked_instead_of_the_built_ones(run: Any, tmp_path: Path) -> None:
    run("apply", "models.py:deep", "--out", "good.safetensors")
    assert run("check", "models.py:deep", "--weights", "good.safetensors").code == 0
    tensors = {name: tensor * 0.3 for name, tensor in load_model("models.py:deep").state_dict().items()}
    torch.save(tensors, tmp_path / "bad.pt")
    assert run("check", "models.py:deep", "--weights", "bad.pt").code == 1


def test_weights_that_do_not_fit_are_refused_with_names_and_shapes(run: Any) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    outcome = run("check", "models.py:deep", "--weights", "w.safetensors")
    assert outcome.code == 2
    assert "--weights w.safetensors does not fit Sequential: missing in the file: 4.weight" in outcome.line
    assert "0.weight (32, 16) in the file, (64, 16) in the model" in outcome.line


def test_a_batch_of_the_given_shape_is_drawn(run: Any) -> None:
    outcome = run("check", "models.py:mlp", "--batch", "32,16", "--json")
    assert Report.from_json(outcome.out).batch.startswith("float32(32, 16)")


def test_a_batch_that_the_model_rejects_is_refused_with_the_cure_for_this_place(run: Any) -> None:
    outcome = run("check", "models.py:mlp", "--batch", "8,5")
    assert outcome.code == 2
    assert "Sequential rejected it (float32(8, 5)): RuntimeError: mat1 and mat2 shapes" in outcome.err
    assert "--example 64x3x32x32, or --example FILE.safetensors; for check, --batch instead" in outcome.err


def test_options_that_exclude_each_other_are_refused(run: Any) -> None:
    outcome = run("check", "models.py:mlp", "--weights", "models.py", "--apply", "torch")
    assert outcome.code == 2
    assert "exclude each other (see goodinit check --help)" in outcome.line


def test_an_unknown_recipe_to_apply_gets_the_nearest_name(run: Any) -> None:
    assert "(did you mean 'orthogonal'?)" in run("check", "models.py:mlp", "--apply", "orthogonel").line
