"""`goodinit apply` and `goodinit verify`: what is written is what the plan says, and the check can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from goodinit import initialize
from goodinit.cli.model_source import load_model
from goodinit.records import Verification


def test_apply_writes_what_initialize_would_fill(run: Any, tmp_path: Path) -> None:
    outcome = run("apply", "models.py:conv", "--out", "w.safetensors", "--seed", 7, "--recipe", "orthogonal")
    assert outcome.code == 0, outcome.err
    model = load_model("models.py:conv")
    initialize(model, "orthogonal", seed=7)
    written = load_file(tmp_path / "w.safetensors")
    assert set(written) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(written[name], tensor)


def test_apply_says_what_it_did(run: Any, tmp_path: Path) -> None:
    outcome = run("apply", "models.py:mlp", "--out", "w.safetensors", "--seed", 3)
    size = (tmp_path / "w.safetensors").stat().st_size
    assert outcome.out.startswith("Filled Sequential by recipe auto, seed 3: 4 parameters, 676 elements in ")
    assert outcome.out.endswith(f"Wrote w.safetensors ({size / 1000:.1f} kB).\n")
    value = json.loads(run("apply", "models.py:mlp", "--out", "w.safetensors", "--seed", 3, "--json").out)
    assert value.pop("seconds") >= 0
    mark = value.pop("plan")
    assert value == {
        "goodinit": "apply",
        "model": "Sequential",
        "recipe": "auto",
        "seed": 3,
        "parameters": 4,
        "elements": 676,
        "file": "w.safetensors",
        "bytes": size,
    }
    with safe_open(tmp_path / "w.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    assert (metadata["recipe"], metadata["seed"], metadata["plan"]) == ("auto", "3", mark)


def test_the_same_command_writes_the_same_bytes_and_another_seed_others(run: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ("--override", "scale=keep", "--seed", seed, "--quiet")
        assert run("apply", "models.py:Scaled", "--out", f"{name}.safetensors", *options).code == 0
    first, again, other = (load_file(tmp_path / f"{name}.safetensors") for name in "abc")
    for name in first:
        assert torch.equal(first[name], again[name])
    # Also what is kept comes from the seed: it was drawn while the model was built.
    assert not torch.equal(first["scale"], other["scale"])
    assert not torch.equal(first["linear.weight"], other["linear.weight"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_weights_are_written_in_the_wanted_type_and_verify(run: Any, tmp_path: Path, dtype: str) -> None:
    assert run("apply", "models.py:mlp", "--out", "w.safetensors", "--dtype", dtype).code == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "w.safetensors").values()} == {
        getattr(torch, dtype)
    }
    assert run("verify", "models.py:mlp", "--weights", "w.safetensors", "--seed", 0).code == 0


def test_a_saved_plan_is_carried_out_overrides_included(run: Any, tmp_path: Path) -> None:
    run("plan", "models.py:mlp", "-o", "*.bias=0.5", "--out", "plan.json")
    run("apply", "models.py:mlp", "--plan", "plan.json", "-o", "2.bias=0.25", "--out", "w.safetensors")
    written = load_file(tmp_path / "w.safetensors")
    assert (written["0.bias"] == 0.5).all()
    assert (written["2.bias"] == 0.25).all()
    outcome = run("verify", "-", "--plan", "plan.json", "--weights", "w.safetensors", "--json")
    assert outcome.code == 1
    assert [check.name for check in Verification.from_json(outcome.out).failures] == ["2.bias"]
    options = ("--plan", "plan.json", "--weights", "w.safetensors", "-o", "2.bias=0.25", "--seed", 0)
    assert run("verify", "-", *options).code == 0


def test_verify_tells_the_seed_from_another(run: Any) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors", "--seed", 7)
    command = ("verify", "models.py:mlp", "--weights", "w.safetensors", "--recipe", "auto")
    right, wrong, any_seed = run(*command, "--seed", 7), run(*command, "--seed", 8), run(*command)
    assert (right.code, wrong.code, any_seed.code) == (0, 1, 0)
    assert right.out.rstrip().endswith("against recipe auto, seed 7")
    assert "512 of 512 elements differ from seed 8" in " ".join(wrong.out.split())


def test_one_changed_element_is_found(run: Any, tmp_path: Path) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    tensors = load_file(tmp_path / "w.safetensors")
    tensors["0.weight"][3, 4] += 1e-3
    save_file(tensors, tmp_path / "changed.safetensors")
    options = ("--recipe", "auto", "--seed", 0, "--json")
    outcome = run("verify", "models.py:mlp", "--weights", "changed.safetensors", *options)
    assert outcome.code == 1
    assert [check.name for check in Verification.from_json(outcome.out).failures] == ["0.weight"]


def test_recipe_and_seed_of_a_file_that_apply_wrote_need_not_be_repeated(run: Any) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors", "--recipe", "orthogonal", "--seed", 5)
    outcome = run("verify", "models.py:mlp", "--weights", "w.safetensors")
    assert outcome.code == 0
    assert "against recipe orthogonal, seed 5 (what w.safetensors says of itself)" in outcome.out
    assert run("verify", "models.py:mlp", "--weights", "w.safetensors", "--seed", 6).code == 1
    assert run("verify", "models.py:mlp", "--weights", "w.safetensors", "-r", "torch").code == 1


def test_notes_of_another_program_are_not_taken_for_ours(run: Any, tmp_path: Path) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    notes = {"goodinit": "9", "recipe": "torch", "seed": "many", "plan": "0"}
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "x.safetensors", metadata=notes)
    outcome = run("verify", "models.py:mlp", "--weights", "x.safetensors")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("against recipe auto")


def test_a_forgotten_override_is_suspected(run: Any) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors", "-o", "2.bias=1")
    outcome = run("verify", "models.py:mlp", "--weights", "w.safetensors")
    assert outcome.code == 1
    said = "w.safetensors was written by another plan: another recipe, other overrides or another example"
    assert said in outcome.out
    assert run("verify", "models.py:mlp", "--weights", "w.safetensors", "-o", "2.bias=1").code == 0


def test_without_weights_the_values_are_those_the_model_is_built_with(run: Any) -> None:
    assert run("verify", "models.py:mlp", "--recipe", "torch").code == 0
    assert run("verify", "models.py:mlp", "--recipe", "kaiming_normal").code == 1


def test_a_torch_file_is_verified_like_a_safetensors_file(run: Any, tmp_path: Path) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    torch.save(load_file(tmp_path / "w.safetensors"), tmp_path / "w.pt")
    assert run("verify", "models.py:mlp", "--weights", "w.pt", "--seed", 0).code == 0


def test_weights_of_another_model_are_refused_with_names_and_shapes(run: Any) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    outcome = run("verify", "models.py:deep", "--weights", "w.safetensors")
    assert outcome.code == 2
    assert "the plan does not fit the weights" in outcome.err
    assert "0.weight: (64, 16) in the plan, (32, 16) in the weights" in outcome.err


def test_an_unreadable_checkpoint_gets_one_line(run: Any, tmp_path: Path) -> None:
    run("apply", "models.py:mlp", "--out", "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", b"no such format"), ("empty", b"")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        outcome = run("verify", "models.py:mlp", "--weights", f"{name}.safetensors")
        assert outcome.code == 2
        assert outcome.line.startswith(f"goodinit: {name}.safetensors is no readable safetensors file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("apply", "models.py:mlp"), "Missing option '--out' (see goodinit apply --help)"),
        (("apply", "models.py:mlp", "--out", "w.pt"), "name the file w.safetensors"),
        (("apply", "models.py:mlp", "--out", "w.safetensors", "--dtype", "int8"), "'int8' is not one of"),
        (("apply", "models.py:mlp", "--out", "models.py/w.safetensors"), "models.py/w.safetensors"),
        (("verify", "models.py:mlp", "--weights", "none.safetensors"), "'none.safetensors' does not exist"),
        (("verify", "-"), "MODEL - needs --plan and --weights"),
        (("verify", "models.py:mlp", "--seed", "-1"), "-1 is not in [0, 2**64)"),
        (("verify", "models.py:mlp", "--seed", 2**64), "is not in [0, 2**64)"),
        (("verify", "models.py:mlp", "--plan", "models.py", "--recipe", "torch"), "exclude each other"),
    ],
)
def test_bad_use_gets_one_line_and_exit_code_2(run: Any, arguments: tuple[Any, ...], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.line


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("-o", "*.bias=1e39"), "Constant: 1e+39 is beyond the range of torch.float32"),
        (("-o", "*.bias=Normal(std=1e39)"), "std must be finite"),
        (("-o", "*.bias=1" + "0" * 400), "value must fit a float"),
        (("--dtype", "float16", "-o", "*.bias=1e5"), "beyond the range of torch.float16"),
        (("--plan", "deep.json"), "deep.json: not JSON"),
    ],
)
def test_numbers_and_files_out_of_bounds_get_one_line_and_write_nothing(
    run: Any, tmp_path: Path, option: tuple[str, ...], message: str
) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    outcome = run("apply", "models.py:mlp", "--out", "w.safetensors", *option)
    assert outcome.code == 2
    assert message in outcome.line
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("seed", ["9" * 30, "9" * 5000])
def test_a_seed_that_none_of_our_files_can_carry_is_not_believed(run: Any, tmp_path: Path, seed: str) -> None:
    model = load_model("models.py:mlp")
    initialize(model)
    noted = {"goodinit": "0", "recipe": "torch", "seed": seed, "plan": "0"}
    save_file(dict(model.state_dict()), tmp_path / "w.safetensors", metadata=noted)
    assert run("verify", "models.py:mlp", "--weights", "w.safetensors").code == 0
