"""Plans that trace by themselves: the default recipe, the made example, and what is told of it."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import goodinit
from goodinit import Plan, initialize, plan
from goodinit.errors import ExampleError, PlanFileError, UncoveredError, WrongTypeError
from goodinit.graph import running
from goodinit.recipes import RECIPES


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))


class Joined(nn.Module):
    """Takes two inputs, which nobody can guess."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 16), nn.Linear(4, 16)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.left(a) + self.right(b)
        return out


class Raw(nn.Module):
    """Multiplies by a parameter of its own, which no type of layer covers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_auto_is_the_default_everywhere_and_stands_first() -> None:
    for function in (plan, initialize):
        assert inspect.signature(function).parameters["recipe"].default == "auto"
    assert next(iter(RECIPES)) == "auto"
    assert plan(mlp()).recipe == "auto"


@pytest.mark.parametrize(
    ("model", "note"),
    [
        (mlp(), "traced on float32(64, 16), made for Linear '0'"),
        (
            nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)),
            "traced on int64(32, 32), made for Embedding '0'",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2)),
            "traced on float32(32, 1, 8, 8), made for Conv2d '0'",
        ),
        (nn.Linear(5, 2).double(), "traced on float64(64, 5), made for Linear"),
        (nn.TransformerDecoderLayer(8, 2, 16), "traced on float32(24, 16, 8), float32(32, 16, 8), made for"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_made_example_is_told(model: nn.Module, note: str, device: str) -> None:
    assert plan(model.to(device)).notes[0].startswith(note)


def test_the_same_model_gets_the_same_plan_and_what_an_example_would_give() -> None:
    torch.manual_seed(1)
    first = plan(mlp())
    torch.manual_seed(2)
    assert plan(mlp()) == first
    given = plan(mlp(), example=torch.zeros(3, 16))
    assert given.rows == first.rows
    assert given.notes == ("traced on float32(3, 16), given",)
    assert plan(mlp(), example={"input": torch.zeros(3, 16)}).notes == (
        "traced on input=float32(3, 16), given",
    )


def test_notes_are_saved_shown_and_survive_an_override() -> None:
    made = plan(mlp())
    assert Plan.from_json(made.to_json()) == made
    assert made.notes
    assert made.override({"0.bias": 1.0}).notes == made.notes
    assert "Note: traced on float32(64, 16)" in str(made)
    old = json.loads(made.to_json())
    del old["notes"]
    assert Plan.from_json(json.dumps(old)).notes == ()
    old["notes"] = [3]
    with pytest.raises(PlanFileError, match="notes must be a list of texts"):
        Plan.from_json(json.dumps(old))


def test_where_no_example_fits_types_decide_and_a_note_says_what_was_tried() -> None:
    made = plan(Joined())
    (note,) = made.notes
    assert note.startswith(
        "not traced, so the types of layers decide. example: could not make one for Joined"
    )
    assert "tried float32(64, 8)" in note
    assert "missing 1 required positional argument: 'b'" in note
    assert "the model was not traced" in made["left.weight"].why
    with pytest.raises(ExampleError, match="could not make one for Joined"):
        goodinit.trace(Joined())


def test_other_recipes_trace_only_what_types_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = plan(nn.Sequential(nn.Linear(16, 16), Raw()), "lecun_normal")
    assert raw.notes == ("traced on float32(64, 16), made for Linear '0'",)
    assert (raw["1.weight"].fan_in, raw["1.weight"].fan_out) == (16.0, 4.0)
    with pytest.raises(UncoveredError):
        plan(Raw(), "torch")

    def refuse(*_: Any) -> None:
        raise AssertionError("traced")

    monkeypatch.setattr("goodinit.plans.build.trace", refuse)
    for recipe in RECIPES:
        if recipe == "auto":
            with pytest.raises(AssertionError, match="traced"):
                plan(mlp(), recipe)
        else:
            assert plan(mlp(), recipe).notes == ()


def test_a_model_that_asks_for_values_is_traced_on_the_made_example() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plus, self.minus = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.plus(x) if x.abs().sum() > 0 else self.minus(x)
            return out

    made = plan(Branching())
    assert made.notes[0] == "traced on float32(64, 3), made for Linear 'plus'"
    assert "real tensors" in made.notes[1]


def test_what_only_evaluation_accepts_is_traced_there() -> None:
    class Strict(nn.Linear):
        def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
            if self.training:
                raise ValueError("targets must be given while training")
            return super().forward(x)

    model = Strict(3, 2)
    assert "evaluation mode" in plan(model).notes[1]
    assert model.training


def test_the_tries_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Last(nn.Module):
        """Rejects what it gets only at its very end."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 1, 3), *(nn.ReLU() for _ in range(30)))
            self.calls: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            self.layers(x)
            raise ValueError("no")

    calls: list[int] = []
    assert "not traced" in plan(Last()).notes[0]
    everything = len(calls)
    calls.clear()
    monkeypatch.setattr(running, "_MOST_OPERATIONS", 100)
    assert "not traced" in plan(Last()).notes[0]
    assert 1 < len(calls) < everything == 26  # 13 sides, in training and in evaluation


