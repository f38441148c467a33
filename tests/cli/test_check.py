"""`goodinit check`: the verdict, its exit code, and where the batch and the weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from goodinit import signals
from goodinit.cli.batches import drawn_batch, read_shape
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
    outcome = run("check", "models.py:mlp", "--batch-shape", "32,16", "--json")
    assert Report.from_json(outcome.out).batch.startswith("(32, 16) float32")


def test_a_model_that_begins_with_an_embedding_gets_token_ids(run: Any) -> None:
    outcome = run("check", "models.py:tokens", "--batch-shape", "16x5", "--json")
    assert Report.from_json(outcome.out).batch.startswith("(16, 5) int64")
    ids = drawn_batch((64, 64), load_model("models.py:tokens"), seed=0)
    assert (int(ids.min()), int(ids.max())) == (0, 10)


def test_a_drawn_batch_is_standard_normal_in_the_models_type_and_from_its_seed() -> None:
    model = torch.nn.Linear(3, 3).to(torch.float64)
    batch = drawn_batch((1000, 3), model, seed=1)
    assert batch.dtype == torch.float64
    # Five standard errors of a mean of 3000 values: false alarms below 1e-6.
    assert abs(float(batch.mean())) < 5 / 3000**0.5
    assert torch.equal(batch, drawn_batch((1000, 3), model, seed=1))
    assert not torch.equal(batch, drawn_batch((1000, 3), model, seed=2))


def test_a_batch_is_read_from_a_file(run: Any, tmp_path: Path) -> None:
    left, right = torch.randn(24, 4), torch.randn(24, 4)
    save_file({"x": left}, tmp_path / "one.safetensors")
    save_file({"right": right, "left": left}, tmp_path / "two.safetensors")
    torch.save((left, right), tmp_path / "tuple.pt")
    torch.save({"left": left, "right": right}, tmp_path / "dict.pt")
    (report,) = (Report.from_json(run("check", "models.py:ready", "--batch-shape", "24,3", "--json").out),)
    assert report.batch.startswith("(24, 3) float32, given")
    for name in ("two.safetensors", "tuple.pt", "dict.pt"):
        outcome = run("check", "models.py:Sums", "--batch", name, "--json")
        assert outcome.code in (0, 1), outcome.err
        assert "(24, 4) float32" in Report.from_json(outcome.out).batch
    # One tensor is one argument, and this model takes two.
    assert run("check", "models.py:Sums", "--batch", "one.safetensors").code == 2


def test_a_batch_that_the_model_rejects_is_refused_with_the_cure_for_this_place(run: Any) -> None:
    outcome = run("check", "models.py:mlp", "--batch-shape", "8,5")
    assert outcome.code == 2
    assert "Sequential rejected it ((8, 5) float32): RuntimeError: mat1 and mat2 shapes" in outcome.err
    assert outcome.err.rstrip().endswith(
        "on the command line: --batch-shape 64,3,32,32, or --batch FILE.safetensors"
    )


@pytest.mark.parametrize("text", ["", "3,", "3,x", "0,3", "-1,3", "3.5", "²"])
def test_a_shape_that_is_none_gets_one_line(run: Any, text: str) -> None:
    outcome = run("check", "models.py:mlp", f"--batch-shape={text}")
    assert outcome.code == 2
    assert outcome.line.startswith(f"goodinit: --batch-shape {text!r}: expected positive whole numbers")


@pytest.mark.parametrize("text", ["64,3,32,32", "64x3x32x32", "(64, 3, 32, 32)"])
def test_a_shape_may_be_written_as_people_write_it(text: str) -> None:
    assert read_shape(text) == (64, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noise.safetensors", b"noise", "no readable safetensors file"),
        ("noise.pt", b"noise", "no readable file of tensors"),
        ("empty.pt", b"", "no readable file of tensors"),
    ],
)
def test_an_unreadable_batch_gets_one_line(
    run: Any, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = run("check", "models.py:mlp", "--batch", name)
    assert outcome.code == 2
    assert outcome.line.startswith(f"goodinit: --batch {name}: ")
    assert message in outcome.line


def test_a_file_without_tensors_is_no_batch(run: Any, tmp_path: Path) -> None:
    torch.save({"steps": 3}, tmp_path / "dict.pt")
    save_file({}, tmp_path / "nothing.safetensors")
    assert "holds no tensor, but a dict" in run("check", "models.py:mlp", "--batch", "dict.pt").line
    assert "holds no tensor" in run("check", "models.py:mlp", "--batch", "nothing.safetensors").line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--weights", "models.py", "--apply", "torch"),
        ("--batch", "models.py", "--batch-shape", "2,2"),
    ],
)
def test_options_that_exclude_each_other_are_refused(run: Any, arguments: tuple[str, ...]) -> None:
    outcome = run("check", "models.py:mlp", *arguments)
    assert outcome.code == 2
    assert "exclude each other (see goodinit check --help)" in outcome.line


def test_an_unknown_recipe_to_apply_gets_the_nearest_name(run: Any) -> None:
    assert "(did you mean 'orthogonal'?)" in run("check", "models.py:mlp", "--apply", "orthogonel").line
