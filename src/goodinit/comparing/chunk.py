"""Training one chunk of members from the start, or from its latest snapshot, to the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from goodinit.comparing.batches import batches
from goodinit.comparing.engines.compiled.running import compiled
from goodinit.comparing.engines.sequential import sequential
from goodinit.comparing.engines.stacked import stacked
from goodinit.comparing.evaluation import evaluate
from goodinit.comparing.journal import Journal, Snapshot
from goodinit.comparing.members import Member, State, built, first_state
from goodinit.comparing.preparing import prepared
from goodinit.comparing.streams import step_key
from goodinit.comparing.training import Training
from goodinit.records.comparisons import MemberRun

__all__ = ["Task", "advancing", "run_chunk"]

#: Seconds of work that a kill may cost.
BETWEEN_SNAPSHOTS = 3.0

# Random streams, torch's settings and a module whose parameters are exchanged belong to the whole
# process, so threads take turns.
_TURN = threading.Lock()

Advance = Callable[[State, int, int], State]


@dataclass(frozen=True)
class Task:
    """One chunk for an executor.

    `folder` is the journal's; `threads` says how many torch may use, None as many as it does now.
    """

    training: Training
    members: tuple[Member, ...]
    chunk: int
    folder: str | None
    threads: int | None = None


def run_chunk(task: Task, done: Callable[[int], None] | None = None) -> tuple[MemberRun, ...]:
    """Train the members of a chunk.

    Args:
        task: what to train.
        done: called with the number of steps, times members, done since the last call.
    """
    with _TURN:
        before = torch.get_num_threads()
        if task.threads:
            torch.set_num_threads(task.threads)
        try:
            return _run(task, done or (lambda _: None))
        finally:
            torch.set_num_threads(before)


def _run(task: Task, done: Callable[[int], None]) -> tuple[MemberRun, ...]:
    training, members = task.training, task.members
    # Another machine may not have the folder; what is finished is then kept where the runs are gathered.
    journal = Journal(Path(task.folder)) if task.folder and Path(task.folder).is_dir() else None
    ready, together = prepared(training), training.engine != "sequential"
    # What a model keeps outside its tensors, a count of its calls say, is no other member's.
    model = ready.model if together else built(training.build, members[0].seed)
    layout = ready.layout
    known = journal.snapshot(task.chunk) if journal else None
    if known:
        step, state, scores = known.step, known.state, list(known.scores)
        done(step * len(members))
    else:
        step, scores = 0, []
        state = first_state(training.build, training.plans, members, layout)
    advance = advancing(training, members, model)
    measure = partial(
        evaluate,
        model,
        layout,
        loss=training.loss,
        metric=training.metric,
        train=training.train,
        test=training.test,
    )
    kept, stride, dead = time.monotonic(), 1, torch.zeros(len(members), dtype=torch.bool)
    for evaluated in training.evaluations[len(scores) :]:
        while step < evaluated:
            last, began = min(evaluated, step + stride), time.monotonic()
            state = advance(state, step, last)
            done((last - step) * len(members))
            step, now = last, time.monotonic()
            # Strides grow until one takes a third of the time between snapshots.
            stride = stride * 2 if now - began < BETWEEN_SNAPSHOTS / 3 else max(1, stride // 2)
            if journal and now - kept > BETWEEN_SNAPSHOTS and step < training.steps:
                journal.keep(task.chunk, Snapshot(step, state, _table(scores, len(members))))
                kept = now
        keys = [step_key(member.seed, step) for member in members]
        found = measure(state, keys=keys, together=together, known=ready.forwards)
        scores.append(torch.stack([found.train, found.test, found.metric]))
        dead = found.dead
    runs = tuple(
        _member(member, training.evaluations, torch.stack(scores)[:, :, index], bool(dead[index]))
        for index, member in enumerate(members)
    )
    if journal:
        journal.finish(task.chunk, runs)
    return runs


def advancing(training: Training, members: Sequence[Member], model: nn.Module) -> Advance:
    """Return the engine's function (state, first, last) -> state for these members.

    Args:
        training: what they share.
        members: those to be trained.
        model: what they are loaded into where they are trained one after another.

    Raises:
        NotStackable: if the engine cannot take them.
    """
    ready = prepared(training)
    seeds = list(dict.fromkeys(member.seed for member in members))
    rows = torch.tensor([seeds.index(member.seed) for member in members])
    unique = batches(seeds, len(training.train[1]), training.batch_size)

    def order(first: int, last: int) -> torch.Tensor:
        return unique(first, last)[rows]

    rule, factors, data = training.optimizer, training.factors, training.train
    if ready.step is not None:
        return compiled(ready.step, rule, members, factors, data, unique, seeds)
    if ready.graph is not None:
        return stacked(
            ready.graph, ready.draws, ready.together, rule, members, factors, data, order, ready.dtype
        )
    return sequential(model, ready.layout, rule, training.loss, members, factors, data, order)


def _table(scores: Sequence[torch.Tensor], members: int) -> torch.Tensor:
    return torch.stack(list(scores)) if scores else torch.zeros(0, 3, members, dtype=torch.float64)


def _member(member: Member, steps: Sequence[int], scores: torch.Tensor, dead: bool) -> MemberRun:
    """Return what became of a member; `scores` has one row of (train, test, metric) for each evaluation."""
    losses = scores[:, :2].isfinite().all(1)
    failed = None if bool(losses.all()) else int((~losses).nonzero()[0])
    if failed is not None:
        scores = scores.clone()
        scores[failed:] = torch.nan
    train, test, metric = (tuple(map(float, column)) for column in scores.unbind(1))
    return MemberRun(
        plan=member.plan,
        lr=member.lr,
        seed=member.seed,
        train=train,
        test=test,
        metric=metric,
        outcome="diverged" if failed is not None else "dead" if dead else "finished",
        failed_at=None if failed is None else steps[failed],
    )
