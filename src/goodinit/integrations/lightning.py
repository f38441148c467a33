"""`Monitor` as a Lightning callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from goodinit.records import MonitorLog
from goodinit.signals import Monitor, Writer

__all__ = ["MonitorCallback"]


class MonitorCallback(Callback):
    """Monitors ``trainer.fit``; `monitor` holds what was measured, also after the fit.

    Optimizer steps are counted as the trainer counts them, so that gradient accumulation
    and several optimizers are seen as Lightning sees them. A fit that resumes from a
    checkpoint goes on in the same file at the trainer's step.

    Args:
        every: measure each so many optimizer steps.
        path: file of JSON lines to append to.
        writers: further writers, such as a `TensorBoardWriter`.
    """

    def __init__(
        self, *, every: int = 100, path: str | Path | None = None, writers: Writer | tuple[Writer, ...] = ()
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {"every": every, "path": path, "writers": writers}
        self._seen = 0
        self.monitor: Monitor | None = None

    @property
    def run(self) -> MonitorLog:
        """The run so far; an empty one before the fit."""
        return MonitorLog("") if self.monitor is None else self.monitor.log

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights as they are now, restored ones included, and begin."""
        self._seen = trainer.global_step
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.monitor = Monitor(pl_module, scaler=scaler, first_step=self._seen, **self._options)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch if an optimizer stepped in it."""
        if self.monitor is not None and trainer.global_step != self._seen:
            self._seen = trainer.global_step
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None and pl_module.automatic_optimization:
                loss = loss * trainer.accumulate_grad_batches  # by which Lightning divides it
            self.monitor.step(loss)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the monitor."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        self._close()

    def _close(self) -> None:
        if self.monitor is not None:
            self.monitor.close()
