"""Small models to try the command line on: ``goodinit check examples/models.py:deep_relu``."""

from __future__ import annotations

from torch import nn


def deep_relu(depth: int = 30, width: int = 128) -> nn.Sequential:
    """A plain ReLU network. As torch builds it, its signal dies on the way."""
    layers: list[nn.Module] = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def mlp() -> nn.Sequential:
    """A shallow network, fit to train as torch builds it."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def convnet() -> nn.Sequential:
    """Convolutions with batch normalisation, for images of 3 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def encoder() -> nn.TransformerEncoder:
    """A transformer encoder. As torch builds it, all its layers are copies of the first."""
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 4)
