"""Positions and other tables of the model that drown what the samples say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check


def encoder(width: int, depth: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, norm_first=True, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class Language(nn.Module):
    """Tokens and positions, added."""

    def __init__(self, tokens: float, positions: float, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, width), nn.Embedding(24, width)
        nn.init.normal_(self.tokens.weight, std=tokens)
        nn.init.normal_(self.positions.weight, std=positions)
        self.encoder, self.head = encoder(width, depth), nn.Linear(width, 50)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))))


class Vision(nn.Module):
    """Patches and raw parameters as positions, added."""

    def __init__(self, positions: float, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 16, width) * positions)
        self.encoder, self.head = encoder(width, depth), nn.Linear(width, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        rows = self.patches(pictures).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.encoder(rows).mean(dim=1))


def drowned(model: nn.Module, batch: torch.Tensor) -> Finding | None:
    found = {f.code: f for f in check(model, batch, predict=False).findings if f.severity != "note"}
    return found.get("GI108")


IDS = torch.randint(50, (16, 24), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("tokens", "positions"), [(0.02, 1.0), (0.1, 5.0), (1.0, 300.0)])
@pytest.mark.parametrize("width", [32, 128])
def test_positions_that_drown_the_tokens_are_named_and_the_cure_helps(
    tokens: float, positions: float, width: int
) -> None:
    torch.manual_seed(0)
    model = Language(tokens, positions, width)
    finding = drowned(model, IDS)
    assert finding is not None
    severity = "error" if (tokens / positions) ** 2 < 1e-4 else "warning"
    assert (finding.severity, finding.where[0]) == (severity, "positions.weight")
    # The first layer behind a norm takes from all features alike, but for chance.
    assert 1 / 3 < finding.effect / (tokens / positions) ** 2 < 3
    exec(finding.cure, {"torch": torch, "model": model})
    assert drowned(model, IDS) is None


@pytest.mark.parametrize("depth", [2, 4])
def test_raw_parameters_that_drown_the_patches_are_named_and_the_cure_helps(depth: int) -> None:
    torch.manual_seed(0)
    model = Vision(20.0, depth=depth)
    finding = drowned(model, PICTURES)
    assert finding is not None
    assert finding.where[0] == "positions"
    exec(finding.cure, {"torch": torch, "model": model})
    assert drowned(model, PICTURES) is None


@pytest.mark.parametrize(("tokens", "positions"), [(0.02, 0.02), (1.0, 0.02), (1.0, 1.0), (0.1, 0.5)])
def test_tokens_beside_usual_positions_are_left_alone(tokens: float, positions: float) -> None:
    torch.manual_seed(0)
    assert drowned(Language(tokens, positions), IDS) is None
    # Samples that are all the same say nothing about positions.
    assert drowned(Language(tokens, positions), IDS[:1].expand(16, -1)) is None


@pytest.mark.parametrize("positions", [0.0, 0.02, 1.0])
def test_patches_beside_usual_positions_are_left_alone(positions: float) -> None:
    torch.manual_seed(0)
    assert drowned(Vision(positions), PICTURES) is None


def test_a_norm_over_the_batch_behind_the_sum_takes_the_table_away() -> None:
    torch.manual_seed(0)

    class Normed(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.first, self.table = nn.Linear(8, 32), nn.Parameter(20 * torch.randn(4, 32))
            self.norm = norm
            self.rest = nn.Sequential(
                nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rest(self.norm((self.first(x) + self.table).flatten(1)))

    batch = torch.randn(32, 4, 8)
    assert drowned(Normed(nn.Identity()), batch) is not None
    assert drowned(Normed(nn.BatchNorm1d(128)), batch) is None
