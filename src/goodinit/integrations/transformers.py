"""`Monitor` as a callback of the transformers Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from goodinit.records import MonitorLog
from goodinit.signals import Monitor, Writer

__all__ = ["MonitorCallback"]


class MonitorCallback(TrainerCallback):
    """Monitors ``trainer.train``; `monitor` holds what was measured, also after the training.

    The loss is the one that the model itself returns. Training that resumes from a
    checkpoint goes on in the same file at the trainer's step.

    Args:
        every: measure each so many optimizer steps.
        path: file of JSON lines to append to.
        writers: further writers, such as a `TensorBoardWriter`.
    """

    def __init__(
        self, *, every: int = 100, path: str | Path | None = None, writers: Writer | tuple[Writer, ...] = ()
    ) -> None:
        self._options: dict[str, Any] = {"every": every, "path": path, "writers": writers}
        self.monitor: Monitor | None = None

    @property
    def run(self) -> MonitorLog:
        """The run so far; an empty one before the training."""
        return MonitorLog("") if self.monitor is None else self.monitor.log

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **others: Any,
    ) -> None:
        """Take the weights as they are now, restored ones included, and begin."""
        if self.monitor is not None:
            self.monitor.close()
        if model is not None:
            # The optimizer that accelerate wraps knows the loss scaler, where there is one.
            scaler = getattr(optimizer, "scaler", None)
            self.monitor = Monitor(model, scaler=scaler, first_step=state.global_step, **self._options)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Count an optimizer step."""
        if self.monitor is not None:
            self.monitor.step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Close the monitor."""
        if self.monitor is not None:
            self.monitor.close()
