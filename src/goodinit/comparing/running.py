"""Running chunks, here or on an executor, and gathering their members."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from pathlib import Path

from goodinit.comparing.chunk import Task, run_chunk
from goodinit.comparing.journal import open_journal
from goodinit.comparing.members import Member
from goodinit.comparing.progress import bar
from goodinit.comparing.training import Training, chunks, header
from goodinit.errors import ArgumentError
from goodinit.records.comparisons import MemberRun

__all__ = ["train_all"]


def train_all(
    training: Training,
    members: Sequence[Member],
    words: Mapping[str, str],
    folder: str | Path | None,
    executor: Executor | None,
    shown: bool,
) -> tuple[MemberRun, ...]:
    """Train all members and return them in order.

    Args:
        training: what they share.
        members: all of them.
        words: settings in words, for the journal's header.
        folder: of the journal, if any.
        executor: what runs the chunks, if anything but this thread.
        shown: show a progress bar on a terminal.

    Raises:
        ArgumentError: if the journal was made with other settings, or a task cannot travel to the executor.
    """
    cut = chunks(members, training.engine)
    journal = open_journal(folder, header(training, members, words)) if folder is not None else None
    found = [journal.result(index) if journal else None for index in range(len(cut))]
    place = str(Path(folder).resolve()) if folder is not None else None
    threads = 1 if executor is not None else None
    tasks = [
        Task(training, cut[index], index, place, threads)
        for index, known in enumerate(found)
        if known is None
    ]
    title = f"{len(members)} networks, {training.steps} steps"
    with bar(title, len(members) * training.steps, shown) as done:
        done(sum(len(runs) for runs in found if runs is not None) * training.steps)
        gathered = _here(tasks, done) if executor is None else _there(tasks, executor, done, training.steps)
        for index, runs in gathered.items():
            found[index] = runs
            if journal and journal.result(index) is None:
                journal.finish(index, runs)
    return tuple(run for runs in found for run in runs or ())


def _here(tasks: Sequence[Task], done: Callable[[int], None]) -> dict[int, tuple[MemberRun, ...]]:
    return {task.chunk: run_chunk(task, done) for task in tasks}


def _there(
    tasks: Sequence[Task], executor: Executor, done: Callable[[int], None], steps: int
) -> dict[int, tuple[MemberRun, ...]]:
    try:
        waiting = {executor.submit(run_chunk, task): task.chunk for task in tasks}
        found = {}
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    found[waiting.pop(future)] = runs = future.result()
                    done(len(runs) * steps)
        finally:
            for future in waiting:
                future.cancel()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error).lower() and not isinstance(error, pickle.PicklingError):
            raise
        raise ArgumentError(
            f"a task cannot travel to {type(executor).__name__}: {error}. Define build, and the loss and "
            "metric if they are your own, with def in a module that the workers can import"
        ) from error
    return found
