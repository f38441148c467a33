"""Convolutional and recurrent networks: members stacked under vmap against one after another.

Both train the same members, 8 and 32 of them, in one process on one thread, and end with the same losses but
for rounding, which training makes larger. Printed are milliseconds of CPU for a step of one member, those
after the first, and the seconds that all of `compare` takes, checks, tracing and evaluation included. A
perceptron shows what stacking is for.

``python benchmarks/stacked_or_not.py [steps]`` (50; a fifth of that for the largest) prints the table and
writes ``results/stacked_or_not.json``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import cpu_name, save
from torch import nn

from goodinit.comparing import chunk, compare
from goodinit.comparing.datasets import Data, load

BATCH = 32


class Last(nn.Module):
    """A recurrent layer, read out after the last step."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int, width: int) -> None:
        super().__init__()
        self.body, self.out = kind(inputs, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.body(x)[0][:, -1])
        return out


def convolutional(width: int, side: int) -> nn.Module:
    """Three convolutions, the first of so many channels, on square pictures."""
    wide, left = 2 * width, side // 4
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)), nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(wide * left**2, 10),
    )  # fmt: skip


def pictures() -> Any:
    """Noise of MNIST's shape: what it is makes no step slower."""
    return torch.randn(200, 784, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def adding() -> Data:
    return load("adding", length=20, train=256, test=32)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "perceptron 64-32-10": (perceptron, lambda: load("digits")),
    "convolutions 8-16-16 on 8x8": (lambda: convolutional(8, 8), lambda: load("digits")),
    "convolutions 8-16-16 on 28x28": (lambda: convolutional(8, 28), pictures),
    "convolutions 32-64-64 on 28x28": (lambda: convolutional(32, 28), pictures),
    "RNN of 16, 20 time steps": (lambda: Last(nn.RNN, 2, 16), adding),
    "LSTM of 16, 20 time steps": (lambda: Last(nn.LSTM, 2, 16), adding),
}


def run(build: Callable[[], nn.Module], data: Any, members: int, engine: str, steps: int) -> Any:
    """Train; return the comparison, ms of CPU for a later step of one member, and seconds of everything."""
    spent, done, advancing = 0.0, 0, chunk.advancing

    def timed(training: Any, group: Any, model: Any) -> Any:
        advance = advancing(training, group, model)

        def step(state: Any, first: int, last: int) -> Any:
            nonlocal spent, done
            begin = time.process_time()
            state = advance(state, first, last)
            if first:
                spent, done = spent + time.process_time() - begin, done + (last - first) * len(group)
            return state

        return step

    begin = time.process_time()
    chunk.advancing = timed
    try:
        made = compare(
            build, ["torch"], data, seeds=members, steps=steps, lr=0.01, optimizer="adam", batch_size=BATCH,
            evaluations=1, engine=engine, progress=False,
        )  # fmt: skip
    finally:
        chunk.advancing = advancing
    return made, 1000 * spent / done, time.process_time() - begin


def main(steps: int) -> None:
    torch.set_num_threads(1)
    print(f"ms of CPU for a step of one member, batches of {BATCH}, one thread, {cpu_name()}")
    print(f"{'':32} members  stacked  one by one  ratio   all: stacked  one by one")
    figures = []
    for name, (build, make) in MODELS.items():
        data = make()
        for members in (8, 32):
            count = steps // 5 if "64" in name and "28" in name else steps
            one, stacked, every = run(build, data, members, "stacked", count)
            other, plain, every_plain = run(build, data, members, "sequential", count)
            ends = [torch.tensor([each.train[-1] for each in made.runs]) for made in (one, other)]
            apart = float((ends[0] / ends[1] - 1).abs().max())
            print(
                f"{name:32} {members:7} {stacked:8.2f} {plain:11.2f} {plain / stacked:6.2f} {every:12.1f} s "
                f"{every_plain:9.1f} s   ends within {apart:.0e}",
                flush=True,
            )
            figures.append(
                {
                    "model": name, "members": members, "steps": count, "stacked_ms": stacked,
                    "sequential_ms": plain, "ratio": plain / stacked, "stacked_s": every,
                    "sequential_s": every_plain, "largest_difference": apart,
                }
            )  # fmt: skip
    print(f"kept in {save('stacked_or_not', figures)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
