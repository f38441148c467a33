"""Samples that have become multiples of one vector."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit
from goodinit.signals.judging.diagnose import diagnose
from goodinit.signals.probing.probe import probe


def filled(depth: int, width: int, act: type[nn.Module], fill: Callable[[Tensor], object]) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(width if index else 64, width), act()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in model[:-1]:
        if isinstance(layer, nn.Linear):
            fill(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def positive(weight: Tensor) -> None:
    """torch.rand in place of torch.randn, with a sum of one."""
    nn.init.uniform_(weight, 0.0, 2.0 / weight.shape[1])


def found(model: nn.Module, x: Tensor) -> list[str]:
    return [finding.code for finding in diagnose(probe(model, x)) if finding.code == "GI112"]


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize(("depth", "width"), [(7, 64), (8, 32), (10, 128)])
def test_weights_of_one_sign_are_found_and_the_cure_cures(
    act: type[nn.Module], depth: int, width: int
) -> None:
    model, x = filled(depth, width, act, positive), torch.randn(32, 64)
    assert found(model, x) == ["GI112"]
    goodinit.initialize(model)
    assert found(model, x) == []


@pytest.mark.parametrize(("depth", "width"), [(3, 16), (10, 64), (30, 64), (60, 64)])
def test_critical_networks_keep_directions(depth: int, width: int) -> None:
    assert found(filled(depth, width, nn.ReLU, nn.init.kaiming_normal_), torch.randn(32, 64)) == []


def test_a_bottleneck_of_one_unit_is_a_choice() -> None:
    decoder = [layer for _ in range(4) for layer in (nn.Linear(16, 16, bias=False), nn.ReLU())]
    narrow = [nn.Linear(16, 1), nn.Softplus(), nn.Linear(1, 16, bias=False), nn.ReLU()]
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), *narrow, *decoder, nn.Linear(16, 64, bias=False))
    assert found(model, torch.randn(32, 64)) == []


def test_a_batch_of_multiples_of_one_sample_shows_nothing() -> None:
    model = filled(6, 32, nn.ReLU, nn.init.kaiming_normal_)
    assert found(model, torch.rand(32, 1) * torch.randn(1, 64)) == []
