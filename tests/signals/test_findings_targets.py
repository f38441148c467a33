"""Outputs that cannot reach their targets, start far from them, or pair with all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
)

from goodinit.signals import check
from goodinit.signals.judging.targets import judge_targets
from goodinit.signals.probing.targets import against, of_one_number

ROWS = 64


def found(output: Tensor, loss: Callable[..., Tensor], target: Tensor) -> list[str]:
    nothing = of_one_number(output, loss, target)
    if nothing is None:
        return []
    seen = against(output, loss, target, float(loss(output.detach(), target)), nothing)
    return [finding.code for finding in judge_targets(seen, "Net")]


def logits(columns: int, scale: float = 1.0) -> Tensor:
    return torch.nn.Linear(8, columns)(torch.randn(ROWS, 8)) * scale


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("last", [nn.Softmax(dim=1), nn.Sigmoid(), nn.Tanh()])
def test_logits_in_a_bounded_range_are_found(classes: int, last: nn.Module) -> None:
    target = torch.randint(0, classes, (ROWS,))
    assert found(last(logits(classes)), cross_entropy, target) == ["GI129"]
    assert found(last(logits(classes)).flatten(1).float(), cross_entropy, target) == ["GI129"]


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(dim=1), nn.ReLU()])
def test_logits_without_a_bound_are_not(last: nn.Module) -> None:
    assert found(last(logits(10)), cross_entropy, torch.randint(0, 10, (ROWS,))) == []


def test_a_loss_that_takes_probabilities_may_be_given_them() -> None:
    def likelihood(p: Tensor, y: Tensor) -> Tensor:
        return -(p.gather(1, y[:, None]) + 1e-8).log().mean()

    assert found(logits(10).softmax(1), likelihood, torch.randint(0, 10, (ROWS,))) == []
    assert found(logits(1).sigmoid(), binary_cross_entropy, torch.rand(ROWS, 1).round()) == []


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.ReLU(), nn.Tanh(), nn.Softmax(dim=0)])
def test_numbers_outside_of_the_range_of_the_last_operation_are_found(last: nn.Module) -> None:
    target = torch.randn(ROWS, 3) * 2
    assert found(last(logits(3)), mse_loss, target) == ["GI129"]
    assert found(last(logits(3)), mse_loss, target.abs() / target.abs().max()) == []
    assert found(logits(3), mse_loss, target) == []


def test_numbers_in_another_shape_are_found_unless_the_loss_joins_them() -> None:
    target = torch.randn(ROWS)
    with pytest.warns(UserWarning, match="target size"):
        assert found(logits(1), mse_loss, target) == ["GI130"]
    assert found(logits(1), lambda o, y: ((o - y) ** 2).mean(), target) == ["GI130"]
    assert found(logits(1), lambda o, y: mse_loss(o.squeeze(-1), y), target) == []
    assert found(logits(1), mse_loss, target[:, None]) == []


@pytest.mark.parametrize(("scale", "codes"), [(1.0, []), (10.0, []), (100.0, ["GI131"]), (1e4, ["GI131"])])
def test_outputs_far_larger_than_their_targets_are_found(scale: float, codes: list[str]) -> None:
    assert found(logits(3, scale), mse_loss, torch.randn(ROWS, 3)) == codes
    assert found(logits(3), mse_loss, torch.randn(ROWS, 3) / scale) == codes


@pytest.mark.parametrize(("bias", "codes"), [(0.0, []), (5.0, []), (100.0, ["GI131"])])
def test_binary_logits_that_are_sure_at_the_start_are_found(bias: float, codes: list[str]) -> None:
    target = torch.rand(ROWS, 3).round()
    assert found(logits(3) + bias, binary_cross_entropy_with_logits, target) == codes


@pytest.mark.parametrize(("scale", "codes"), [(1.0, []), (100.0, ["GI131"])])
@pytest.mark.parametrize("actions", [4, 18])
def test_class_numbers_of_a_loss_that_is_none_of_logits_are_judged_as_numbers(
    scale: float, codes: list[str], actions: int
) -> None:
    torch.manual_seed(actions)
    returns = torch.randn(ROWS)

    def of_actions_taken(values: Tensor, actions: Tensor) -> Tensor:
        return mse_loss(values.gather(1, actions[:, None])[:, 0], returns)

    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, actions))
    nn.init.normal_(model[2].weight, 0.0, scale * 32**-0.5)
    batch = torch.randn(ROWS, 8), torch.randint(actions, (ROWS,))
    report = check(model, batch, loss=of_actions_taken, predict=False)
    assert [finding.code for finding in report.findings if finding.severity != "note"] == codes
    report = check(model, batch, loss=cross_entropy, predict=False)
    assert "GI131" not in [finding.code for finding in report.findings]


def test_nothing_is_said_where_zeros_cost_nothing_or_the_loss_takes_none() -> None:
    assert found(logits(3), mse_loss, torch.zeros(ROWS, 3)) == []
    assert of_one_number(logits(3), lambda o, y: o.missing, torch.zeros(ROWS, 3)) is None


@pytest.mark.parametrize(
    ("last", "target", "loss", "codes"),
    [
        (nn.Softmax(dim=1), torch.arange(ROWS) % 10, cross_entropy, ["GI129"]),
        (nn.Identity(), torch.arange(ROWS) % 10, cross_entropy, []),
        (nn.Linear(10, 1), torch.linspace(-1, 1, ROWS), mse_loss, ["GI130"]),
        (nn.Linear(10, 1), torch.linspace(-1, 1, ROWS)[:, None], mse_loss, []),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_check_tells_them(
    last: nn.Module, target: Tensor, loss: Callable[..., Tensor], codes: list[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10), last)
    report = check(model, (torch.randn(ROWS, 8), target), loss=loss)
    assert [finding.code for finding in report.findings] == codes
