"""Does `check` call anything healthy that does not train?

Small tasks × architectures × initializations: handwritten digits (scikit-learn), the adding
problem, copying from memory, and characters of Python's own documentation. `check` judges the very
weights that are then trained, with the task's own batch and loss. Each starts from the same weights
once for each optimizer and learning rate in `RATES`, until one trains:

- trains: the mean training loss of the last 20 steps is below the task's bar at some rate;
- fails: at none of them. Gradients are clipped at norm 1, so that no rate fails for one bad step.

The cell *fails, healthy* must be empty. In *trains, finding* only warnings may stand. Notes are no
findings here: `Report.healthy` is True beside them.

    python benchmarks/corpus.py [--only NAME] [--steps 300] [--judge-again]

`--judge-again` takes the training results of the last run, which do not depend on `check`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _families import (
    Every,
    Experts,
    Language,
    Last,
    Patches,
    chain,
    convnet,
    filled,
    gain,
    kaiming,
    orthogonal,
    resnet,
    xavier,
)
from _machine import RESULTS, save
from torch import Tensor, nn

import goodinit

Batch = tuple[Tensor, Tensor]
RATES = (("adam", 1e-3), ("adam", 1e-2), ("sgd", 1e-1), ("sgd", 1e-2), ("adam", 1e-4))


@dataclass(frozen=True)
class Task:
    """A source of batches, a loss, and the loss below which a network has learned something of it."""

    batch: Callable[[torch.Generator], Batch]
    loss: Callable[[Tensor, Tensor], Tensor]
    bar: float
    steps: int = 300


def _digits(pictures: bool) -> Task:
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32) / 8.0 - 1.0
    x = (x - x.mean()) / x.std()
    y = torch.tensor(data.target)
    x = x.view(-1, 1, 8, 8) if pictures else x

    def batch(generator: torch.Generator) -> Batch:
        rows = torch.randint(0, len(x), (64,), generator=generator)
        return x[rows], y[rows]

    # Half of ln 10, which knowing nothing costs.
    return Task(batch, nn.functional.cross_entropy, math.log(10) / 2)


def _adding(length: int) -> Task:
    """Add the two of `length` numbers that are marked (Hochreiter and Schmidhuber 1997)."""

    def batch(generator: torch.Generator) -> Batch:
        values = torch.rand(64, length, generator=generator)
        marks = torch.zeros(64, length)
        first = torch.randint(0, length // 2, (64,), generator=generator)
        second = torch.randint(length // 2, length, (64,), generator=generator)
        marks[torch.arange(64), first] = marks[torch.arange(64), second] = 1.0
        return torch.stack([values, marks], -1), (values * marks).sum(1)

    # The variance of a sum of two uniform numbers is 1/6; knowing the second, 1/12.
    return Task(batch, lambda out, y: nn.functional.mse_loss(out.squeeze(-1), y), 0.05, steps=600)


def _copying(gap: int) -> Task:
    """Give back three symbols of eight after a gap of blanks."""

    def batch(generator: torch.Generator) -> Batch:
        symbols = torch.randint(0, 8, (64, 3), generator=generator)
        blanks = torch.full((64, gap), 8)
        asks = torch.full((64, 3), 9)
        return torch.cat([symbols, blanks, asks], 1), symbols

    return Task(batch, _by_character, math.log(8) * 0.7, steps=600)


def _characters(length: int = 32) -> Task:
    """Predict the next character of Python's own documentation."""
    from pydoc_data.topics import topics

    text = "".join(topics[key] for key in sorted(topics))[:100_000].lower()
    # The 63 commonest characters, and one number for the rest.
    kept = {char: code for code, (char, _) in enumerate(Counter(text).most_common(63))}
    codes = torch.tensor([kept.get(char, 63) for char in text])
    shares = torch.bincount(codes, minlength=64).double() / len(codes)
    unigram = float(-torch.special.xlogy(shares, shares).sum())

    def batch(generator: torch.Generator) -> Batch:
        starts = torch.randint(0, len(codes) - length - 1, (16,), generator=generator)
        rows = torch.stack([codes[s : s + length + 1] for s in starts.tolist()])
        return rows[:, :-1], rows[:, 1:]

    # Single characters' frequencies give `unigram`; a tenth less needs the characters before.
    return Task(batch, _by_character, 0.9 * unigram)


