"""Records as text: one place that knows which record is drawn by what."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from goodinit.errors import WrongTypeError
from goodinit.records import (
    Comparison,
    CoordinateCheck,
    ExperimentResult,
    MonitorLog,
    PlanRecord,
    Report,
    SinceBaseline,
    Verification,
)
from goodinit.report.comparison import comparison
from goodinit.report.coordinates import coordinates
from goodinit.report.experiment import experiment
from goodinit.report.health import health
from goodinit.report.plan import plan_table
from goodinit.report.since import since_baseline
from goodinit.report.training import training
from goodinit.report.verification import verification

__all__ = ["renderable", "to_text"]

# What a terminal has by default; nothing is wider in documents either.
_WIDTH = 100
# What is drawn by what.
_DRAWN: dict[type, Callable[..., RenderableType]] = {
    Report: health,
    PlanRecord: plan_table,
    Verification: verification,
    CoordinateCheck: coordinates,
    MonitorLog: training,
    Comparison: comparison,
    ExperimentResult: experiment,
}
# Control characters as their pictures: in a name of a layer they could rewrite what a terminal shows.
_PICTURES = {
    **{code: 0x2400 + code for code in range(32) if code not in b"\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}


@dataclass(frozen=True)
class _Readable:
    """What is drawn, without control characters of its own."""

    drawn: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.drawn, options):
            yield Segment(segment.text.translate(_PICTURES), segment.style, segment.control)


def renderable(record: Any, *, full: bool = False) -> RenderableType:
    """Return a Rich renderable for a record.

    Args:
        record: a `Report`, `PlanRecord`, `Verification`, `SinceBaseline`, `CoordinateCheck`, `MonitorLog`,
            `Comparison` or `ExperimentResult`.
        full: show every layer or row instead of those that matter.

    Raises:
        WrongTypeError: for any other kind of record.

    >>> from goodinit.records import Verification
    >>> Console().print(renderable(Verification((), 1e-6)))
    Nothing to verify: the plan has no rows.
    """
    for kind, draw in _DRAWN.items():
        if isinstance(record, kind):
            return _Readable(draw(record, full=full))
    if isinstance(record, SinceBaseline):
        return _Readable(since_baseline(record))
    known = ", ".join(kind.__name__ for kind in (*_DRAWN, SinceBaseline))
    raise WrongTypeError(f"record: expected one of {known}; got {type(record).__name__}")


def to_text(record: Any, *, width: int | None = None, full: bool = False) -> str:
    """Return a record as plain text without colour or control characters.

    Args:
        record: a `Report`, `PlanRecord`, `Verification`, `SinceBaseline`, `CoordinateCheck`, `MonitorLog`,
            `Comparison` or `ExperimentResult`.
        width: columns; 100 if None.
        full: show every layer or row instead of those that matter.

    >>> from goodinit.records import Verification
    >>> print(to_text(Verification((), 1e-6)))
    Nothing to verify: the plan has no rows.
    """
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width or _WIDTH,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(renderable(record, full=full))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
