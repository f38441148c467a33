"""Gradients below what any optimizer tells from zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from goodinit.signals.judging.diagnose import diagnose
from goodinit.signals.judging.faint import judge_faint
from goodinit.signals.probing.probe import probe


def net(width: int, depth: int) -> nn.Sequential:
    torch.manual_seed(width)
    hidden = [
        part for _ in range(depth) for part in (nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
    ]
    return nn.Sequential(nn.Linear(8, width), *hidden, nn.Linear(width, 10))


def found(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> list[str]:
    seen = probe(model, (torch.randn(32, 8), torch.randint(0, 10, (32,))), loss=loss)
    told = tuple(each for each in diagnose(seen) if "Adam" not in each.cause)
    return [finding.code for finding in judge_faint(seen, told)]


def times(factor: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: factor * cross_entropy(output, target)


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("depth", [1, 4])
def test_a_loss_times_a_factor_that_adam_does_not_make_up_for_is_found(width: int, depth: int) -> None:
    assert found(net(width, depth), times(1e-8)) == ["GI104"]
    assert found(net(width, depth), times(1e-15)) == ["GI104"]


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e8])
def test_other_factors_are_no_matter(factor: float) -> None:
    assert found(net(32, 2), times(factor)) == []


@pytest.mark.parametrize("certainty", [30.0, 50.0])
def test_the_saturating_loss_of_a_generator_is_found(certainty: float) -> None:
    generator, judge = net(16, 1), nn.Linear(10, 1)
    nn.init.constant_(judge.bias, -certainty)
    model = nn.Sequential(generator, judge.requires_grad_(False))
    assert found(model, lambda logit, _: logsigmoid(-logit).mean()) == ["GI104"]
    assert found(model, lambda logit, _: -logsigmoid(logit).mean()) == []


def test_nothing_is_said_without_a_loss_or_beside_the_gradient_that_faded() -> None:
    model, batch = net(16, 1), torch.randn(32, 8)
    assert judge_faint(probe(model, batch), ()) == ()
    seen = probe(model, (batch, torch.randint(0, 10, (32,))), loss=times(1e-8))
    (first,) = judge_faint(seen, ())
    assert judge_faint(replace(seen, loss=None), ()) == ()
    assert judge_faint(seen, (first,)) == ()
