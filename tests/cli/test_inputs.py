"""One grammar for what a model is run on: `--example` of plan, apply and verify, `--batch` of check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from goodinit import Plan
from goodinit.cli.inputs import drawn, read_inputs
from goodinit.errors import ArgumentError
from goodinit.records import Report


def made(*texts: str, model: nn.Module | None = None, seed: int = 0) -> Any:
    return drawn("--example", read_inputs("--example", texts), model or nn.Linear(2, 2), seed)


@pytest.mark.parametrize("text", ["64,3,32,32", "64x3x32x32", "(64, 3, 32, 32)"])
def test_a_shape_may_be_written_as_people_write_it(text: str) -> None:
    assert made(text).shape == (64, 3, 32, 32)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("2x3", torch.float64),
        ("float:2x3", torch.float64),
        ("float32:2x3", torch.float32),
        ("bfloat16:2x3", torch.bfloat16),
        ("int:2x3<9", torch.int64),
        ("2x3<9", torch.int64),
        ("int32:2x3<9", torch.int32),
        ("bool:2x3", torch.bool),
    ],
)
def test_a_type_may_stand_before_the_shape(text: str, dtype: torch.dtype) -> None:
    tensor = made(text, model=nn.Linear(2, 2).double())
    assert (tensor.dtype, tensor.shape) == (dtype, (2, 3))


def test_integers_fill_the_range_that_is_written_and_no_more() -> None:
    ids = made("int:64x64<11")
    # The chance that a value is never drawn is 11·(10/11)⁴⁰⁹⁶ < 1e-168.
    assert (int(ids.min()), int(ids.max())) == (0, 10)
    # A model with a table bounds them by itself, and tells ids from real numbers where it comes first.
    tokens = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4))
    for text in ("64x64", "int:64x64"):
        ids = made(text, model=tokens)
        assert (int(ids.min()), int(ids.max())) == (0, 6)
    assert made("float:64x64", model=tokens).dtype == torch.float32


def test_a_drawn_input_is_standard_normal_and_from_its_seed() -> None:
    batch = made("1000x3", seed=1)
    # Five standard errors of a mean of 3000 values: false alarms below 1e-6.
    assert abs(float(batch.mean())) < 5 / 3000**0.5
    assert torch.equal(batch, made("1000x3", seed=1))
    assert not torch.equal(batch, made("1000x3", seed=2))


def test_several_are_arguments_in_order_and_names_make_keywords() -> None:
    left, right = made("2x3", "int:4<5")
    assert (left.shape, right.shape) == ((2, 3), (4,))
    keywords = made("mask=bool:2x3", "input_ids=int:2x3<9")
    assert list(keywords) == ["mask", "input_ids"]
    assert made() is None


def test_files_are_read_alone_and_among_shapes(tmp_path: Path) -> None:
    left, right = torch.randn(24, 4), torch.randn(24, 4)
    save_file({"x": left}, tmp_path / "one.safetensors")
    save_file({"right": right, "left": left}, tmp_path / "two.safetensors")
    torch.save((left, right), tmp_path / "tuple.pt")
    assert torch.equal(made(str(tmp_path / "one.safetensors")), left)
    assert made(str(tmp_path / "two.safetensors")).keys() == {"left", "right"}
    assert torch.equal(made(str(tmp_path / "tuple.pt"))[1], right)
    named = made(f"left={tmp_path / 'one.safetensors'}", "right=24x4")
    assert torch.equal(named["left"], left)
    with pytest.raises(ArgumentError, match="holds several tensors, so it must be the only input"):
        made(f"left={tmp_path / 'two.safetensors'}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "expected positive whole numbers") for text in ("", "3,", "3,x", "0,3", "-1,3", "3.5", "²")),
        ("flaot:2x3", "no type 'flaot' (did you mean 'float'?)"),
        ("float:2x3<5", "<N bounds integers"),
        ("int:2x3<0", "<N bounds integers and is at least 1"),
        ("int:2x3", "below which number? The model has no embedding"),
        ("int:2x3<", "a shape, such as 64x3x32x32 or 'int:8x128<50257'"),
        ("a:b:2x3", "a shape, such as 64x3x32x32"),
        ("none.pt", "there is no file none.pt"),
        ("x=none.safetensors", "there is no file none.safetensors"),
    ],
)
def test_what_is_no_input_gets_one_line_and_exit_code_2(run: Any, text: str, message: str) -> None:
    for command, option in (("plan", "--example"), ("check", "--batch")):
        outcome = run(command, "models.py:mlp", f"{option}={text}")
        assert outcome.code == 2
        assert outcome.line.startswith(f"goodinit: {option} {text!r}: ")
        assert message in outcome.line


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("x=2x3", "2x3"), "give every input a name (NAME=...), or none"),
        (("x=2x3", "x=2x4"), "the name 'x' is given twice"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(run: Any, texts: tuple[str, ...], message: str) -> None:
    outcome = run("plan", "models.py:Sums", *(f"--example={text}" for text in texts))
    assert outcome.code == 2
    assert message in outcome.line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noise.safetensors", b"noise", "no readable safetensors file"),
        ("noise.pt", b"noise", "no readable file of tensors"),
        ("empty.pt", b"", "no readable file of tensors"),
    ],
)
def test_an_unreadable_file_gets_one_line(
    run: Any, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = run("check", "models.py:mlp", "--batch", name)
    assert outcome.code == 2
    assert outcome.line.startswith(f"goodinit: --batch {name}: ")
    assert message in outcome.line


def test_a_file_without_tensors_is_no_input(run: Any, tmp_path: Path) -> None:
    torch.save({"steps": 3}, tmp_path / "dict.pt")
    save_file({}, tmp_path / "nothing.safetensors")
    assert "holds no tensor, but a dict" in run("check", "models.py:mlp", "--batch", "dict.pt").line
    assert "holds no tensor" in run("plan", "models.py:mlp", "--example", "nothing.safetensors").line


def test_check_measures_on_what_it_is_given(run: Any, tmp_path: Path) -> None:
    save_file({"right": torch.randn(24, 4), "left": torch.randn(24, 4)}, tmp_path / "two.safetensors")
    for inputs in (("two.safetensors",), ("24x4", "24x4"), ("left=24x4", "right=24x4")):
        outcome = run("check", "models.py:Sums", *(f"--batch={text}" for text in inputs), "--json")
        assert outcome.code in (0, 1), outcome.err
        assert "float32(24, 4)" in Report.from_json(outcome.out).batch
    # One tensor is one argument, and this model takes two.
    assert run("check", "models.py:Sums", "--batch", "24x4").code == 2


def test_plan_apply_and_verify_trace_on_the_example_and_say_so(run: Any) -> None:
    example = ("--example", "left=8x4", "--example", "right=8x4")
    shown = run("plan", "models.py:Sums", *example)
    assert "Note: traced on left=float32(8, 4), right=float32(8, 4), given" in shown.out
    plan = Plan.from_json(run("plan", "models.py:Sums", *example, "--json").out)
    assert plan.notes == ("traced on left=float32(8, 4), right=float32(8, 4), given",)
    assert run("apply", "models.py:Sums", *example, "--out", "w.safetensors").code == 0
    verified = run("verify", "models.py:Sums", *example, "--weights", "w.safetensors")
    assert verified.code == 0
    rejected = run("apply", "models.py:Sums", "--example", "8x4", "--out", "w.safetensors")
    assert rejected.code == 2
    assert "missing 1 required positional argument: 'right'" in rejected.err


def test_without_an_example_the_made_one_or_the_reason_for_none_is_shown(run: Any) -> None:
    assert "Note: traced on float32(64, 16), made for Linear '0'" in run("plan", "models.py:mlp").out
    unsure = " ".join(run("plan", "models.py:Sums").out.split())
    assert "Note: not traced, so the types of layers decide. example: could not make one for Sums" in unsure
    assert "missing 1 required positional argument: 'right'" in unsure
    plan = Plan.from_json(run("plan", "models.py:Sums", "--json").out)
    assert "the model was not traced" in plan["linear.weight"].why


def test_an_example_and_a_plan_exclude_each_other(run: Any) -> None:
    run("plan", "models.py:mlp", "--out", "plan.json")
    options = ("--plan", "plan.json", "--example", "2x16", "--out", "w.safetensors")
    assert "--example and --plan exclude each other" in run("apply", "models.py:mlp", *options).line


def test_a_model_that_begins_with_an_embedding_is_planned_on_ids(run: Any) -> None:
    plan = Plan.from_json(run("plan", "models.py:tokens", "--example", "16x5", "--json").out)
    assert plan.notes == ("traced on int64(16, 5), given",)
