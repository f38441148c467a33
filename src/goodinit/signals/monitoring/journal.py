"""The file of a monitored run: JSON lines, each written whole, appended to when a run resumes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from goodinit.errors import ArgumentError
from goodinit.records import MonitorEvent, MonitorLog, MonitorStep
from goodinit.records.training import FORMAT, line, lines

__all__ = ["Journal"]


class Journal:
    """Appends records to a file; what is there stays there, also what a crash cut short."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        size = os.fstat(self._file).st_size
        self.empty = size == 0
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def past(self) -> tuple[MonitorLog, dict[str, tuple[tuple[int, ...], torch.Tensor]], int]:
        """Return what the file holds: the log, sketches at the start by name, the next step's number."""
        log = MonitorLog.read(self.path)
        start: dict[str, tuple[tuple[int, ...], torch.Tensor]] = {}
        step = log.steps[-1].step + 1 if log.steps else 0
        for item in lines(self.path):
            kind = "" if item is None else item.get("goodinit")
            try:
                if item is not None and kind == "monitor_start":
                    for name, (shape, text) in item["sketches"].items():
                        start.setdefault(name, (tuple(shape), _unpacked(text)))
                elif item is not None and kind == "monitor_end":
                    step = max(step, int(item["step"]))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ArgumentError(
                    f"path: {self.path} has a damaged line of kind {kind} ({error}), without which the run "
                    "cannot go on; give another path, or remove the line"
                ) from error
        return log, start, step

    def header(self, **content: Any) -> None:
        """Write the line that begins a run or its resumption."""
        self._append({"goodinit": "monitor", "format": FORMAT, **content})

    def start(self, sketches: Mapping[str, tuple[tuple[int, ...], torch.Tensor]]) -> None:
        """Write sketches of initial values, so that a resumed run knows where it began."""
        packed = {name: [list(shape), _packed(values)] for name, (shape, values) in sketches.items()}
        self._append({"goodinit": "monitor_start", "sketches": packed})

    def write(self, record: MonitorStep | MonitorEvent) -> None:
        """Append one record."""
        self._append(line(record))

    def note(self, text: str) -> None:
        """Append a remark on what could not be measured."""
        self._append({"goodinit": "monitor_note", "note": text})

    def end(self, step: int) -> None:
        """Write the number of the next step, and wait until all is on the disk."""
        if self._file is not None:
            self._append({"goodinit": "monitor_end", "step": step})
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, content: dict[str, Any]) -> None:
        if self._file is None:
            return
        data = memoryview((json.dumps(content, allow_nan=False) + "\n").encode())
        # One write per line, so that a crash leaves whole lines; the system may still take it in parts.
        while data:
            data = data[os.write(self._file, data) :]


def _packed(values: torch.Tensor) -> str:
    return base64.b64encode(values.to(torch.float32).numpy().tobytes()).decode("ascii")


def _unpacked(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32).double()
