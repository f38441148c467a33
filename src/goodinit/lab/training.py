"""Training runs of the laboratory: plans that differ in weights alone, and what seeds say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import nn

import goodinit
from goodinit.comparing.datasets import Data, load
from goodinit.initializers import Initializer
from goodinit.lab.estimates import share
from goodinit.lab.nets import Layer, small
from goodinit.plans import Plan
from goodinit.records import Comparison, Curve, Interval, Line, MemberRun

__all__ = [
    "DEFAULT",
    "DIGITS_BATCH",
    "S4_SETTINGS",
    "S4_STEPS",
    "accuracy",
    "at_pass",
    "members",
    "reweighted",
    "score",
    "train_digits",
    "train_s4",
    "tried",
    "wins",
]

DEFAULT = "torch default"
DIGITS_BATCH = 32
S4_BATCH = 10
S4_STEPS = 70  # of a pass: 700 training points in batches of 10
S4_SETTINGS = {
    "network": "2→4→…→1, hidden layers of 4, linear output",
    "loss": "mean squared error, plain SGD, batches of 10",
    "filled anew": "weights only; biases keep torch's default",
}


def reweighted(model: nn.Module, laws: Mapping[str, Initializer], example: object = None) -> dict[str, Plan]:
    """Return torch's default, and for each law the same with all matrices and kernels drawn by it.

    >>> from goodinit.initializers import XavierUniform
    >>> list(reweighted(nn.Linear(2, 3), {"Xavier": XavierUniform()}))
    ['torch default', 'Xavier']
    """
    base = goodinit.plan(model, "torch", example=example)
    weights = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    return {
        DEFAULT: base,
        **{label: base.override(dict.fromkeys(weights, law)) for label, law in laws.items()},
    }


def train_s4(
    hidden: int,
    activation: Layer,
    laws: Mapping[str, Initializer],
    *,
    seeds: Sequence[int],
    passes: Sequence[int],
    lr: float | Sequence[float],
    data: Data | None = None,
    schedule: str | None = None,
) -> Comparison:
    """Train the tutorials' network of so many hidden layers by the tutorials' settings.

    Args:
        hidden: hidden layers; activation between them.
        activation: makes the activation.
        laws: of the weights, beside torch's default.
        seeds: of weights and batches.
        passes: after which passes to evaluate; the last one ends the training.
        lr: learning rates.
        data: None takes the data set `s4`.
        schedule: of the rate, as for `goodinit.compare`.
    """
    data = load("s4") if data is None else data
    example = data.train_x[:S4_BATCH]

    def build() -> nn.Module:
        return small(hidden, activation)

    return goodinit.compare(
        build,
        reweighted(build(), laws, example),
        data,
        seeds=list(seeds),
        steps=passes[-1] * S4_STEPS,
        lr=lr,
        schedule=schedule,
        batch_size=S4_BATCH,
        evaluations=[each * S4_STEPS for each in passes],
        progress=False,
    )


def train_digits(
    build: Callable[[], nn.Module],
    laws: Mapping[str, Initializer],
    *,
    seeds: int,
    steps: int,
    rates: Sequence[float],
) -> Comparison:
    """Train a network on the digits by plain SGD, with torch's default and with weights of these laws.

    Args:
        build: makes the network.
        laws: of the weights, beside torch's default.
        seeds: how many.
        steps: of batches of 32, evaluated at the end.
        rates: learning rates.
    """
    data = load("digits")
    return goodinit.compare(
        build,
        reweighted(build(), laws, data.train_x[:DIGITS_BATCH]),
        data,
        seeds=seeds,
        steps=steps,
        lr=rates,
        batch_size=DIGITS_BATCH,
        evaluations=1,
        progress=False,
    )


def members(made: Comparison, plan: str, lr: float) -> list[MemberRun]:
    """Return the members of a plan at a rate, in the order of seeds."""
    return [run for run in made.runs if run.plan == plan and run.lr == lr]


def at_pass(made: Comparison, plan: str, lr: float, passes: int) -> list[float]:
    """Return the test loss of each seed after so many passes; infinite where it diverged."""
    where = made.steps.index(passes * S4_STEPS)
    return [math.inf if math.isnan(run.test[where]) else run.test[where] for run in members(made, plan, lr)]


def score(made: Comparison, plan: str, lr: float | None = None) -> Interval:
    """Return the median final metric of a plan at a rate, or at its best one."""
    found = made.best if lr is None else made.summaries
    return next(each.score for each in found if each.plan == plan and lr in (None, each.lr))


def accuracy(made: Comparison, plan: str, lr: float | None = None) -> Interval:
    """Return the median final accuracy; a member that diverged counts as 0."""
    found = score(made, plan, lr)
    return Interval(max(found.value, 0.0), max(found.low, 0.0), max(found.high, 0.0), found.confidence)


def wins(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the share of untied pairs in which the first is lower, with its Wilson interval.

    >>> wins([1.0, 2.0], [3.0, 4.0]).value
    1.0
    """
    untied = [one < other for one, other in zip(first, second, strict=True) if one != other]
    return share(sum(untied), len(untied)) if untied else Interval(0.5, 0.0, 1.0)


def tried(label: str, found: Curve, per: float = 1.0) -> Line:
    """Return a curve of training as a line over steps / per, its band that of the seeds.

    What diverged has no height and is left out.

    >>> tried("He", Curve((0, 70), (1.0, 0.5), (0.9, 0.4), (1.1, 0.6)), per=70).x
    (0.0, 1.0)
    """
    kept = [
        row
        for row in zip(found.steps, found.median, found.low, found.high, strict=True)
        if all(map(math.isfinite, row))
    ]
    steps, middle, low, high = zip(*kept, strict=True) if kept else ((), (), (), ())
    return Line(label, tuple(step / per for step in steps), middle, low, high)
