"""An experiment of the laboratory as text: question, answer, and the figures that it rests on."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import ExperimentResult, Sheet
from goodinit.report.words import number

__all__ = ["experiment"]


def experiment(made: ExperimentResult, *, full: bool = False) -> RenderableType:
    """Return an experiment as a Rich group; `full` adds its tables and notes."""
    parts: list[RenderableType] = [Text(made.title, style="bold"), Text(made.question, style="dim"), Text("")]
    parts += [
        Text(f"• {sentence}", style="bold" if at == 0 else "") for at, sentence in enumerate(made.answer)
    ]
    if made.textbook:
        parts += [Text(""), Text.assemble(("The textbook: ", "cyan"), made.textbook)]
    if made.facts:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("what", overflow="fold", ratio=3)
        table.add_column("measured", justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
        table.add_column("stated", overflow="fold", ratio=2)
        table.add_column("", no_wrap=True)
        for each in made.facts:
            holds = {None: "", True: "holds", False: "does not hold"}[each.holds]
            interval = f"{number(each.measured.low)} to {number(each.measured.high)}"
            table.add_row(Text(each.name), number(each.measured.value), interval, Text(each.stated), holds)
        parts += [Text(""), table]
    if full:
        for sheet in made.sheets:
            parts += [Text(""), _sheet(sheet)]
    settings = ", ".join(f"{name} {value}" for name, value in made.settings.items())
    parts += [Text(""), Text(f"{made.size} size: {settings}", style="dim")]
    if full:
        parts += [Text(f"note  {note}", style="dim") for note in made.notes]
    return Group(*parts)


def _sheet(sheet: Sheet) -> Table:
    table = Table(title=sheet.caption, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in sheet.columns:
        table.add_column(name, overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
