"""Monitored steps in a Weights & Biases run."""

from __future__ import annotations

from typing import Any

from goodinit.errors import WrongTypeError
from goodinit.integrations.scalars import scalars
from goodinit.records import MonitorEvent, MonitorStep

__all__ = ["WandbWriter"]


class WandbWriter:
    """Logs to a W&B run; give it to ``Monitor(writers=…)``.

    The numbers have a step of their own, ``goodinit/step``, so that they neither move nor
    depend on the step that your own ``run.log`` counts. Events are alerts.

    Args:
        run: what ``wandb.init()`` returned; it stays yours to finish.
        prefix: in front of every name.

    Raises:
        WrongTypeError: if `run` has no ``log``.
    """

    def __init__(self, run: Any, *, prefix: str = "goodinit/") -> None:
        if not callable(getattr(run, "log", None)):
            raise WrongTypeError(f"run: expected what wandb.init() returned, got {type(run).__name__}")
        self._run, self._prefix = run, prefix
        run.define_metric(f"{prefix}step")
        run.define_metric(f"{prefix}*", step_metric=f"{prefix}step")

    def write(self, record: MonitorStep | MonitorEvent) -> None:
        """Log a step's numbers, or raise an alert for an event."""
        if isinstance(record, MonitorEvent):
            self._run.alert(title=f"goodinit: {record.kind}", text=f"step {record.step}: {record.message}")
        else:
            named = {self._prefix + name: value for name, value in scalars(record).items()}
            self._run.log({f"{self._prefix}step": record.step, **named})

    def close(self) -> None:
        """Leave the run open: it belongs to whoever made it."""