def _by_character(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


TASKS: dict[str, Callable[[], Task]] = {
    "digits": lambda: _digits(False),
    "pictures": lambda: _digits(True),
    "adding 60": lambda: _adding(60),
    "adding 12": lambda: _adding(12),
    "copying 30": lambda: _copying(30),
    "copying 6": lambda: _copying(6),
    "characters": _characters,
}


def auto(model: nn.Module) -> nn.Module:
    """Fill by the default recipe."""
    goodinit.initialize(model)
    return model


def _scaled_queries(model: Language, factor: float) -> nn.Module:
    with torch.no_grad():
        for block in model.blocks:
            block.qkv.weight[:64] *= factor  # type: ignore[union-attr]
    return model


def _recurrent(
    kind: type[nn.RNNBase], fill: Callable[[nn.Module], object] | None = None, inputs: int = 2
) -> nn.Module:
    core = kind(inputs, 32, batch_first=True)
    if fill is not None:
        fill(core)
    return core


def _forget(value: float) -> Callable[[nn.Module], object]:
    def fill(core: nn.Module) -> None:
        with torch.no_grad():
            core.bias_ih_l0[32:64] = value  # type: ignore[index]
            core.bias_hh_l0[32:64] = 0.0  # type: ignore[index]

    return fill


def _recurrent_weight(make: Callable[[Tensor], object]) -> Callable[[nn.Module], object]:
    def fill(core: nn.Module) -> None:
        make(core.weight_hh_l0)  # type: ignore[arg-type]
        nn.init.zeros_(core.bias_ih_l0)  # type: ignore[arg-type]
        nn.init.zeros_(core.bias_hh_l0)  # type: ignore[arg-type]

    return fill


class _Rectified(nn.RNN):
    """A recurrent layer with ReLU."""

    def __init__(self, inputs: int, hidden: int, batch_first: bool) -> None:
        super().__init__(inputs, hidden, nonlinearity="relu", batch_first=batch_first)


def _equal_rows(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(parameter[:1].expand_as(parameter).clone())
    return model


def _detached() -> nn.Module:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = chain(2, 32, nn.ReLU, (64, 32)), nn.Linear(32, 10)
            nn.init.zeros_(self.head.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).detach() * 0)  # type: ignore[no-any-return]

    return Cut()


normal = nn.init.normal_
MODELS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "ReLU, He, depth 5": ("digits", lambda: filled(chain(5, 64, nn.ReLU), kaiming)),
    "ReLU, He, depth 20": ("digits", lambda: filled(chain(20, 64, nn.ReLU), kaiming)),
    "ReLU, orthogonal, depth 20": ("digits", lambda: filled(chain(20, 64, nn.ReLU), orthogonal(2**0.5))),
    "ReLU, auto, depth 50": ("digits", lambda: auto(chain(50, 64, nn.ReLU))),
    "ReLU, torch's default, depth 3": ("digits", lambda: chain(3, 64, nn.ReLU)),
    "ReLU, torch's default, depth 6": ("digits", lambda: chain(6, 64, nn.ReLU)),
    "ReLU, torch's default, depth 20": ("digits", lambda: chain(20, 64, nn.ReLU)),
    "ReLU, torch's default, depth 40": ("digits", lambda: chain(40, 64, nn.ReLU)),
    "ReLU, std 0.01, depth 6": (
        "digits",
        lambda: filled(chain(6, 64, nn.ReLU), lambda w: normal(w, 0, 0.01)),
    ),
    "ReLU, std 1, depth 12": ("digits", lambda: filled(chain(12, 64, nn.ReLU), normal)),
    "ReLU, 2 × He, depth 20": ("digits", lambda: filled(chain(20, 64, nn.ReLU), gain(2 * 2**0.5))),
    "ReLU, half of He, depth 20": ("digits", lambda: filled(chain(20, 64, nn.ReLU), gain(0.5 * 2**0.5))),
    "ReLU, all zeros": ("digits", lambda: filled(chain(3, 64, nn.ReLU), nn.init.zeros_)),
    "ReLU, constant 0.05": (
        "digits",
        lambda: filled(chain(4, 64, nn.ReLU), lambda w: nn.init.constant_(w, 0.05)),
    ),
    "ReLU, equal rows": ("digits", lambda: _equal_rows(filled(chain(4, 64, nn.ReLU), kaiming))),
    "ReLU, biases −8": ("digits", lambda: filled(chain(3, 64, nn.ReLU), kaiming, bias=-8.0)),
    "ReLU, cut off": ("digits", _detached),
    "tanh, Xavier, depth 20": ("digits", lambda: filled(chain(20, 64, nn.Tanh), xavier())),
    "tanh, gain 5/3, depth 20": ("digits", lambda: filled(chain(20, 64, nn.Tanh), gain(5 / 3))),
    "tanh, torch's default, depth 20": ("digits", lambda: chain(20, 64, nn.Tanh)),
    "tanh, std 1, depth 20": ("digits", lambda: filled(chain(20, 64, nn.Tanh), normal)),
    "sigmoid, Xavier, depth 2": ("digits", lambda: filled(chain(2, 64, nn.Sigmoid), xavier())),
    "sigmoid, torch's default, depth 10": ("digits", lambda: chain(10, 64, nn.Sigmoid)),
    "sigmoid, Xavier, depth 10": ("digits", lambda: filled(chain(10, 64, nn.Sigmoid), xavier())),
    "GELU, auto, depth 20": ("digits", lambda: auto(chain(20, 64, nn.GELU))),
    "GELU, torch's default, depth 30": ("digits", lambda: chain(30, 64, nn.GELU)),
    "SELU, LeCun, depth 20": ("digits", lambda: filled(chain(20, 64, nn.SELU), gain(1.0))),
    "mixture of experts, default": ("digits", Experts),
    "convolutions, default, depth 3": ("pictures", lambda: convnet(3)),
    "convolutions, He, depth 10": ("pictures", lambda: filled(convnet(10), kaiming)),
    "convolutions, default, depth 20": ("pictures", lambda: convnet(20)),
    "batch norm, plain, depth 6": ("pictures", lambda: convnet(6, norm=True)),
    "batch norm, plain, depth 50": ("pictures", lambda: convnet(50, 8, norm=True)),
    "residual, batch norm": ("pictures", lambda: resnet(6)),
    "residual, no norm, He, 24 blocks": ("pictures", lambda: filled(resnet(24, norm=False), kaiming)),
    "residual, no norm, auto, 24 blocks": ("pictures", lambda: auto(resnet(24, norm=False))),
    "vision Transformer, default": ("pictures", Patches),
    "pre-norm Transformer, default": ("characters", lambda: Language(3)),
    "pre-norm Transformer, auto": ("characters", lambda: auto(Language(3))),
    "post-norm Transformer, default": ("characters", lambda: Language(3, style="post")),
    "attention alone, depth 8": ("characters", lambda: Language(8, style="bare")),
    "Transformer, queries × 60": ("characters", lambda: _scaled_queries(Language(3), 60.0)),
    "Transformer, tied, N(0, 1)": ("characters", lambda: Language(2, 64, tied=True)),
    "LSTM, default, characters": (
        "characters",
        lambda: Every(_recurrent(nn.LSTM, inputs=16), 32, 64, 16),
    ),
    "RNN, default, characters": ("characters", lambda: Every(_recurrent(nn.RNN, inputs=16), 32, 64, 16)),
    "LSTM, default, adding 12": ("adding 12", lambda: Last(_recurrent(nn.LSTM), 32, 1)),
    "LSTM, default, adding 60": ("adding 60", lambda: Last(_recurrent(nn.LSTM), 32, 1)),
    "GRU, default, adding 60": ("adding 60", lambda: Last(_recurrent(nn.GRU), 32, 1)),
    "RNN, default, adding 60": ("adding 60", lambda: Last(_recurrent(nn.RNN), 32, 1)),
    "RNN ReLU, identity, adding 60": (
        "adding 60",
        lambda: Last(_recurrent(_Rectified, _recurrent_weight(nn.init.eye_)), 32, 1),
    ),
    "RNN, std 1, adding 60": (
        "adding 60",
        lambda: Last(_recurrent(nn.RNN, _recurrent_weight(normal)), 32, 1),
    ),
    "LSTM, default, copying 6": (
        "copying 6",
        lambda: Every(_recurrent(nn.LSTM, inputs=8), 32, 10, 8, tail=3),
    ),
    "LSTM, default, copying 30": (
        "copying 30",
        lambda: Every(_recurrent(nn.LSTM, inputs=8), 32, 10, 8, tail=3),
    ),
    "GRU, default, copying 30": (
        "copying 30",
        lambda: Every(_recurrent(nn.GRU, inputs=8), 32, 10, 8, tail=3),
    ),
    "LSTM, forget −4, copying 30": (
        "copying 30",
        lambda: Every(_recurrent(nn.LSTM, _forget(-4.0), inputs=8), 32, 10, 8, tail=3),
    ),
    "RNN, default, copying 30": (
        "copying 30",
        lambda: Every(_recurrent(nn.RNN, inputs=8), 32, 10, 8, tail=3),
    ),
}


