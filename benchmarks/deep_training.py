"""Do very deep plain networks train? 200 tanh layers and 100 ReLU layers on scikit-learn's digits.

No normalization, no shortcut: Linear 64→64 and the activation, over and over, then a linear
output. All inits get the same images, the same batches, Adam and a one-cycle schedule. The
highest learning rate is chosen for each init alone, out of the same grid, by accuracy on
validation images under a seed of its own; the test images (30 %) are used once, at the end,
for other seeds. Claim: `auto` gets at least 90 % where torch's default stays at chance.

    python benchmarks/deep_training.py [--seeds 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from _machine import save
from torch import Tensor, nn

import goodinit

WIDTH, BATCH, EPOCHS = 64, 64, 10
RATES = (1e-4, 3e-4, 1e-3)
TUNING_SEED = 100
DEFAULT = "torch default"
CLAIM = 0.9

Part = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """One plain network: its activation, its depth, and the inits to compare."""

    name: str
    activation: Callable[[], nn.Module]
    depth: int
    inits: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One training; `accuracy` is a share of the images it was judged on, NaN losses included as they are."""

    task: str
    init: str
    seed: int
    rate: float
    loss: float
    accuracy: float
    seconds: float


TASKS = (
    Task("200 tanh layers", nn.Tanh, 200, (DEFAULT, "xavier_normal", "orthogonal", "auto")),
    Task("100 ReLU layers", nn.ReLU, 100, (DEFAULT, "kaiming_normal", "orthogonal", "auto")),
)


def load_digits() -> dict[str, Part]:
    """Standardized digits (n, 64) and labels: 55 % to train on, 15 % to choose the rate, 30 % to test."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.3, stratify=labels, random_state=0)
    train, held = train_test_split(rest, test_size=0.15 / 0.7, stratify=labels[rest], random_state=0)
    scaled = torch.tensor((images - images[train].mean()) / images[train].std(), dtype=torch.float32)
    parts = {"train": train, "validation": held, "test": test}
    return {name: (scaled[chosen], torch.tensor(labels[chosen])) for name, chosen in parts.items()}


def chance(part: Part) -> float:
    """Accuracy of always naming the most frequent digit."""
    return float(part[1].bincount().max()) / len(part[1])


def network(task: Task) -> nn.Sequential:
    """`depth` hidden layers of width 64 and a linear output, as torch makes them."""
    layers: list[nn.Module] = []
    for _ in range(task.depth):
        layers += [nn.Linear(WIDTH, WIDTH), task.activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def made(task: Task, init: str, seed: int) -> nn.Sequential:
    """The network under one init; `auto` alone looks at an example input (zeros: only its shape counts)."""
    torch.manual_seed(seed)
    model = network(task)
    if init != DEFAULT:
        example = torch.zeros(2, WIDTH) if init == "auto" else None
        goodinit.initialize(model, init, example=example, seed=seed)
    return model


def train(
    task: Task, init: str, seed: int, rate: float, data: dict[str, Part], judge: str, steps: int
) -> Run:
    """Adam under a one-cycle rate; the seed alone decides the batches, whatever the init."""
    model = made(task, init, seed)
    images, labels = data["train"]
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    losses, order = [], torch.empty(0, dtype=torch.long)
    start = time.perf_counter()
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(labels), generator=batches)
        chosen, order = order[:BATCH], order[BATCH:]
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    seconds = time.perf_counter() - start
    with torch.no_grad():
        inputs, truth = data[judge]
        accuracy = float((model(inputs).argmax(1) == truth).double().mean())
    return Run(task.name, init, seed, rate, statistics.fmean(losses[-10:]), accuracy, seconds)


def compare(
    task: Task, data: dict[str, Part], seeds: Sequence[int], rates: Sequence[float], steps: int
) -> tuple[list[Run], list[Run]]:
    """Choose each init's rate on the validation images, then train and test it under every seed."""
    tuning, final = [], []
    for init in task.inits:
        tried = [train(task, init, TUNING_SEED, rate, data, "validation", steps) for rate in rates]
        best = max(tried, key=lambda run: (run.accuracy, -run.loss))
        tested = [train(task, init, seed, best.rate, data, "test", steps) for seed in seeds]
        tuning += tried
        final += tested
        print(row(task, init, tried, best, tested), flush=True)
    return tuning, final


def row(task: Task, init: str, tried: Sequence[Run], best: Run, tested: Sequence[Run]) -> str:
    """One line of the table; a star marks the chosen rate."""
    grid = "".join(f"{'*' if run is best else ' '}{run.accuracy:6.1%} " for run in tried)
    found = " ".join(f"{run.accuracy:6.1%}" for run in tested)
    loss, seconds = (statistics.fmean(getattr(run, key) for run in tested) for key in ("loss", "seconds"))
    return f"{task.name:18}{init:16}{grid}  {loss:8.3f} {seconds:6.1f}   {found}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and keep its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args(argv).seeds)
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread
    data = load_digits()
    steps = EPOCHS * (len(data["train"][1]) // BATCH)
    guess = chance(data["test"])
    print(f"{EPOCHS} epochs of {steps // EPOCHS} batches; chance (the most frequent digit) is {guess:.1%}")
    grid = "".join(f" {rate:6.0e} " for rate in RATES)
    print(f"{'network':18}{'init':16}{grid}  {'loss':>8} {'s':>6}   test accuracy by seed", flush=True)
    tuning: list[Run] = []
    final: list[Run] = []
    for task in TASKS:
        tried, tested = compare(task, data, seeds, RATES, steps)
        tuning, final = tuning + tried, final + tested
    verdicts = {task.name: verdict(task, final, guess) for task in TASKS}
    for name, words in verdicts.items():
        print(f"{name}: {words}")
    figures = {
        "settings": {
            "width": WIDTH,
            "batch": BATCH,
            "epochs": EPOCHS,
            "steps": steps,
            "rates": RATES,
            "tuning_seed": TUNING_SEED,
            "images": {name: len(labels) for name, (_, labels) in data.items()},
        },
        "chance": guess,
        "tuning": [asdict(run) for run in tuning],
        "final": [asdict(run) for run in final],
        "verdicts": verdicts,
    }
    print(f"Written: results/{save('deep_training', figures).name}")


def verdict(task: Task, final: Sequence[Run], guess: float) -> str:
    """What the figures say of the claim."""
    found = {
        init: [run.accuracy for run in final if (run.task, run.init) == (task.name, init)]
        for init in task.inits
    }
    trained, stuck = min(found["auto"]) >= CLAIM, max(found[DEFAULT]) <= guess + 0.05
    words = "claim held" if trained and stuck else "CLAIM MISSED"
    return (
        f"auto {min(found['auto']):.1%} at least (claim {CLAIM:.0%}), "
        f"torch default {max(found[DEFAULT]):.1%} at most (chance {guess:.1%}): {words}"
    )


if __name__ == "__main__":
    main()
