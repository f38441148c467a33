"""A comparison as text: what can be concluded, then plans, then differences seed by seed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import Comparison, Difference, Interval, PlanSummary
from goodinit.report.words import number

__all__ = ["comparison"]


def comparison(made: Comparison, *, full: bool = False) -> RenderableType:
    """Return a comparison as a Rich group; `full` adds every learning rate and the notes."""
    parts: list[RenderableType] = [
        Text(sentence, style="bold" if at == 0 else "") for at, sentence in enumerate(made.conclusions)
    ]
    swept = len(made.lrs) > 1
    parts += [
        Text(""),
        _plans(
            made,
            made.best if swept and not full else (*made.best, *made.summaries) if swept else made.summaries,
        ),
    ]
    differences = made.best_differences if swept else made.differences
    if swept and full:
        differences = (*differences, *made.differences)
    if differences:
        parts += [Text(""), _differences(differences)]
    settings = ", ".join(f"{name} {value}" for name, value in made.settings.items())
    parts += [Text(""), Text(f"{made.model} on {made.data}: {settings}", style="dim")]
    if full:
        parts += [Text(f"note  {note}", style="dim") for note in made.notes]
    return Group(*parts)


def _plans(made: Comparison, rows: tuple[PlanSummary, ...]) -> Table:
    table = _table("plan", "lr", f"final {made.metric}", "95 % interval", "diverged", "dead", "seeds")
    for each in rows:
        table.add_row(
            Text(each.plan),
            "best" if each.lr is None else number(each.lr),
            number(each.score.value),
            _between(each.score),
            _share(each.diverged, each.seeds),
            _share(each.dead, each.seeds),
            str(each.seeds),
        )
    return table


def _differences(rows: tuple[Difference, ...]) -> Table:
    table = _table("first − second", "lr", "difference", "95 % interval", "wins:losses", "p (Holm)")
    for each in rows:
        table.add_row(
            Text(f"{each.first} − {each.second}"),
            "best" if each.lr is None else number(each.lr),
            number(each.difference.value),
            _between(each.difference),
            f"{each.wins}:{each.losses}",
            number(each.p_holm),
        )
    return table


def _table(first: str, *titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _between(each: Interval) -> str:
    return f"{number(each.low)} to {number(each.high)}"


def _share(each: Interval, seeds: int) -> str:
    return f"{round(each.value * seeds)}" if each.value else "0"