def trained(start: nn.Module, task: Task, steps: int | None = None) -> tuple[float, str]:
    """Return the lowest final loss over the rates, up to the first below the bar, and that rate."""
    best, rate = math.inf, ""
    for kind, lr in RATES:
        model = copy.deepcopy(start).train()
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(model.parameters(), lr)
            if kind == "adam"
            else torch.optim.SGD(model.parameters(), lr, momentum=0.9)
        )
        generator = torch.Generator().manual_seed(1)
        losses: list[float] = []
        for _ in range(steps or task.steps):
            x, y = task.batch(generator)
            loss = task.loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
            if len(losses) >= 20 and sum(losses[-20:]) / 20 < task.bar:
                return sum(losses[-20:]) / 20, f"{kind} {lr:g}"
        final = sum(losses[-20:]) / 20 if math.isfinite(losses[-1]) else math.inf
        if final < best:
            best, rate = final, f"{kind} {lr:g}"
    return best, rate


def judged(model: nn.Module, task: Task) -> goodinit.Report:
    """Return what `check` says with the task's own batch and loss."""
    return goodinit.check(model, task.batch(torch.Generator().manual_seed(0)), loss=task.loss)


def main() -> None:
    """Judge and train every network, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--judge-again", action="store_true")
    parser.add_argument(
        "--train", default="", help="with --judge-again: a task whose networks are trained anew"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tasks: dict[str, Task] = {}
    rows = []
    known: dict[str, tuple[float, str]] = {}
    if arguments.judge_again:
        before = json.loads((RESULTS / "corpus.json").read_text(encoding="utf-8"))["figures"]["rows"]
        kept = [row for row in before if not arguments.train or row["task"] != arguments.train]
        known = {row["model"]: (row["loss"], row["rate"]) for row in kept}
    for name, (task_name, build) in MODELS.items():
        if arguments.only not in name:
            continue
        task = tasks.setdefault(task_name, TASKS[task_name]())
        torch.manual_seed(0)
        model = build()
        began = time.perf_counter()
        report = judged(model, task)
        found = [(f.code, f.severity) for f in report.findings]
        final, rate = known.get(name) or trained(model, task, arguments.steps)
        row = {
            "model": name,
            "task": task_name,
            "trains": final < task.bar,
            "loss": final,
            "bar": task.bar,
            "rate": rate,
            "healthy": report.healthy,
            "findings": found,
        }
        rows.append(row)
        words = " ".join(
            f"{code}{'*' if severity == 'error' else ''}" for code, severity in found if severity != "note"
        )
        print(
            f"{name:38} {task_name:11} {'trains' if row['trains'] else 'FAILS':6} {final:8.3f} {rate:10} "
            f"{'healthy' if report.healthy else words}   ({time.perf_counter() - began:.0f} s)",
            flush=True,
        )
    cells = {
        f"{'trains' if trains else 'fails'}, {'healthy' if healthy else 'finding'}": [
            row["model"] for row in rows if row["trains"] is trains and row["healthy"] is healthy
        ]
        for trains in (True, False)
        for healthy in (True, False)
    }
    for cell, names in cells.items():
        print(f"{cell}: {len(names)}")
    if not arguments.only and arguments.steps is None:
        save("corpus", {"rates": RATES, "cells": cells, "rows": rows})


if __name__ == "__main__":
    main()
