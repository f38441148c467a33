"""`examples/models.py` holds what its docstrings promise, seen through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goodinit.records import Report, Verification

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models.py"


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("deep_relu", (), 1),
        ("deep_relu", ("--apply", "kaiming_normal"), 0),
        ("deep_relu", ("--apply", "lecun_normal"), 1),
        ("mlp", (), 0),
        ("convnet", (), 0),
    ],
)
def test_the_verdict_on_an_example_is_the_promised_one(
    run: Any, name: str, options: tuple[str, ...], code: int
) -> None:
    outcome = run("check", f"{MODELS}:{name}", *options, "--json")
    assert outcome.code == code, Report.from_json(outcome.out).to_text()


def test_the_encoders_layers_are_found_to_be_copies_until_a_plan_is_applied(run: Any) -> None:
    outcome = run("verify", f"{MODELS}:encoder", "--recipe", "torch", "--json")
    assert outcome.code == 1
    failures = Verification.from_json(outcome.out).failures
    assert {check.test for check in failures} == {"independence"}
    assert not any(check.name.startswith("layers.0.") for check in failures)
    run("apply", f"{MODELS}:encoder", "--recipe", "torch", "--out", "w.safetensors")
    outcome = run("verify", f"{MODELS}:encoder", "--recipe", "torch", "--weights", "w.safetensors", "--json")
    assert outcome.code == 0, json.loads(outcome.out)
