"""Where NaN and infinity begin, in every run that computes real numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import goodinit
from goodinit.graph import trace
from goodinit.graph.examples import given
from goodinit.graph.nonfinite import locate


class Inner(nn.Module):
    """Ends in a function call, and may read a buffer."""

    def __init__(self, function: Any = torch.relu) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(4, 4), function
        self.register_buffer("shift", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(self.linear(x) + self.shift)
        return out


class Outer(nn.Module):
    """Reads a value, so that it can only be traced on real tensors."""

    def __init__(self, function: Any = torch.relu) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Inner(), Inner(function), Inner())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.shape[0] > 100 and bool(x.sum() == 12345):
            return x
        float(x.abs().max())
        out: Tensor = self.head(self.blocks(x) if mask is None else self.blocks(x + mask))
        return out


def planted(model: nn.Module, name: str, value: float = math.nan) -> nn.Module:
    """The model with one element of a parameter or buffer spoilt."""
    with torch.no_grad():
        dict((*model.named_parameters(), *model.named_buffers()))[name].view(-1)[1] = value
    return model


def words(model: nn.Module, example: Any = None) -> str:
    """What `locate` says; and that the real run of `trace` and of `plan` say it too."""
    example = torch.randn(8, 4) if example is None else example
    origin = locate(model, given(example))
    assert origin is not None
    note = f"the numbers of this run were not finite: {origin.words()}"
    assert note in trace(model, example).notes
    assert note in goodinit.plan(model, example=example).notes
    return origin.words()


def test_a_function_call_in_a_nested_module_is_named() -> None:
    model = Outer(lambda x: (x - 100).log())
    assert words(model) == "NaN begins in the operation log in 'blocks.1'"


def test_an_overflow_is_named_where_it_begins_and_where_it_becomes_nan() -> None:
    assert words(Outer(lambda x: (x + 1e4).exp())).startswith(
        "infinity begins in the operation exp in 'blocks.1'"
    )
    turned = words(Outer(lambda x: (x + 1e4).exp() / (x + 1e4).exp().sum()))
    assert turned == (
        "infinity begins in the operation exp in 'blocks.1', which turns into NaN in the operation div in "
        "'blocks.1'"
    )


@pytest.mark.parametrize("name", ["blocks.1.linear.weight", "head.bias"])
@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "infinity")])
def test_a_parameter_is_named(name: str, value: float, word: str) -> None:
    assert words(planted(Outer(), name, value)).startswith(f"the parameter '{name}' holds {word}")


def test_a_buffer_is_named() -> None:
    assert words(planted(Outer(), "blocks.2.shift")) == "the buffer 'blocks.2.shift' holds NaN"
    norm = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    found = locate(planted(norm, "1.running_var"), given(torch.randn(8, 4)))
    assert found is not None
    assert found.words() == "the buffer '1.running_var' holds NaN"


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_the_part_of_a_parametrized_weight_is_named() -> None:
    for wrap, name in (
        (nn.utils.parametrizations.weight_norm, "head.parametrizations.weight.original0"),
        (nn.utils.weight_norm, "head.weight_g"),
    ):
        model = Outer()
        wrap(model.head)
        assert words(planted(model, name)) == f"the parameter '{name}' holds NaN"


def test_the_example_is_named_with_its_argument() -> None:
    good, bad = torch.randn(8, 4), torch.full((8, 4), math.nan)
    assert words(Outer(), bad) == "the example itself holds NaN"
    assert words(Outer(), {"x": good, "mask": bad}) == "the example itself holds NaN in 'mask'"
    assert words(Outer(), (good, bad)) == "the example itself holds NaN in '[1]'"


def test_nan_in_an_example_is_told_of_a_run_without_numbers_too() -> None:
    bad = torch.full((8, 4), math.nan)
    layer = nn.Bilinear(4, 4, 2)
    assert trace(layer, (torch.randn(8, 4), bad)).notes == (
        "the example itself holds NaN in '[1]'; only its shapes counted",
    )
    assert trace(layer, (bad, bad)).ran == "fake"
    assert trace(layer, (torch.randn(8, 4), torch.full((8, 4), math.inf))).notes == ()


def test_the_infinity_of_a_mask_is_no_fault_until_it_becomes_nan() -> None:
    class Attends(Outer):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            float(x.sum())
            hidden = torch.zeros(len(x), len(x), dtype=torch.bool)
            hidden[: self.rows] = True
            logits = (x @ x.T).masked_fill(hidden, -math.inf)
            return super().forward(logits.softmax(-1) @ x)

    x = torch.randn(8, 4)
    assert locate(Attends(0), given(x)) is None
    half = Attends(8)
    half.rows = 0
    assert not any("finite" in note for note in trace(half, x).notes)
    assert words(Attends(2), x) == "NaN begins in the operation _softmax"


def test_memory_that_nobody_filled_is_named() -> None:
    class Forgets(Outer):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            float(x.sum())
            room = torch.empty(8, 4)
            with torch.utils._python_dispatch._disable_current_modes():
                room.fill_(math.nan)  # what a heap may hold
            room[:4] = x[:4]
            return super().forward(room)

    assert words(Forgets()) == "memory that nobody filled (empty) holds NaN"


def test_nan_that_does_not_reach_the_output_is_told_too() -> None:
    model = Outer(lambda x: torch.where(x > 1e9, (x - 100).log(), x))
    assert words(model) == "NaN begins in the operation log in 'blocks.1'"


def test_a_finite_run_says_nothing() -> None:
    model, x = Outer(), torch.randn(8, 4)
    assert locate(model, given(x)) is None
    graph = trace(model, x)
    assert graph.ran == "real"
    assert len(graph.notes) == 1


def test_random_stand_ins_of_a_model_without_values_are_not_blamed() -> None:
    with torch.device("meta"):
        model = Outer(torch.sqrt)
    graph = trace(model, torch.randn(8, 4))
    assert graph.ran == "real"
    assert not any("finite" in note for note in graph.notes)


def test_the_model_is_left_without_hooks() -> None:
    model = Outer(lambda x: (x - 100).log())
    locate(model, given(torch.randn(8, 4)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
