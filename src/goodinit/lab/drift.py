"""Init only sets the start: gradients drift apart during training, and then the start no longer matters."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import Data, load
from goodinit.initializers import XavierNormal
from goodinit.lab.drawing import banded
from goodinit.lab.estimates import fact, geometric_mean, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense
from goodinit.lab.training import reweighted
from goodinit.records import Fact, MonitorStep, Picture

# Hidden layers, seeds, steps, measured every so many.
_SIZES = {"small": (4, 3, 60, 20), "default": (8, 6, 600, 30), "full": (12, 12, 2000, 50)}
_WIDTH, _BATCH, _RATE = 32, 32, 0.1
_NORMS = {"no norm": None, "batch norm": nn.BatchNorm1d}
_LAW = "Xavier normal"
_SPREAD = 2.0  # a ratio between ends beyond this factor, or its inverse, counts as a drift


def watched(
    norm: type[nn.BatchNorm1d] | None, data: Data, seed: int, hidden: int, steps: int, every: int
) -> list[MonitorStep]:
    """Train one network and return what the monitor measured."""
    model = dense((64, *[_WIDTH] * hidden, 10), nn.Tanh, norm=norm)
    reweighted(model, {_LAW: XavierNormal()}, data.train_x[:_BATCH])[_LAW].apply_(model, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
    order = torch.Generator().manual_seed(seed)
    with goodinit.Monitor(model, every=every) as monitor:
        for _ in range(steps + 1):
            chosen = torch.randint(len(data.train_x), (_BATCH,), generator=order)
            loss = nn.functional.cross_entropy(model(data.train_x[chosen]), data.train_y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return list(monitor.history)


def _measure(size: Size) -> Found:
    hidden, count, steps, every = _SIZES[size]
    data = load("digits")
    runs = {
        name: [watched(norm, data, seed, hidden, steps, every) for seed in range(count)]
        for name, norm in _NORMS.items()
    }
    balance, drift, kept, loss = (
        {name: torch.tensor([[read(at) for at in run] for run in each]) for name, each in runs.items()}
        for read in (_balance, _drift, _kept, _loss)
    )
    marks = [at.step for at in runs["no norm"][0]]
    starts = {name: geometric_mean(each[:, 0].tolist()) for name, each in balance.items()}
    ends = {name: geometric_mean(each[:, -1].tolist()) for name, each in drift.items()}
    left = {name: mean(each[:, -1].tolist()) for name, each in kept.items()}
    facts: list[Fact] = []
    for name in runs:
        facts += [
            fact(f"{name}: first third's gradients over the last third's, at the start", starts[name]),
            fact(f"{name}: that ratio at the end over the start", ends[name]),
            fact(f"{name}: share of the start that is left in the weights (cos²)", left[name]),
        ]
    far = {name: each.log().abs().amax(1).exp() for name, each in drift.items()}
    widest = {name: geometric_mean(each.tolist()) for name, each in far.items()}
    facts += [fact(f"{name}: largest drift on the way", each) for name, each in widest.items()]
    gone = {
        name: [next((at.step for at in run if _kept(at) < 0.1), None) for run in each]
        for name, each in runs.items()
    }
    forgotten = {name: sum(step is not None for step in each) for name, each in gone.items()}
    moved = [name for name, each in widest.items() if each.low > _SPREAD]
    verdict = (
        f"right, gradients drift by more than {_SPREAD:g} times with {' and with '.join(moved)}"
        if moved
        else f"within {steps} steps no drift beyond {_SPREAD:g} times is seen"
    )
    calmer = widest["batch norm"].high < widest["no norm"].low
    steadied = "holds the balance better" if calmer else "holds the balance no better"
    return Found(
        answer=(
            "On the way the ratio of the first layers' gradients to the last layers' changes by a factor "
            "of up to "
            + " and ".join(f"{said(each)} ({name})" for name, each in widest.items())
            + f" within {steps} steps; at the end by "
            + " and ".join(f"{said(ends[name])} ({name})" for name in runs)
            + ".",
            "Of the initial weights (cos² to the start) "
            + " and ".join(f"{said(each)} ({name})" for name, each in left.items())
            + " is left; below 0.1, where the start no longer matters, came "
            + " and ".join(f"{forgotten[name]} of {count} ({name})" for name in runs)
            + " networks.",
            f"At the start the ratio is {said(starts['no norm'])} without and {said(starts['batch norm'])} "
            f"with "
            f"batch norm, which {steadied}.",
        ),
        textbook=f"Init sets the start only: {verdict}. Of the weights themselves "
        f"{said(left['no norm'], 2)} is still "
        "there at the end: the balance goes before the start does.",
        settings={
            "network": f"64–{_WIDTH}×{hidden}–10, tanh, {_LAW}, with and without batch norm",
            "training": f"SGD, rate {_RATE}, {steps} steps of {_BATCH}, "
            f"{steps * _BATCH / len(data.train_x):.3g} passes, measured every {every}",
            "seeds": f"0 to {count - 1}, of weights and batches",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=tuple(
            Picture(
                key,
                title,
                summary,
                "step",
                y,
                log_y=log,
                lines=tuple(banded(name, marks, values) for name, values in each.items()),
            )
            for key, title, summary, y, log, each in (
                (
                    "balance",
                    "First layers' gradients over the last layers'",
                    "Second moments, thirds of the network; median and 80 % of the seeds.",
                    "ratio",
                    True,
                    balance,
                ),
                (
                    "kept",
                    "What is left of the start",
                    "cos² of all weights with their start.",
                    "cos²",
                    False,
                    kept,
                ),
                ("loss", "Training loss", "Of the measured batches.", "cross-entropy", True, loss),
            )
        ),
    )


def _balance(at: MonitorStep) -> float:
    assert at.balance is not None, "every layer has a gradient here"
    return at.balance


def _drift(at: MonitorStep) -> float:
    assert at.drift is not None
    return at.drift


def _kept(at: MonitorStep) -> float:
    assert at.kept is not None
    return at.kept


def _loss(at: MonitorStep) -> float:
    assert at.loss is not None
    return at.loss


EXPERIMENT = Experiment(
    "drift",
    "Init only sets the start",
    "A good init evens out gradients at the start. Do they stay even while the network trains, how much of "
    "the "
    "initial weights is left, and does batch norm hold the balance where the init no longer does?",
    _measure,
    ("S4.11",),
)
