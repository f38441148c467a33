"""Lost numbers, calls for gradients and layers without a unit, met by a trace."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import goodinit


class _Buffered(nn.Module):
    def __init__(self, value: float, asks: bool) -> None:
        super().__init__()
        self.a, self.b, self.asks = nn.Linear(8, 8), nn.Linear(8, 2), asks
        self.register_buffer("factor", torch.full((8,), value))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x) * self.factor
        if self.asks and bool(x.sum() > 0):
            x = -x
        y: Tensor = self.b(x)
        return y


class _Trains(nn.Module):
    """Calls for gradients inside forward."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.how = nn.Linear(8, 3), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "grad":
            x = x.clone().requires_grad_()
            return torch.autograd.grad(self.a(x).sum(), x)[0]
        loss: Tensor = self.a(x).square().mean()
        loss.backward()
        return loss


@pytest.mark.parametrize("asks", [False, True])
def test_nan_in_a_buffer_is_told_once(asks: bool) -> None:
    notes = goodinit.plan(_Buffered(math.nan, asks), example=torch.randn(2, 8)).notes
    assert sum("the buffer 'factor' holds NaN" in note for note in notes) == 1


def test_infinity_in_a_buffer_may_be_a_mask() -> None:
    notes = goodinit.plan(_Buffered(-math.inf, False), example=torch.randn(2, 8)).notes
    assert not any("factor" in note for note in notes)


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "infinity")])
def test_a_frozen_parameter_that_is_not_finite_is_told(value: float, word: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[2].weight[0, 0] = value
    example = torch.randn(2, 8)
    assert not any("2.weight" in note for note in goodinit.plan(model, example=example).notes)
    model[2].weight.requires_grad_(False)
    notes = goodinit.plan(model, example=example).notes
    assert any(f"the frozen parameter '2.weight' holds {word}" in note for note in notes)


@pytest.mark.parametrize("how", ["backward", "grad"])
def test_a_call_for_gradients_inside_forward_is_named_with_its_cure(how: str) -> None:
    with pytest.raises(goodinit.errors.ExampleError, match="trace runs without gradients: leave backward"):
        goodinit.trace(_Trains(how), torch.randn(2, 8))


def test_other_errors_say_nothing_of_gradients() -> None:
    with pytest.raises(goodinit.errors.ExampleError) as caught:
        goodinit.trace(nn.Linear(8, 2), torch.randn(2, 9))
    assert "gradients" not in str(caught.value)


@pytest.mark.parametrize("between", [nn.Identity(), nn.ReLU()])
def test_a_layer_without_a_unit_is_planned(between: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(8, 0), between, nn.Linear(0, 5))
    plan = goodinit.initialize(model, example=torch.zeros(2, 8))
    assert plan["0.weight"].fan_in == 8
    assert model(torch.ones(2, 8)).tolist() == [[0.0] * 5] * 2
