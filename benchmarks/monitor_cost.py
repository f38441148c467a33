"""What `goodinit.Monitor` costs: the same training with and without it, at the default `every`.

Two copies of a model train at once, one step of the one, one step of the other, so that
whatever else the machine does touches both alike; which goes first alternates. A round
is 100 steps of each, one of them measured, and gives one ratio. CPU time of the process
on one thread. The claim is a median ratio of at most 1.03 for each model. The last
columns are what the measured step alone costs, in plain steps, and the ratio that
follows from it.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _machine import save
from torch import nn

import goodinit

EVERY = 100
ROUNDS = 9
SINGLES = 31
LIMIT = 1.03


class Residual(nn.Module):
    """Two 3×3 convolutions with batch norm, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(x + branch(x))."""
        inner = self.relu(self.norm1(self.first(x)))
        return self.relu(x + self.norm2(self.second(inner)))


class Words(nn.Module):
    """A small causal transformer over 1,000 words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(1000, 64), nn.Embedding(32, 64)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, activation="gelu", batch_first=True)
            for _ in range(4)
        )
        self.head = nn.Linear(64, 1000)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (batch · time, words)."""
        length = words.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.words(words) + self.places(torch.arange(length))
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.head(x).flatten(0, 1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Case:
    """A model and one batch for it."""

    model: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor


def mlp() -> Case:
    """Four hidden layers of 256, batch 128."""
    hidden = [layer for _ in range(4) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return Case(nn.Sequential(*hidden, nn.Linear(256, 10)), torch.randn(128, 256), torch.randint(10, (128,)))


def resnet() -> Case:
    """Four residual blocks of 16 channels on 16×16 images, batch 16."""
    stem = (nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    body = [Residual(16) for _ in range(4)]
    model = nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return Case(model, torch.randn(16, 3, 16, 16), torch.randint(10, (16,)))


def transformer() -> Case:
    """Four layers of width 64, batch 4 of 32 words."""
    return Case(Words(), torch.randint(1000, (4, 32)), torch.randint(1000, (4 * 32,)))


def stepper(case: Case, monitor: goodinit.Monitor | None) -> Callable[[], float]:
    """Return a function that makes one training step and returns the CPU seconds that it took."""
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-4)

    def step() -> float:
        start = time.process_time()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(case.model(case.inputs), case.targets)
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(loss)
        return time.process_time() - start

    return step


def paired(plain: Callable[[], float], watched: Callable[[], float], steps: int) -> list[tuple[float, float]]:
    """Make steps of both in turn, each first in every other pair."""
    found = []
    for index in range(steps):
        if index % 2:
            a, b = plain(), watched()
        else:
            b, a = watched(), plain()
        found.append((a, b))
    return found


def measure(case: Case) -> dict[str, Any]:
    """The ratio at the default `every`, and the cost of one measured step in plain steps."""
    plain = stepper(copy.deepcopy(case), None)
    with goodinit.Monitor(case.model) as monitor:
        watched = stepper(case, monitor)
        assert monitor._every == EVERY
        # From the middle between two measured steps to the middle between the next two.
        paired(plain, watched, EVERY // 2)
        rounds = [paired(plain, watched, EVERY) for _ in range(ROUNDS)]
        assert len(monitor.history) == ROUNDS + 1, "each round holds one measured step"
        layers, parameters = len(monitor.history[-1].layers), len(monitor.history[-1].parameters)
    with goodinit.Monitor(case.model, every=1) as monitor:
        singles = paired(plain, stepper(case, monitor), SINGLES)
    ratios = sorted(sum(b for _, b in pairs) / sum(a for a, _ in pairs) for pairs in rounds)
    single = statistics.median(b / a for a, b in singles)
    return {
        "parameters": sum(p.numel() for p in case.model.parameters()),
        "layers_measured": layers,
        "parameters_measured": parameters,
        "plain_step_ms": 1e3 * statistics.median(a for pairs in rounds for a, _ in pairs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]],
        "measured_step_in_plain_steps": single,
        "ratio_from_single_steps": 1 + (single - 1) / EVERY,
    }


def main() -> None:
    """Measure the three models and write the figures."""
    torch.set_num_threads(1)
    print(f"{'model':<12}{'plain step':>12}{'ratio':>9}{'quartiles':>17}{'measured step':>17}{'implied':>10}")
    rows = {}
    for build in (mlp, resnet, transformer):
        torch.manual_seed(0)
        row = measure(build())
        rows[build.__name__] = row
        low, high = row["ratio_quartiles"]
        print(
            f"{build.__name__:<12} {row['plain_step_ms']:>8.2f} ms {row['ratio']:>8.4f} "
            f"{low:>9.4f}–{high:.4f} {row['measured_step_in_plain_steps']:>10.2f} steps "
            f"{row['ratio_from_single_steps']:>9.4f}"
        )
    kept = save("monitor_cost", {"every": EVERY, "rounds": ROUNDS, "models": rows})
    worst = max(row["ratio"] for row in rows.values())
    print(f"claim: at most {LIMIT} at every={EVERY}; worst {worst:.4f}. Written: results/{kept.name}")


if __name__ == "__main__":
    main()
