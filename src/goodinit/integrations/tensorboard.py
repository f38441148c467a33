"""Monitored steps as TensorBoard scalars, events as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from goodinit.integrations.scalars import scalars
from goodinit.records import MonitorEvent, MonitorStep

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes to TensorBoard; give it to ``Monitor(writers=…)``.

    Args:
        target: a ``SummaryWriter``, which stays yours to close, or a folder for a new one.
        prefix: in front of every tag.

    Raises:
        ImportError: if a folder is given and the package tensorboard is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = TensorBoardWriter(folder)
        ...     writer.write(MonitorStep(0, 1.0, None, (), ()))
        ...     writer.close()
    """

    def __init__(self, target: Any, *, prefix: str = "goodinit/") -> None:
        self._own = isinstance(target, str | Path)
        if self._own:
            from torch.utils.tensorboard import SummaryWriter

            target = SummaryWriter(str(target))
        self._writer, self._prefix = target, prefix

    def write(self, record: MonitorStep | MonitorEvent) -> None:
        """Write a step's numbers, or an event's message."""
        if isinstance(record, MonitorEvent):
            self._writer.add_text(f"{self._prefix}events", f"{record.kind}: {record.message}", record.step)
        else:
            for name, value in scalars(record).items():
                self._writer.add_scalar(self._prefix + name, value, record.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the writer if it was made here."""
        if self._own:
            self._writer.close()
