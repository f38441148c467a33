"""The LSTM's forget bias on a long memory: 0, torch's default, 1, 2 and chrono."""

from __future__ import annotations

import math

import torch
from torch import nn

import goodinit
from goodinit.initializers import Blocks, ChronoBias, Constant
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import normal_batch
from goodinit.lab.training import DEFAULT, score, tried
from goodinit.plans import Plan
from goodinit.records import Comparison, Interval, Picture

# Steps to remember over, hidden size, seeds, steps of training.
_SIZES = {
    "small": ((30,), 8, 3, 100),
    "default": ((8, 30), 12, 4, 130),
    "full": ((8, 30, 60), 16, 8, 300),
}
_RATE, _SEQUENCES, _BATCH = 0.01, 1000, 32
_CHRONO = "chrono"


class Recall(nn.Module):
    """An LSTM that answers after the last step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.lstm(x)[0][:, -1])
        return out


def recall(length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sequences of a standard normal number and zeros, and as targets the number."""
    x = torch.zeros(_SEQUENCES, length, 1)
    x[:, :1] = normal_batch(_SEQUENCES, 1, 1, seed=seed)
    return x, x[:, 0]


def plans(hidden: int, length: int) -> dict[str, Plan]:
    """Plans that differ in the LSTM's biases alone; both bias vectors of torch add up, the second is 0."""
    base = goodinit.plan(Recall(hidden), "torch")
    found = {DEFAULT: base}
    for forget in (0.0, 1.0, 2.0):
        gates = Blocks(((hidden, Constant(0.0)), (hidden, Constant(forget)), (2 * hidden, Constant(0.0))))
        found[f"forget bias {forget:g}"] = base.override({"lstm.bias_ih_l0": gates, "lstm.bias_hh_l0": 0.0})
    chrono = {"lstm.bias_ih_l0": ChronoBias(length), "lstm.bias_hh_l0": 0.0}
    return {**found, _CHRONO: base.override(chrono)}


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _measure(size: Size) -> Found:
    lengths, hidden, count, steps = _SIZES[size]
    made: dict[int, Comparison] = {}
    for length in lengths:
        made[length] = goodinit.compare(
            lambda: Recall(hidden),
            plans(hidden, length),
            recall(length),
            seeds=count,
            steps=steps,
            lr=_RATE,
            optimizer="adam",
            batch_size=_BATCH,
            evaluations=10,
            # torch's own LSTM over all steps is faster than many LSTMs stacked step by step.
            engine="sequential",
            progress=False,
        )
    labels = made[lengths[0]].plans
    scores: dict[str, dict[int, Interval]] = {
        label: {length: score(each, label, _RATE) for length, each in made.items()} for label in labels
    }
    longest = lengths[-1]
    claims = {
        DEFAULT: ((0.9, 1.2), "the default fails"),
        "forget bias 0": ((0.9, 1.2), "fails"),
        _CHRONO: ((0.0, 0.1), "the right init learns"),
    }
    facts = [
        fact(
            f"{label}: test loss with {length} steps to remember",
            each,
            claims[label][0] if label in claims and length == longest else None,
            source=claims[label][1] if label in claims and length == longest else "",
        )
        for label, row in scores.items()
        for length, each in row.items()
    ]
    order = sorted(labels, key=lambda label: scores[label][longest].value)
    solved = {
        label: max((length for length in lengths if row[length].value < 0.1), default=0)
        for label, row in scores.items()
    }
    return Found(
        answer=(
            f"To recall a number after {longest} steps, the median test loss (1 is guessing) after {steps} "
            "training steps is "
            + ", ".join(f"{said(scores[label][longest], 2)} with {label}" for label in order)
            + ".",
            "Recalled with a loss below 0.1: "
            + ", ".join(
                f"up to {length} steps with {label}" if length else f"never with {label}"
                for label, length in solved.items()
            )
            + ".",
        ),
        textbook="Raise the forget bias to 1 or 2, say the tutorials: over "
        f"{longest} steps that gives {said(scores['forget bias 1'][longest], 2)} and "
        f"{said(scores['forget bias 2'][longest], 2)}. A gate of σ(1) keeps {_sigmoid(1) ** longest:.1g} "
        "of a state over "
        f"them, σ(2) {_sigmoid(2) ** longest:.1g}: the bias has to fit the length, as chrono's does.",
        settings={
            "task": f"the first number of a sequence, then zeros; {_SEQUENCES} sequences, 70 % to train on",
            "network": f"LSTM of {hidden} units, torch's default weights, linear output",
            "training": f"Adam, rate {_RATE}, {steps} steps of {_BATCH}, "
            f"{steps * _BATCH / (0.7 * _SEQUENCES):.3g} passes",
            "seeds": f"0 to {count - 1}, paired",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "curves",
                f"Test loss with {longest} steps to remember",
                "Median and 80 % of the seeds; 1 is guessing.",
                "training steps",
                "mean squared error",
                log_y=True,
                lines=tuple(tried(each.plan, each.test) for each in made[longest].summaries),
            ),
            grid(
                "map",
                "Median test loss at the end",
                "1 is guessing.",
                {
                    label: {str(length): each.value for length, each in row.items()}
                    for label, row in scores.items()
                },
                x="steps to remember",
                y="init of the biases",
                unit="mean squared error",
            ),
        ),
        comparisons=(made[longest],),
    )


EXPERIMENT = Experiment(
    "forget-bias",
    "The forget bias on a long memory",
    "An LSTM has to recall the first number of a sequence at its end. Does it learn that with torch's "
    "default "
    "biases, with a forget bias of 0, 1 or 2, and with chrono's, which fit the length, and over how many "
    "steps?",
    _measure,
    ("S3.4", "forget bias 0/1/2 and chrono"),
)
