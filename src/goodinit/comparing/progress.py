"""A progress bar with the time left, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]


@contextmanager
def bar(title: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the work inside lasts; nothing where that is no terminal.

    Args:
        title: what is being done.
        total: units of work.
        shown: False shows nothing anywhere.

    Yields:
        A function to be called with the number of units done since the last call.

    >>> with bar("counting", 3, shown=False) as advance:
    ...     advance(3)
    """
    if not shown or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown_bar:
        task = shown_bar.add_task(title, total=total)
        yield lambda count: shown_bar.advance(task, count)
