"""What `Monitor` measures while a model trains: one record per measured step, and what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from goodinit.errors import ArgumentError
from goodinit.records.form import from_jsonable, to_jsonable
from goodinit.records.showing import Shown

__all__ = ["FORMAT", "LayerStep", "MonitorEvent", "MonitorLog", "MonitorStep", "ParameterStep"]

# Of the lines of a run's file; one that a reader of today would misread gets another number.
FORMAT = 1


@dataclass(frozen=True)
class LayerStep:
    """One layer during one training step, over all passes that a gradient came back to.

    Attributes:
        name: the module's canonical name.
        kind: the module's type.
        call: counts the calls of the same module within one pass, from 0.
        calls: over how many passes this is taken (more than one with gradient accumulation).
        output: second moment of the output.
        gradient: second moment of the gradient that reached the output; None where none did.
        units: channels or features.
        dead: units that learn nothing in this step: of a ReLU-like layer those that are zero
            for all samples, of any other those whose gradient is zero for all samples.
        saturated: share of elements where the derivative is under 1 % of its largest.
        weight: whether the layer owns a parameter of two or more dimensions.
    """

    name: str
    kind: str
    call: int
    calls: int
    output: float
    gradient: float | None
    units: int
    dead: int | None
    saturated: float | None
    weight: bool


@dataclass(frozen=True)
class ParameterStep:
    """One trainable parameter during one training step.

    Attributes:
        name: canonical name.
        shape: of the parameter.
        value: second moment of the values after the step.
        gradient: second moment of the gradient that the optimizer got; None where it got none.
        update: second moment of the change that the step made, estimated from sketches.
        kept: cos² of the angle between the values now and at the start: the share of the
            squared norm that still lies along the initial draw; 0 beyond a right angle. None
            where it started at zero.
        distance: ‖w − w₀‖/‖w₀‖; None where it started at zero.
    """

    name: str
    shape: tuple[int, ...]
    value: float
    gradient: float | None
    update: float | None
    kept: float | None
    distance: float | None

    @property
    def gradient_ratio(self) -> float | None:
        """The gradient's root mean square over the values'; None where there is none."""
        return _ratio(self.gradient, self.value)

    @property
    def update_ratio(self) -> float | None:
        """The update's root mean square over the values'; None where there is none."""
        return _ratio(self.update, self.value)


def _ratio(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole > 0 else float((part / whole) ** 0.5)


@dataclass(frozen=True)
class MonitorStep:
    """Everything measured during one training step.

    Attributes:
        step: how many optimizer steps came before it.
        loss: as given to `Monitor.step`, or found in the model's output.
        learning_rate: of the optimizer's first parameter group.
        layers: in order of execution.
        parameters: in order of registration, trainable ones.
        balance: geometric mean of the gradient second moments of the first third of the
            weight layers over that of the last third.
        drift: the balance now over the balance at the start, on the layers that both have.
        kept: cos² between all weight matrices now and at the start, taken as one vector.
        skipped: whether the loss scaler of mixed precision skipped the optimizer.
    """

    step: int
    loss: float | None
    learning_rate: float | None
    layers: tuple[LayerStep, ...]
    parameters: tuple[ParameterStep, ...]
    balance: float | None = None
    drift: float | None = None
    kept: float | None = None
    skipped: bool = False


@dataclass(frozen=True)
class MonitorEvent:
    """Something that happened while the model trained.

    `kind` is one of ``"layer_died"``, ``"layer_revived"``, ``"never_learned"``,
    ``"units_died"``, ``"balance_drifted"``, ``"balance_evened"``, ``"start_forgotten"``,
    ``"start_no_longer_matters"``, ``"non_finite"`` and ``"finite_again"``; `where` names
    layers or parameters; `effect` is the measured size that the message states.
    """

    step: int
    kind: str
    where: tuple[str, ...]
    effect: float | None
    message: str


@dataclass(frozen=True)
class MonitorLog(Shown):
    """A whole monitored run: what `Monitor` holds in memory, or a file of JSON lines read again.

    Attributes:
        model: the model's type.
        steps: measured steps, rising. Where a run resumed from an earlier step, its later course stands.
        events: what happened, in order.
        notes: what could not be seen, and lines of the file that could not be read.
    """

    model: str
    steps: tuple[MonitorStep, ...] = ()
    events: tuple[MonitorEvent, ...] = ()
    notes: tuple[str, ...] = ()

    def until(self, step: int) -> MonitorLog:
        """Return the part of the run before a step."""
        steps = tuple(each for each in self.steps if each.step < step)
        return replace(self, steps=steps, events=tuple(each for each in self.events if each.step < step))

    @classmethod
    def read(cls, path: str | Path) -> MonitorLog:
        """Read the JSON lines that a `Monitor` wrote; a line cut short by a crash, or damaged, is a note.

        What was measured from the step on at which a later part of the run resumed is left out.

        Raises:
            ArgumentError: if the file is no monitor's, or of a later format.
        """
        model, notes = "", list[str]()
        steps, events = list[MonitorStep](), list[MonitorEvent]()
        for number, line in enumerate(lines(path), start=1):
            kind = "" if line is None else line.get("goodinit")
            try:
                if line is None:
                    notes.append(f"line {number} is no JSON: a write was cut short")
                elif kind == "monitor":
                    if (found := line.get("format", FORMAT)) != FORMAT:
                        raise ArgumentError(f"path: {path} has format {found}; this goodinit reads {FORMAT}")
                    model, before = (
                        str(line["model"]),
                        cls("", tuple(steps), tuple(events)).until(line["step"]),
                    )
                    steps, events = list(before.steps), list(before.events)
                elif kind == "monitor_step":
                    steps.append(from_jsonable(MonitorStep, line))
                elif kind == "monitor_event":
                    events.append(from_jsonable(MonitorEvent, line))
                elif kind == "monitor_note":
                    notes.append(str(line.get("note", "")))
            except (AttributeError, KeyError, TypeError):
                notes.append(f"line {number} is damaged and was left out")
        if not model:
            raise ArgumentError(
                f"path: {path} holds no lines of a goodinit monitor; give the file that Monitor(path=…) wrote"
            )
        return cls(model, tuple(steps), tuple(events), tuple(dict.fromkeys(notes)))


def lines(path: str | Path) -> Iterator[dict[str, Any] | None]:
    """Yield each line of a file of JSON lines as a dict; None for a line that is no JSON object."""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            if text.strip():
                yield value if isinstance(value, dict) else None


def line(record: MonitorStep | MonitorEvent) -> dict[str, Any]:
    """Return a record as one line of the file, as plain JSON values."""
    kind = "monitor_step" if isinstance(record, MonitorStep) else "monitor_event"
    return {"goodinit": kind, **to_jsonable(record)}
