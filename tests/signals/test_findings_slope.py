"""Losses that hardly depend on any weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from goodinit.signals.judging.diagnose import diagnose
from goodinit.signals.judging.slope import judge_slope
from goodinit.signals.probing.probe import probe


class Shrunk(nn.Module):
    """A recurrent network whose features, or whose output, are multiplied by a factor."""

    def __init__(self, kind: str, width: int, features: float = 1.0, output: float = 1.0) -> None:
        super().__init__()
        self.core, self.head = getattr(nn, kind)(8, width, batch_first=True), nn.Linear(width, 10)
        self.features, self.output = features, output

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0][:, -1] * self.features) * self.output


def found(model: nn.Module, loss: nn.Module | None = None) -> list[str]:
    batch = torch.randn(32, 8, 8), torch.randint(0, 10, (32,))
    return [finding.code for finding in diagnose(probe(model, batch, loss=loss or cross_entropy))]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("width", [16, 32])
def test_features_too_small_for_the_head_are_found(kind: str, width: int) -> None:
    assert found(Shrunk(kind, width, features=1e-3)) == ["GI104"]
    assert found(Shrunk(kind, width)) == []


@pytest.mark.parametrize("factor", [1e-5, 1e-7])
def test_an_output_times_a_tiny_factor_is_found(factor: float) -> None:
    assert found(Shrunk("GRU", 32, output=factor)) == ["GI104"]


# Below 1e-8 nothing is learned any more: test_findings_faint.py.
@pytest.mark.parametrize("factor", [1e-5, 1e8])
def test_the_scale_of_the_loss_itself_is_no_matter(factor: float) -> None:
    class Scaled(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return factor * cross_entropy(output, target)

    assert found(Shrunk("GRU", 16), Scaled()) == []


def test_embeddings_may_start_small() -> None:
    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(20, 8), nn.Embedding(20, 8)
            for table in (self.users, self.items):
                nn.init.normal_(table.weight, std=1e-3)

        def forward(self, ids: Tensor) -> Tensor:
            return (self.users(ids[:, 0]) * self.items(ids[:, 1])).sum(1)

    batch = torch.randint(0, 20, (32, 2)), torch.rand(32).round()
    seen = probe(Factors(), batch, loss=nn.functional.binary_cross_entropy_with_logits)
    assert judge_slope(seen, ()) == ()
    # The same gradients of another kind of weight are told.
    others = tuple(replace(p, kind="Linear") for p in seen.parameters)
    assert [finding.code for finding in judge_slope(replace(seen, parameters=others), ())] == ["GI104"]


def test_zeros_that_open_in_the_first_step_do_not_hide_a_tiny_factor() -> None:
    class Adapted(nn.Module):
        """A frozen body with an adapter of which the second matrix starts at zero."""

        def __init__(self, factor: float) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(16, 64), nn.Linear(64, 10)
            self.down, self.up = nn.Linear(16, 8, bias=False), nn.Linear(8, 64, bias=False)
            nn.init.zeros_(self.up.weight)
            self.body.requires_grad_(False)
            self.head.requires_grad_(False)
            self.factor = factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.body(x) + self.factor * self.up(self.down(x))))

    batch = torch.randn(32, 16), torch.randint(0, 10, (32,))
    for seed in range(3):
        for factor, wrong in ((1.0, False), (1e-6, True)):
            torch.manual_seed(seed)
            findings = diagnose(probe(Adapted(factor), batch, loss=cross_entropy))
            assert ("GI104" in {finding.code for finding in findings}) is wrong
