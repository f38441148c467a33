"""Watch a training: the statistics of `check`, every so many steps, at little cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import nn

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.graph.places import places, unwrapped
from goodinit.records import MonitorEvent, MonitorLog, MonitorStep
from goodinit.signals.monitoring.events import Watch
from goodinit.signals.monitoring.journal import Journal
from goodinit.signals.monitoring.listening import Listener, compiled_modules, short
from goodinit.signals.monitoring.weights import Sketches, overall, parameter_steps, sketches

__all__ = ["Monitor", "Writer"]

# Records held in memory; beyond it every other one of the middle goes, the file keeps all.
_MOST_STEPS = 512


class Writer(Protocol):
    """What takes the records of a run: a TensorBoard or W&B writer, or your own."""

    def write(self, record: MonitorStep | MonitorEvent) -> None:
        """Take one record."""

    def close(self) -> None:
        """The run is over."""


class Monitor:
    """Measures every N-th training step: layers, gradients, updates, and how far the weights came.

    Call `step` once after each optimizer step. Hooks are in the model only during a
    measured step; in between a step costs one addition. Training is not changed: the
    weights are the same bits as without a monitor.

    Args:
        model: any module, wrapped by DDP or torch.compile or not. Its parameters at this
            moment are the start that later steps are compared with.
        every: measure steps 0, every, 2·every, …. A layer that was found without any
            gradient is looked at again one step later.
        path: file of JSON lines to append to. If it holds an earlier part of this run,
            the run goes on: history, events and the start are taken from it.
        writers: objects with ``write(record)`` and ``close()``.
        scaler: the GradScaler in use, so that layer gradients are given unscaled.
        first_step: number of the first step; by default 0, or the one after the last
            step in `path`.

    Raises:
        WrongTypeError: if the model is no module or has no trainable parameters.
        ArgumentError: for an `every` under 1, or a path that belongs to another model.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Monitor(model, every=5) as monitor:
        ...     for _ in range(11):
        ...         optimizer.zero_grad()
        ...         loss = model(torch.ones(3, 4)).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         _ = monitor.step(loss)
        >>> [step.step for step in monitor.history]
        [0, 5, 10]
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 100,
        path: str | Path | None = None,
        writers: Writer | Sequence[Writer] = (),
        scaler: Any = None,
        first_step: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise WrongTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ArgumentError(f"every: expected a whole number of steps of at least 1, got {every!r}")
        if first_step is not None and (not isinstance(first_step, int) or first_step < 0):
            raise ArgumentError(f"first_step: expected a step number of at least 0, got {first_step!r}")
        if not any(p.requires_grad for p in model.parameters()):
            raise ArgumentError(
                f"model: {type(model).__name__} has no trainable parameters; make the monitor after "
                "requires_grad_() is set"
            )
        self._model, self._every, self._scaler = model, every, scaler
        self._writers = list(writers) if isinstance(writers, Sequence) else [writers]
        self._name = type(unwrapped(model)).__name__
        self._history: list[MonitorStep] = []
        self._events: list[MonitorEvent] = []
        self._notes: dict[str, None] = {}
        self._watch = Watch()
        self._start: Sketches = {}
        self._before: Sketches = {}
        self._listener: Listener | None = None
        self._extra = False
        self._closed = False
        self._journal: Journal | None = None
        self._step = first_step or 0
        if path is not None and _writes():
            self._journal = Journal(path)
            try:
                self._step = self._begin(self._journal, first_step)
            except BaseException:
                self._journal.close()
                raise
        if compiled_modules(model):
            self._note("compiled parts show their parameters only: hooks cannot see into compiled code")
        if self._due():
            self._arm()

    @property
    def history(self) -> tuple[MonitorStep, ...]:
        """The measured steps; of more than 512, the later half and ever fewer of the earlier."""
        return tuple(self._history)

    @property
    def events(self) -> tuple[MonitorEvent, ...]:
        """What happened so far."""
        return tuple(self._events)

    @property
    def log(self) -> MonitorLog:
        """The run so far as a record."""
        return MonitorLog(self._name, self.history, self.events, tuple(self._notes))

    def summary(self) -> str:
        """Return the run so far as text: what happened, then first against last measured step."""
        return self.log.to_text()

    def step(self, loss: torch.Tensor | float | None = None) -> MonitorStep | None:
        """Count one optimizer step, and measure it if its turn has come.

        Call it after ``optimizer.step()``; gradients may be zeroed before or after.

        Args:
            loss: of this step; read only in measured steps. If None, a ``loss`` that the
                model itself returned is taken.

        Returns:
            The record of a measured step, else None.
        """
        record = None
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.stop()
            try:
                with torch.no_grad():
                    record = self._measured(listener, loss)
            except Exception as error:
                self._note(f"step {self._step} could not be measured: {short(error)}", warn=True)
            self._before = {}
        self._step += 1
        if not self._closed and self._due():
            self._arm()
        return record

    def close(self) -> None:
        """Remove all hooks and close file and writers; what was measured can still be read."""
        if self._closed:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        self._before = {}
        if self._journal is not None:
            journal, step = self._journal, self._step
            self._safely(lambda: journal.end(step), "path")
            journal.close()
        for writer in self._writers:
            self._safely(writer.close, type(writer).__name__)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _due(self) -> bool:
        return self._extra or self._step % self._every == 0

    def _begin(self, journal: Journal, first_step: int | None) -> int:
        """Take up an earlier part of this run, or write the head of a new one; return the step's number."""
        step = first_step or 0
        if not journal.empty:
            log, start, following = journal.past()
            self._fits(log, start)
            self._start = start
            step = following if first_step is None else first_step
            log = log.until(step)
            self._events = list(log.events)
            for past in log.steps:
                self._keep(past)
                self._watch.balanced(past.layers)
                if not past.skipped:
                    self._watch.events(past)
        journal.header(model=self._name, every=self._every, step=step)
        return step

    def _fits(self, log: MonitorLog, start: Sketches) -> None:
        shapes = {place.name: tuple(place.parameter.shape) for place in places(self._model)}
        wrong = [name for name, (shape, _) in start.items() if shapes.get(name) != shape]
        if wrong or log.model != self._name:
            what = f"'{wrong[0]}' is not in this model with that shape" if wrong else f"it is of {log.model}"
            raise ArgumentError(
                f"path: the file holds the run of another model ({what}). Give another path, or move the file"
            )

    def _trainable(self) -> dict[str, nn.Parameter]:
        return {
            place.name: place.parameter
            for place in places(self._model)
            if place.parameter.requires_grad
            and not isinstance(place.parameter, nn.parameter.UninitializedParameter)
            and not place.parameter.is_meta
        }

    def _arm(self) -> None:
        try:
            with torch.no_grad():
                parameters = self._trainable()
                self._before = sketches(parameters)
                new = {name: found for name, found in self._before.items() if name not in self._start}
                self._start.update(new)
                self._listener = Listener(self._model, parameters, self._scaler)
            if new and self._journal is not None:
                journal = self._journal
                self._safely(lambda: journal.start(new), "path")
        except Exception as error:
            self._note(f"step {self._step} could not be prepared: {short(error)}", warn=True)

    def _measured(self, listener: Listener, loss: torch.Tensor | float | None) -> MonitorStep:
        parameters = self._trainable()
        unread = [p for name, p in parameters.items() if name not in listener.gradients]
        # Without an optimizer of torch, and for a skipped step, the gradients are read where they lie.
        listener.read_gradients(unread)
        layers = listener.layers()
        balance, drift = self._watch.balanced(layers)
        now = sketches(parameters)
        for fault in dict.fromkeys(listener.faults):
            self._note(fault, warn=True)
        if not layers:
            self._note("no layer was seen: no gradient came back to a forward pass that hooks can see")
        record = MonitorStep(
            step=self._step,
            loss=listener.loss() if loss is None else float(torch.as_tensor(loss).detach().float().mean()),
            learning_rate=listener.learning_rate,
            layers=layers,
            parameters=parameter_steps(parameters, listener.gradients, self._before, now, self._start),
            balance=balance,
            drift=drift,
            kept=overall(now, self._start),
            skipped=self._scaler is not None and not listener.stepped,
        )
        self._keep(record)
        events = () if record.skipped else self._watch.events(record)
        self._events += events
        self._extra = not self._extra and self._watch.unconfirmed()
        self._write(record, *events)
        return record

    def _keep(self, record: MonitorStep) -> None:
        self._history.append(record)
        if len(self._history) > _MOST_STEPS:
            del self._history[1 : _MOST_STEPS // 2 : 2]

    def _write(self, *records: MonitorStep | MonitorEvent) -> None:
        if not _writes():
            return
        for record in records:
            if self._journal is not None and not self._safely(_writing(self._journal, record), "path"):
                self._journal.close()
                self._journal = None
            self._writers = [
                writer
                for writer in self._writers
                if self._safely(_writing(writer, record), type(writer).__name__)
            ]

    def _safely(self, act: Callable[[], None], what: str) -> bool:
        # A full disk must not end a training of three days.
        try:
            act()
        except Exception as error:
            self._notes[f"{what}: nothing more is written, {short(error)}"] = None
            warnings.warn(f"goodinit.Monitor: {what} failed and gets no more: {short(error)}", stacklevel=2)
            return False
        return True

    def _note(self, text: str, *, warn: bool = False) -> None:
        if text in self._notes:
            return
        self._notes[text] = None
        if warn:
            warnings.warn(f"goodinit.Monitor: {text}", stacklevel=3)
        if self._journal is not None:
            journal = self._journal
            self._safely(lambda: journal.note(text), "path")


def _writing(writer: Writer | Journal, record: MonitorStep | MonitorEvent) -> Callable[[], None]:
    return lambda: writer.write(record)


def _writes() -> bool:
    """Is this the process that writes? With data parallelism each process measures, rank 0 writes."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0)
