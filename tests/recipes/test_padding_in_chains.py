"""Padding is made up for in short chains of convolutions, and left alone in long ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.plans.build import plan


def convolutions(depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Conv2d(16 if index else 1, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10))


@pytest.mark.parametrize(("depth", "share"), [(6, (22 / 24) ** 2), (30, 1.0)])
def test_the_std_counts_padding_by_the_length_of_the_chain(depth: int, share: float) -> None:
    row = plan(convolutions(depth), example=torch.zeros(4, 1, 8, 8))["4.weight"]
    assert row.std is not None
    assert row.std**2 * 144 * share == pytest.approx(2.0, rel=0.02)
    assert ("padding" in row.why) == (share < 1)
