"""One of several outputs that is far larger than its targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, smooth_l1_loss

from goodinit.signals.judging.heads import judge_heads
from goodinit.signals.probing.heads import heads


class Two(nn.Module):
    """A policy and a value, or a class and a number, on one trunk."""

    def __init__(self, width: int, second: float = 1.0, bias: float = 0.0, named: bool = False) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.trunk = nn.Sequential(nn.Linear(8, width), nn.ReLU())
        self.first, self.second = nn.Linear(width, 10), nn.Linear(width, 1)
        self.scale, self.bias, self.named = second, bias, named

    def forward(self, x: Tensor) -> Any:
        h = self.trunk(x)
        pair = self.first(h), self.second(h).squeeze(1) * self.scale + self.bias
        return {"logits": pair[0], "value": pair[1]} if self.named else pair


def both(output: Any, target: Tensor) -> Tensor:
    logits, value = output.values() if isinstance(output, dict) else output
    return cross_entropy(logits, target) + mse_loss(value, target / 5 - 1)


def found(model: nn.Module, loss: Any = both) -> list[str]:
    output, target = model(torch.randn(64, 8)), torch.randint(0, 10, (64,))
    return [
        place
        for each in judge_heads(heads(output, loss, target, float(loss(output, target).detach())))
        for place in each.where
    ]


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("fault", [{"second": 1000.0}, {"bias": 300.0}, {"bias": -1000.0}])
def test_the_output_that_alone_makes_the_loss_is_named(width: int, fault: dict[str, Any]) -> None:
    assert found(Two(width, **fault)) == ["output [1]"]
    assert found(Two(width, **fault, named=True)) == ["output value"]


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
def test_outputs_of_usual_size_are_not(width: int, scale: float) -> None:
    assert found(Two(width, scale)) == []
    assert found(Two(width, scale, named=True)) == []


def test_a_log_deviation_far_below_zero_is_named() -> None:
    def likelihood(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        mean, log = output
        return (0.5 * ((mean - target) / log.exp()).square() + log).mean()

    class Gaussian(nn.Module):
        def __init__(self, log: float) -> None:
            super().__init__()
            self.mean, self.log = nn.Linear(8, 1), nn.Parameter(torch.full((64,), log))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.mean(x).squeeze(1), self.log

    assert found(Gaussian(-25.0), likelihood) == ["output [1]"]
    assert found(Gaussian(-0.5), likelihood) == []


def test_a_likelihood_that_zeros_alone_bring_near_zero_is_no_finding() -> None:
    def flow(output: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
        return (0.5 * output[0].square().sum(1) - output[1]).mean()

    output = torch.randn(64, 8), torch.full((64,), -1e-4)
    value = float(flow(output, torch.empty(0)))
    assert judge_heads(heads(output, flow, torch.empty(0), value)) == ()


def test_losses_that_cannot_take_other_outputs_and_single_outputs_say_nothing() -> None:
    def picky(output: Any, target: Tensor) -> Tensor:
        if float(output[1].std()) < 1e-6 or float(output[1].abs().max()) < 10:
            raise ValueError("no such output")
        return smooth_l1_loss(output[1], target.float())

    output, target = (torch.randn(64, 10), torch.randn(64) * 1e6), torch.randint(0, 10, (64,))
    assert [head.name for head in heads(output, picky, target, 1e6)] == []
    assert heads(output[1], mse_loss, target.float(), 1e6) == ()
    assert heads(output, both, target, float("nan")) == ()


def test_what_the_loss_overwrites_stays_as_it_was() -> None:
    def clipping(output: Any, target: Tensor) -> Tensor:
        return both((output[0], output[1].clamp_(-1, 1)), target)

    output, target = (torch.randn(64, 10), torch.randn(64) * 100), torch.randint(0, 10, (64,))
    before = output[1].clone()
    heads(output, clipping, target, 3.0)
    assert torch.equal(output[1], before)


def test_a_loss_that_the_model_made_itself_is_no_output_out_of_proportion() -> None:
    class Own(Two):
        def forward(self, x: Tensor) -> Any:
            logits, value = super().forward(x)
            return {"loss": 1e5 + value.sum() + logits.sum(), "logits": logits, "value": value}

    model, target = Own(16), torch.randint(0, 10, (64,))
    output = model(torch.randn(64, 8))
    assert heads(output, lambda out, _: out["loss"], target, float(output["loss"].detach()))
    assert found(Own(16), lambda out, _: out["loss"]) == []
