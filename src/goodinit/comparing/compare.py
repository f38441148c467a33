"""`goodinit.compare`: which plan trains best, over many seeds, with statistics."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from goodinit.comparing.arguments import (
    for_model,
    read_decay,
    read_evaluations,
    read_integer,
    read_plans,
    read_rates,
    read_seeds,
)
from goodinit.comparing.inputs import rows
from goodinit.comparing.members import Member, built
from goodinit.comparing.objectives import make_loss, make_metric
from goodinit.comparing.optimizers import make_optimizer
from goodinit.comparing.preflight import ENGINES, check_members, check_model, choose_engine
from goodinit.comparing.running import train_all
from goodinit.comparing.schedules import factors
from goodinit.comparing.training import Training
from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean
from goodinit.records.comparisons import Comparison, MemberRun

__all__ = ["compare"]


def compare(
    build: Callable[[], nn.Module],
    plans: Mapping[str, Any] | Sequence[str],
    data: Any,
    *,
    steps: int,
    lr: float | Sequence[float],
    seeds: int | Sequence[int] = 32,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay: str | Callable[[str, nn.Parameter], bool] = "all",
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: str | Callable[[int], float] | None = None,
    batch_size: int = 32,
    loss: str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    metric: str | Callable[[torch.Tensor, torch.Tensor], Any] | None = None,
    higher_is_better: bool | None = None,
    evaluations: int | Sequence[int] = 20,
    engine: str = "auto",
    journal: str | Path | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Comparison:
    """Train every plan at every rate with every seed, and say which plan is better and how sure that is.

    At one seed all plans and rates see the same batches, and start from the same values wherever a
    plan keeps what the model's author set, so that differences are taken seed by seed. Members of one
    model are trained together where torch allows it; `Comparison.notes` says how they were trained and why.

    Args:
        build: a function without arguments that returns a new model, which maps inputs to a tensor
            (examples, ...).
        plans: {label: a plan, a recipe or a recipe's name}, or the names alone.
        data: a `Data` of `goodinit.comparing.datasets`, the name of one, (inputs, targets) or a
            map-style `torch.utils.data.Dataset`; the last two are split 70/30 into training and test set.
            Inputs are a tensor (examples, ...), a tuple for ``model(*inputs)`` or a dict for
            ``model(**inputs)``.
        steps: of the optimizer, for every member.
        lr: a learning rate, or several: each plan is then also judged at its best.
        seeds: how many (0, 1, …), or which; each draws the weights and the batches.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``, with the formulas of `torch.optim`.
        momentum: of sgd; `nesterov` likewise.
        nesterov: Nesterov's momentum.
        weight_decay: as in `torch.optim`: part of the gradient; apart from it in adamw.
        decay: which parameters that applies to: ``"all"``, ``"matrices"`` (those with two dimensions or
            more, so no biases and no gains of norms), or a function of (name, parameter) -> bool.
        betas: of adam and adamw; `eps` likewise.
        eps: added to the root of the second moment.
        schedule: ``"constant"``, ``"linear"``, ``"cosine"``, ``"warmup"``, ``"warmup_cosine"``, or a
            callable (step, 0 for the first) -> factor of the learning rate.
        batch_size: examples in a step; one that is not below the training set takes it whole.
        loss: ``"mse"``, ``"l1"``, ``"huber"``, ``"bce"``, ``"cross_entropy"``, or a callable
            (output, target) -> scalar tensor; None takes the data's own.
        metric: ``"accuracy"``, a loss, or a callable (output, target) -> number; None takes the data's own.
        higher_is_better: direction of a metric that is a callable.
        evaluations: how many besides the start, evenly spaced, or after which steps.
        engine: ``"auto"``, or one to insist on: ``"compiled"``, ``"stacked"``, ``"sequential"``.
        journal: a folder. A run that was killed and is started again goes on from it, to the same bits.
        executor: any `concurrent.futures.Executor`; chunks of 64 members (of one, where they are
            trained one after another) are then its tasks. Threads of one process take turns.
        progress: show a bar on a terminal.

    Returns:
        A `Comparison`: every member, summaries, differences and conclusions.

    Raises:
        GoodinitError: if anything does not fit, before training starts.

    >>> from torch import nn
    >>> x = torch.linspace(-1, 1, 40).reshape(-1, 1)
    >>> made = compare(
    ...     lambda: nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)),
    ...     ["xavier_normal", "torch"], (x, x**2), seeds=3, steps=4, lr=0.1, evaluations=2,
    ... )
    >>> len(made.runs), made.steps
    (6, (0, 2, 4))

    Source: paired designs with common random numbers, Law and Kelton, Simulation Modeling and Analysis.
    """
    from goodinit.comparing.datasets import as_data

    asked = read_integer("steps", steps, 1)
    rates, numbers = read_rates(lr), read_seeds(seeds)
    rule = make_optimizer(
        optimizer, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, betas=betas, eps=eps
    )
    if engine not in ENGINES:
        raise UnknownNameError(
            f"engine={engine!r} is none of {', '.join(ENGINES)}{did_you_mean(str(engine), ENGINES)}"
        )
    if executor is not None and not hasattr(executor, "submit"):
        raise WrongTypeError(
            f"executor must be a concurrent.futures.Executor, found {type(executor).__name__}"
        )
    given = as_data(data)
    objective = make_loss(given.loss if loss is None else loss)
    # A loss of one's own is then also what is compared, rather than a metric that was not asked for.
    judged = metric if metric is not None else given.metric if loss is None else loss
    if metric is None and higher_is_better is not None:
        raise ArgumentError("higher_is_better is the direction of metric, and there is none: give both")
    measure = make_metric(judged, False if metric is None and callable(judged) else higher_is_better)
    model = built(build, numbers[0])
    rule = read_decay(decay, rule, model)
    train = for_model(model, (given.train_x, given.train_y))
    size = read_integer("batch_size", batch_size, 1)
    check_model(built(build, numbers[0]), model, rows(train[0], slice(size)))
    training = Training(
        build=build,
        plans=read_plans(plans, model, train[0]),
        train=train,
        test=for_model(model, (given.test_x, given.test_y)),
        optimizer=rule,
        factors=factors(schedule, asked),
        batch_size=size,
        loss=objective,
        metric=measure,
        evaluations=read_evaluations(evaluations, asked),
        engine="sequential",
        key=uuid.uuid4().hex,
    )
    # Members of one seed stand together: they share batches and, whatever the rate, first weights.
    members = [Member(label, rate, seed) for seed in numbers for label in training.plans for rate in rates]
    check_members(training, members)
    training, notes = choose_engine(training, members, engine)
    words = {
        "optimizer": rule.words(),
        "schedule": schedule if isinstance(schedule, str) else "constant" if schedule is None else "own",
        "batch_size": str(min(training.batch_size, len(train[1]))),
        "loss": objective.name,
        "steps": str(asked),
        "lr": ", ".join(f"{rate:g}" for rate in rates),
        "seeds": ", ".join(map(str, numbers)),
    }
    runs = train_all(training, members, words, journal, executor, progress)
    return _comparison(training, given, type(model).__name__, rates, numbers, runs, words, notes)


def _comparison(
    training: Training,
    data: Any,
    model: str,
    rates: Sequence[float],
    seeds: Sequence[int],
    runs: tuple[MemberRun, ...],
    words: Mapping[str, str],
    notes: tuple[str, ...],
) -> Comparison:
    from goodinit.comparing.statistics.summary import summarize

    labels, better = tuple(training.plans), training.metric.higher_is_better
    found = summarize(
        labels, tuple(rates), tuple(seeds), training.evaluations, better, runs, metric=training.metric.name
    )
    return Comparison(
        model=model,
        data=data.name,
        plans=labels,
        lrs=tuple(rates),
        seeds=tuple(seeds),
        steps=training.evaluations,
        metric=training.metric.name,
        higher_is_better=better,
        settings={name: value for name, value in words.items() if name not in ("lr", "seeds")},
        runs=runs,
        notes=(*notes, f"torch {torch.__version__}"),
        summaries=found.summaries,
        best=found.best,
        differences=found.differences,
        best_differences=found.best_differences,
        conclusions=found.conclusions,
    )
