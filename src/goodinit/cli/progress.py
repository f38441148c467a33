"""A progress bar for work that turns out to be long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DELAY", "progress"]

#: Seconds of work after which a bar appears.
DELAY = 2.0


@contextmanager
def progress(
    title: str,
    total: int | None = None,
    *,
    hidden: bool = False,
    delay: float = DELAY,
    console: Console | None = None,
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error once the work inside has taken `delay` seconds; gone when it ends.

    Args:
        title: what is being done.
        total: units of work; None, where it cannot be known, shows a moving bar.
        hidden: show nothing, ever.
        delay: seconds before the bar appears.
        console: where to draw; by default standard error, and only if it is a terminal.

    Yields:
        A function to be called with the number of units done since the last call.

    >>> with progress("counting", 3) as advance:
    ...     advance(3)
    """
    if hidden or (console is None and not sys.stderr.isatty()):
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    if total is not None:
        columns.insert(2, TaskProgressColumn())
    bar = Progress(
        *columns,
        console=console or Console(stderr=True),
        transient=True,
        # The commands redirect standard output themselves; a second redirection from the
        # timer's thread would not be undone in order.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(title, total=total)
    turn, ended, shown = threading.Lock(), False, False

    def appear() -> None:
        nonlocal shown
        with turn:
            if not ended:
                shown = True
                bar.start()

    timer = threading.Timer(delay, appear)
    timer.daemon = True
    timer.start()
    try:
        yield lambda count: bar.advance(task, count)
    finally:
        timer.cancel()
        with turn:
            ended = True
            if shown:
                bar.stop()


def _nothing(_: int) -> None:
    return None
