"""How the kind of a layer decides what is counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.signals import probe
from goodinit.signals.probing.kinds import cuts_to_zero, is_embedding, is_norm, unit_dimension


@pytest.mark.parametrize("kind", ["ReLU", "relu", "ReLU6", "Threshold", "ReLUSquaredActivation"])
def test_relu_like_layers_can_have_dead_units(kind: str) -> None:
    assert cuts_to_zero(kind)


@pytest.mark.parametrize(
    "kind", ["LeakyReLU", "leaky_relu", "PReLU", "RReLU", "GELU", "SELU", "CELU", "Linear"]
)
def test_layers_with_a_slope_everywhere_cannot(kind: str) -> None:
    assert not cuts_to_zero(kind)


@pytest.mark.parametrize(
    "kind", ["LayerNorm", "BatchNorm2d", "RMSNorm", "LlamaRMSNorm", "T5LayerNorm", "GroupNorm"]
)
def test_norms_are_known_by_name(kind: str) -> None:
    assert is_norm(kind)
    assert not is_norm("Linear")


def test_embeddings_are_known_by_name() -> None:
    assert is_embedding("Embedding")
    assert is_embedding("EmbeddingBag")
    assert not is_embedding("Linear")


@pytest.mark.parametrize(
    ("kind", "shape", "inherited", "dimension"),
    [
        ("Conv2d", (2, 3, 4, 5), None, 1),
        ("Conv1d", (2, 3, 4), None, 1),
        ("Linear", (2, 3, 4), 1, 2),
        ("Linear", (2, 3), None, 1),
        ("ReLU", (2, 3, 4), 1, 1),
        ("ReLU", (2, 3, 4), -1, 2),
        ("ReLU", (2, 3, 4, 5), None, 1),
        ("ReLU", (2, 3, 4, 5), -1, 3),
        ("Conv1D", (2, 3, 4), None, 2),
    ],
)
def test_units_lie_along_channels_or_features(
    kind: str, shape: tuple[int, ...], inherited: int | None, dimension: int
) -> None:
    assert unit_dimension(kind, torch.empty(shape), inherited) == dimension


def test_a_model_that_catches_a_childs_exception_is_still_measured() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError

    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails, self.works = Fails(), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.fails(x)
            except RuntimeError:
                return torch.relu(self.works(x))

    assert [layer.name for layer in probe(Tries(), torch.randn(2, 3)).layers] == ["works", "relu"]
