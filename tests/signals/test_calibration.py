"""Healthy families pass and planted faults do not: the thresholds of `travel`, simulated.

The full simulation, of more families with up to 200 seeds each, is `benchmarks/calibration.py` with its
result beside it. Here each family runs with three seeds, fixed, so the counts are exact and cannot flicker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn

from goodinit.signals import check

SEEDS = 3


def mlp(
    depth: int, width: int, act: type[nn.Module], scale: Callable[[torch.Tensor], object] | None
) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), act()]
    return _scaled(nn.Sequential(*layers, nn.Linear(width, 10)), scale)


def convnet(
    depth: int,
    channels: int,
    scale: Callable[[torch.Tensor], object] | None,
    norm: bool = False,
) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Conv2d(channels if index else 3, channels, 3, padding=1))
        layers += [nn.BatchNorm2d(channels), nn.ReLU(True)] if norm else [nn.ReLU(True)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    return _scaled(nn.Sequential(*layers, *head), scale)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def resnet(zero_gamma: bool = False) -> nn.Module:
    blocks = [Residual(8) for _ in range(8)]
    if zero_gamma:
        for block in blocks:
            nn.init.zeros_(block.body[-1].weight)
    stem = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


class PreNorm(nn.Module):
    """A pre-norm Transformer encoder on token ids."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, norm_first=True, batch_first=True)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(32, 50)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.table(ids)))


def _scaled(model: nn.Module, scale: Callable[[torch.Tensor], object] | None) -> nn.Module:
    if scale is not None:
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                scale(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
    return model


def gain(factor: float) -> Callable[[torch.Tensor], object]:
    return lambda w: nn.init.normal_(w, 0.0, factor / (w.numel() // w.shape[0]) ** 0.5)


def xavier(factor: float = 1.0) -> Callable[[torch.Tensor], object]:
    return lambda w: nn.init.xavier_normal_(w, factor)


kaiming = nn.init.kaiming_normal_
PICTURES = torch.randn(16, 3, 1, 1, generator=torch.Generator().manual_seed(1)) + torch.randn(
    16, 3, 10, 10, generator=torch.Generator().manual_seed(2)
)

HEALTHY: dict[str, Callable[[], nn.Module]] = {
    "kaiming ReLU, depth 2, width 32": lambda: mlp(2, 32, nn.ReLU, kaiming),
    "kaiming ReLU, depth 10, width 32": lambda: mlp(10, 32, nn.ReLU, kaiming),
    "kaiming ReLU, depth 30, width 128": lambda: mlp(30, 128, nn.ReLU, kaiming),
    "kaiming ReLU, depth 50, width 32": lambda: mlp(50, 32, nn.ReLU, kaiming),
    "kaiming ReLU, depth 50, width 64": lambda: mlp(50, 64, nn.ReLU, kaiming),
    "kaiming convolutions, depth 10": lambda: convnet(10, 16, kaiming),
    "kaiming convolutions, depth 30": lambda: convnet(30, 16, kaiming),
    "orthogonal ReLU, depth 30": lambda: mlp(30, 64, nn.ReLU, lambda w: nn.init.orthogonal_(w, 2**0.5)),
    "Xavier tanh, depth 10": lambda: mlp(10, 64, nn.Tanh, xavier()),
    "Xavier tanh, depth 20": lambda: mlp(20, 128, nn.Tanh, xavier()),
    "LeCun SELU, depth 20": lambda: mlp(20, 64, nn.SELU, gain(1.0)),
    "LeCun SELU, depth 50": lambda: mlp(50, 64, nn.SELU, gain(1.0)),
    "default ReLU, depth 2": lambda: mlp(2, 64, nn.ReLU, None),
    "default ReLU, depth 3": lambda: mlp(3, 64, nn.ReLU, None),
    "default sigmoid, depth 2": lambda: mlp(2, 64, nn.Sigmoid, None),
    "default convolutions, depth 3": lambda: convnet(3, 16, None),
    "batch norm, depth 10": lambda: convnet(10, 16, None, norm=True),
    "residual, batch norm": resnet,
    "residual, last gain zero": lambda: resnet(zero_gamma=True),
    "residual in eval mode": lambda: resnet().eval(),
    "pre-norm Transformer, depth 6": lambda: PreNorm(6),
    "LSTM": lambda: nn.LSTM(8, 16),
    "GRU": lambda: nn.GRU(8, 16, 2, batch_first=True),
}

SICK: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "default ReLU, depth 30": (lambda: mlp(30, 64, nn.ReLU, None), {"GI104", "GI108", "GI119"}),
    "default ReLU, depth 10": (lambda: mlp(10, 64, nn.ReLU, None), {"GI104", "GI108"}),
    "default convolutions, depth 30": (lambda: convnet(30, 16, None), {"GI104", "GI108"}),
    "default sigmoid, depth 10": (lambda: mlp(10, 64, nn.Sigmoid, None), {"GI104", "GI108"}),
    "Xavier sigmoid, depth 5": (lambda: mlp(5, 64, nn.Sigmoid, xavier()), {"GI104"}),
    "tanh gain 5/3, depth 20": (lambda: mlp(20, 64, nn.Tanh, gain(5 / 3)), {"GI105", "GI111"}),
    "tanh gain 5/3, depth 30": (lambda: mlp(30, 128, nn.Tanh, xavier(5 / 3)), {"GI105"}),
    "tanh gain 5/3, depth 50": (lambda: mlp(50, 128, nn.Tanh, xavier(5 / 3)), {"GI105"}),
    "tanh gain 3, depth 10": (lambda: mlp(10, 128, nn.Tanh, xavier(3.0)), {"GI105"}),
    "ReLU 1.5 × too large, depth 30": (lambda: mlp(30, 64, nn.ReLU, gain(1.5 * 2**0.5)), {"GI103", "GI105"}),
    "ReLU 1.5 × too large, depth 10": (lambda: mlp(10, 128, nn.ReLU, gain(1.5 * 2**0.5)), {"GI103", "GI105"}),
    "convolutions 1.5 × too large": (lambda: convnet(30, 16, gain(1.5 * 2**0.5)), {"GI103", "GI105"}),
    "ReLU √2 too small, depth 30": (lambda: mlp(30, 64, nn.ReLU, gain(1.0)), {"GI102", "GI104"}),
    "std 1, depth 4": (lambda: mlp(4, 128, nn.ReLU, nn.init.normal_), {"GI103", "GI105"}),
    "std 0.01, depth 4": (
        lambda: mlp(4, 128, nn.ReLU, lambda w: nn.init.normal_(w, 0, 0.01)),
        {"GI102", "GI104"},
    ),
    "batch norm without skips, depth 40": (lambda: convnet(40, 16, None, norm=True), {"GI105", "GI124"}),
}


def _found(build: Callable[[], nn.Module]) -> list[frozenset[str]]:
    found = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model = build()
        pictures = any(isinstance(module, nn.Conv2d) for module in model.modules())
        report = check(model, PICTURES if pictures else None, seed=seed)
        # Notes, such as that nn.TransformerEncoder copies its layers, are no accusation.
        found.append(frozenset(finding.code for finding in report.findings if finding.severity != "note"))
    return found


@pytest.mark.parametrize("family", HEALTHY)
def test_healthy_families_are_not_accused(family: str) -> None:
    assert Counter(_found(HEALTHY[family])) == {frozenset(): SEEDS}


@pytest.mark.parametrize("family", SICK)
def test_planted_faults_are_found_every_time(family: str) -> None:
    build, codes = SICK[family]
    assert all(codes <= found for found in _found(build))