@pytest.mark.parametrize(
    ("example", "kind", "message"),
    [
        (
            torch.zeros(3, 5),
            ExampleError,
            r"Sequential rejected \(float32\(3, 5\)\): RuntimeError: .*3x5 and 16x32",
        ),
        (
            torch.zeros(3, 16, dtype=torch.int64),
            ExampleError,
            r"rejected \(int64\(3, 16\)\): RuntimeError: .*dtype",
        ),
        (torch.zeros(3, 16, dtype=torch.float64), ExampleError, r"float64\(3, 16\)\): RuntimeError: .*dtype"),
        (
            (torch.zeros(3, 16), torch.zeros(1)),
            ExampleError,
            r"float32\(3, 16\), float32\(1,\)\): TypeError: .*given",
        ),
        ((), ExampleError, r"rejected \(\): TypeError: .*missing 1 required positional argument"),
        (
            {"x": torch.zeros(3, 16)},
            ExampleError,
            r"x=float32\(3, 16\)\): TypeError: .*unexpected keyword argument 'x'",
        ),
        ((None,), ExampleError, r"rejected \(None\)"),
        (lambda: torch.zeros(3, 5), ExampleError, r"rejected \(float32\(3, 5\)\)"),
        ("batch.pt", WrongTypeError, r"example is a str; .*torch\.load\(path\)"),
        (torch.zeros(3, 16).numpy(), WrongTypeError, r"example is a ndarray; .*torch\.from_numpy\(array\)"),
        (torch.utils.data.DataLoader([1]), WrongTypeError, r"is a DataLoader; .*next\(iter\(loader\)\)"),
        (
            torch.utils.data.TensorDataset(torch.zeros(3, 16)),
            WrongTypeError,
            r"is a TensorDataset; .*dataset\[0\]\[0\]\.unsqueeze\(0\)",
        ),
        (3, WrongTypeError, "example is a int; give a tensor, a tuple or list of arguments"),
        (lambda: None, WrongTypeError, "example is a NoneType; give a tensor"),
    ],
)
def test_an_example_that_will_not_do_is_an_error_that_helps(example: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        plan(mlp(), example=example)
    if kind is ExampleError:
        assert "Give another example: a tensor, a tuple of arguments, a dict" in str(caught.value)


def test_an_example_on_another_device_than_the_model_will_do() -> None:
    # Only shapes count, and they are the same everywhere.
    assert plan(mlp(), example=torch.zeros(3, 16, device="meta")).rows == plan(mlp()).rows
    assert plan(mlp().to("meta"), example=torch.zeros(3, 16)).rows == plan(mlp()).rows
