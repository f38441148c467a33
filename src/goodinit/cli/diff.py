"""`goodinit diff`: how two plans differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goodinit.cli import options
from goodinit.cli.settings import Settings, command_settings, show, show_json

if TYPE_CHECKING:
    from goodinit.plans import Plan, Row

__all__ = ["diff"]


@click.command(
    short_help="Show how two plans differ.",
    epilog=options.examples(
        "goodinit plan models.py:build -r xavier_normal --out a.json",
        "goodinit plan models.py:build -r kaiming_normal --out b.json",
        "goodinit diff a.json b.json",
    ),
)
@click.argument("first", type=options.existing_file, metavar="A.json")
@click.argument("second", type=options.existing_file, metavar="B.json")
@command_settings
def diff(settings: Settings, first: Path, second: Path) -> int:
    """Show which parameters two plans fill differently; exit code 1 if there are any."""
    from goodinit.plans import Plan

    here, there = Plan.load(first), Plan.load(second)
    changed = here.diff(there)
    _show(settings, here, there, changed)
    show_json(
        settings,
        {
            "goodinit": "diff",
            "a": str(first),
            "b": str(second),
            "differences": [
                {"name": name, "a": a.to_json() if a else None, "b": b.to_json() if b else None}
                for name, a, b in changed
            ],
        },
    )
    return 1 if changed else 0


def _show(
    settings: Settings, here: Plan, there: Plan, changed: tuple[tuple[str, Row | None, Row | None], ...]
) -> None:
    from rich.table import Table
    from rich.text import Text

    total = len({row.name for row in (*here, *there)})
    if not changed:
        show(settings, f"The plans fill all {total:,} parameters alike.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("parameter", f"A: {here.recipe}", f"B: {there.recipe}"):
        table.add_column(title, overflow="fold")
    for name, a, b in changed:
        shapes = a is not None and b is not None and a.shape != b.shape
        table.add_row(Text(name), Text(_words(a, shapes)), Text(_words(b, shapes)))
    verb = "differs" if len(changed) == 1 else "differ"
    show(settings, f"{len(changed):,} of {total:,} parameters {verb}.", "", table)


def _words(row: Row | None, with_shape: bool) -> str:
    if row is None:
        return "no such parameter"
    return f"{row.initializer!r}, shape {row.shape}" if with_shape else repr(row.initializer)
