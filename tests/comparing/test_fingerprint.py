"""A journal tells another loss from the same one, in whatever process it is read."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.fingerprint import fingerprint
from goodinit.errors import ArgumentError


class Weighted:
    def __init__(self, weights: torch.Tensor) -> None:
        self.weights = weights

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (self.weights * (output - target).square()).mean()

    def other(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().mean()


def scaled(output: Any, target: Any, by: float = 1.0) -> Any:
    return by * (output - target)


def closed(by: float) -> Callable[[Any, Any], Any]:
    return lambda output, target: by * (output - target)


def nested(by: int) -> Callable[[Any], Any]:
    return eval(f"lambda values: [(lambda v: v * {by})(value) for value in values]")


MAKERS: dict[str, Callable[[float], object]] = {
    "enclosed value": closed,
    "default": lambda by: functools.wraps(scaled)(lambda output, target, by=by: by * output),
    "partial": lambda by: functools.partial(scaled, by=by),
    "attribute": lambda by: Weighted(torch.tensor([by])),
    "method's object": lambda by: Weighted(torch.tensor([by])).other,
    "module's attribute": lambda by: nn.CrossEntropyLoss(label_smoothing=by / 10),
    "module's buffer": lambda by: nn.CrossEntropyLoss(weight=torch.tensor([by, 1.0])),
    "inner function": lambda by: nested(int(by)),
    "names": lambda by: ((lambda x: x.mean()), (lambda x: x.sum()))[int(by) - 1],
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_function_holds_on_to_counts(name: str) -> None:
    make = MAKERS[name]
    assert fingerprint(make(1.0)) == fingerprint(make(1.0))
    assert fingerprint(make(1.0)) != fingerprint(make(2.0))


def test_methods_of_one_object_differ() -> None:
    one = Weighted(torch.ones(1))
    assert fingerprint(one.other) != fingerprint(one) != fingerprint(one.__call__)


def test_an_object_that_holds_itself_has_one_too() -> None:
    one = Weighted(torch.ones(1))
    one.self = one  # type: ignore[attr-defined]
    assert fingerprint(one) == fingerprint(one)


SCRIPT = """
from goodinit.comparing.fingerprint import fingerprint
import torch
from torch import nn
def loss(output, target, kept={"b", "a", "c"}):
    return [(lambda pair: pair[0] in {"x", "y", "z"})(pair) for pair in zip(output, target)]
print(fingerprint(loss, nn.CrossEntropyLoss(), torch.arange(3)))
"""


def test_it_is_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def run(folder: Path, loss: object) -> None:
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    compare(
        functools.partial(nn.Linear, 2, 1), ["torch"], (x, x[:, :1]), seeds=1, steps=2, lr=0.1, loss=loss,
        journal=folder, engine="sequential",
    )  # type: ignore[call-overload]  # fmt: skip


def test_a_journal_of_a_loss_with_another_setting_is_refused(tmp_path: Path) -> None:
    run(tmp_path, Weighted(torch.ones(1)))
    run(tmp_path, Weighted(torch.ones(1)))
    with pytest.raises(ArgumentError, match="loss function"):
        run(tmp_path, Weighted(2 * torch.ones(1)))
