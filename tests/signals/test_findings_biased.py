"""Biases that drown what tells samples apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from goodinit.signals.judging.biased import judge_biased
from goodinit.signals.probing.probe import probe


class Residual(nn.Module):
    """An embedding by a linear layer, norm-first blocks, and a head; classes see the mean over patches."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.embed = nn.Linear(8, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.first: nn.Module = nn.Identity()
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + block(norm(h))
        scores: Tensor = self.head(h.mean(1))
        return scores


def found(model: nn.Module) -> list[tuple[str, ...]]:
    seen = probe(model, (torch.randn(32, 8, 8), torch.randint(0, 10, (32,))), loss=cross_entropy)
    return [finding.where for finding in judge_biased(seen, ())]


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_bias_that_drowns_the_patches_is_named_and_its_cure_helps(width: int, depth: int) -> None:
    model = Residual(width, depth)
    assert found(model) == []
    nn.init.normal_(model.embed.bias, std=100.0)
    assert found(model) == [("embed", "head")]
    seen = probe(model, (torch.randn(32, 8, 8), torch.randint(0, 10, (32,))), loss=cross_entropy)
    (told,) = judge_biased(seen, ())
    assert judge_biased(seen, (told,)) == ()
    exec(told.cure, {"torch": torch, "model": model})
    assert found(model) == []


def test_one_that_a_norm_takes_away_is_not() -> None:
    model = Residual(16, 3)
    nn.init.constant_(model.embed.bias, 100.0)  # the mean over features, which layer norms take away
    assert found(model) == []
    nn.init.normal_(model.embed.bias, std=100.0)
    assert found(model) == [("embed", "head")]
    model.first = nn.BatchNorm1d(16)
    assert found(model) == []


def test_torchs_default_beside_tiny_weights_is_not() -> None:
    model = Residual(16, 3)
    nn.init.normal_(model.embed.weight, std=1e-3)
    assert found(model) == []


@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_biases_of_the_size_of_outputs_are_not(std: float) -> None:
    model = Residual(32, 2)
    nn.init.normal_(model.embed.bias, std=std)
    assert found(model) == []


def test_a_head_that_starts_at_a_prior_is_not() -> None:
    model = Residual(32, 2)
    nn.init.constant_(model.head.bias, -100.0)
    assert found(model) == []
