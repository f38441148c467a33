"""What the demo trains: real digits, a plain deep network, and a fair comparison of two inits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import goodinit
from goodinit.records import Report

RECIPE = "auto"
BEFORE, AFTER = "PyTorch default", RECIPE
INITS = (BEFORE, AFTER)


@dataclass(frozen=True)
class Settings:
    """Everything that the result depends on, apart from the versions."""

    depth: int = 30
    channels: int = 16
    steps: int = 120
    batch: int = 64
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    tuning_seed: int = 100
    seeds: tuple[int, ...] = (0, 1, 2)
    checked: int = 256
    split_seed: int = 0


@dataclass(frozen=True)
class Digits:
    """Standardised images (n, 1, 8, 8) and labels (n,), in three parts that share no image."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def most_frequent(self) -> float:
        """Return the test accuracy of always naming the most frequent digit of the test images."""
        labels = self.test[1]
        return float(labels.bincount().max()) / len(labels)


@dataclass(frozen=True)
class Run:
    """One training: its init, seed and highest learning rate, and what came of it.

    `loss` is the mean over the last ten batches, `accuracy` a share of the images that
    it was judged on, `seconds` the time of the training alone.
    """

    init: str
    seed: int
    rate: float
    loss: float
    accuracy: float
    seconds: float


class PlainNet(nn.Module):
    """Convolutions 3×3, each followed by ReLU: no normalization, no shortcut; a linear layer at the end."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for index in range(depth):
            layer = nn.Sequential()
            layer.add_module("conv", nn.Conv2d(channels if index else 1, channels, 3, padding=1))
            layer.add_module("relu", nn.ReLU())
            self.layers.append(layer)
        self.head = nn.Linear(channels * 8 * 8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the ten logits (n, 10) of images (n, 1, 8, 8)."""
        logits: Tensor = self.head(self.layers(images).flatten(1))
        return logits


def load_digits(split_seed: int) -> Digits:
    """Return scikit-learn's digits: 55 % to train on, 15 % to choose the learning rate, 30 % to test."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.3, stratify=labels, random_state=split_seed
    )
    train, validation = train_test_split(
        rest, test_size=0.15 / 0.7, stratify=labels[rest], random_state=split_seed
    )
    mean, std = images[train].mean(), images[train].std()
    inputs = torch.tensor((images - mean) / std, dtype=torch.float32).reshape(-1, 1, 8, 8)
    targets = torch.tensor(labels)
    parts = [(inputs[chosen], targets[chosen]) for chosen in map(torch.tensor, (train, validation, test))]
    return Digits(*parts)


def build(settings: Settings, init: str, seed: int) -> PlainNet:
    """Return the network as PyTorch makes it, or with goodinit's plan applied over that."""
    torch.manual_seed(seed)
    net = PlainNet(settings.depth, settings.channels)
    if init == AFTER:
        goodinit.initialize(net, RECIPE, seed=seed)
    return net


def check(settings: Settings, digits: Digits, init: str, seed: int) -> Report:
    """Check one network on the first training images, under the loss that it is trained with."""
    images, labels = (part[: settings.checked] for part in digits.train)
    return goodinit.check(build(settings, init, seed), (images, labels), loss=nn.functional.cross_entropy)


def train(
    settings: Settings,
    digits: Digits,
    judged_on: tuple[Tensor, Tensor],
    init: str,
    seed: int,
    rate: float,
    step_done: Callable[[], None] = lambda: None,
) -> Run:
    """Train with Adam under a one-cycle learning rate; the seed alone decides the batches."""
    net = build(settings, init, seed)
    images, labels = digits.train
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=settings.steps, cycle_momentum=False
    )
    losses = []
    start = time.perf_counter()
    for _ in range(settings.steps):
        chosen = torch.randint(len(labels), (settings.batch,), generator=batches)
        loss = nn.functional.cross_entropy(net(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        step_done()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        accuracy = float((net(judged_on[0]).argmax(1) == judged_on[1]).double().mean())
    return Run(init, seed, rate, statistics.fmean(losses[-10:]), accuracy, seconds)


def tune_and_train(
    settings: Settings, digits: Digits, step_done: Callable[[], None] = lambda: None
) -> tuple[list[Run], list[Run]]:
    """Choose each init's learning rate on the validation images, then train and test it on every seed.

    Returns:
        The tuning runs (accuracy on the validation images) and the final ones (on the test images).
    """
    tuning = [
        train(settings, digits, digits.validation, init, settings.tuning_seed, rate, step_done)
        for init in INITS
        for rate in settings.rates
    ]
    final = [
        train(settings, digits, digits.test, init, seed, best_rate(tuning, init), step_done)
        for init in INITS
        for seed in settings.seeds
    ]
    return tuning, final


def steps_in_all(settings: Settings) -> int:
    """Return the number of optimizer steps that `tune_and_train` takes."""
    return len(INITS) * (len(settings.rates) + len(settings.seeds)) * settings.steps


def best_rate(tuning: Sequence[Run], init: str) -> float:
    """Return the learning rate with the best validation accuracy, the lower loss deciding a tie."""
    return max((run for run in tuning if run.init == init), key=lambda run: (run.accuracy, -run.loss)).rate


def mean_accuracy(runs: Sequence[Run], init: str) -> float:
    """Return the mean accuracy of an init over the seeds."""
    return statistics.fmean(run.accuracy for run in runs if run.init == init)
