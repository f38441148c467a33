"""A plan as a table that stays readable for a hundred layers: alike rows are one row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from goodinit.records import PlanRecord, RowRecord
from goodinit.report.folding import fold
from goodinit.report.words import count, shape, units

__all__ = ["folded", "plan_table", "short_initializer"]

_FLOAT = re.compile(r"(?<![\w.])\d+\.\d+(?:e[-+]?\d+)?")
# How a row's `why` begins where someone decided against the recipe's rule.
_ATTENTION = ("kept", "override", "covered by an override")


def folded(rows: Sequence[RowRecord]) -> list[tuple[str, int, RowRecord]]:
    """Return (name with ranges, how many, one of them); rows that differ only in numbers are together.

    >>> row = RowRecord("layers.0.weight", (2, 2), "Normal(0, 1)", 0.0, 1.0, 2.0, 2.0, "")
    >>> import dataclasses
    >>> folded([row, dataclasses.replace(row, name="layers.1.weight")])[0][:2]
    ('layers.{0,1}.weight', 2)
    """
    groups = fold(
        rows,
        name=lambda row: row.name,
        key=lambda row: (row.shape, row.initializer, row.fan_in, row.fan_out, row.why, len(row.aliases)),
    )
    return [(name, len(group), group[0]) for name, group in groups]


def plan_table(plan: PlanRecord, *, full: bool = False) -> RenderableType:
    """Return the plan as a Rich group: what departs from the rules, the rules, the totals."""
    special = [row for row in plan.rows if _needs_attention(row)]
    usual = [row for row in plan.rows if not _needs_attention(row)]
    parts: list[RenderableType] = [
        Text.assemble((f"Plan of {plan.model}", "bold"), f" by recipe {plan.recipe}.")
    ]
    parts += [Text(f"Note: {note}", style="dim") for note in plan.notes]
    parts += _announced(plan.rows)
    if special:
        parts += [Text(""), Text("Kept or overridden", style="bold yellow"), _rows(special, full=full)]
    if usual:
        title = Text("By rule", style="bold")
        parts += (
            [Text(""), title, _rows(usual, full=full)] if special else [Text(""), _rows(usual, full=full)]
        )
    elements = sum(math.prod(row.shape) for row in plan.rows)
    tied = sum(len(row.aliases) for row in plan.rows)
    totals = f"{count(len(plan.rows), 'parameter')}, {count(elements, 'element')}"
    if special:
        totals += f"; {len(special)} kept or overridden"
    if tied:
        totals += f"; {count(tied, 'tied name')}"
    parts += [Text(""), Text(f"{totals}.", style="dim")]
    return Group(*parts)


def _announced(rows: Sequence[RowRecord]) -> list[RenderableType]:
    """Return what the plan cannot hold, each sentence once, with the rows that it stands in."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row.announced is not None:
            said.setdefault(row.announced.what, []).append(row.name)
    parts: list[RenderableType] = [Text(""), Text("Will not hold", style="bold red")] if said else []
    for what, names in said.items():
        span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        parts.append(Padding(Text.assemble((span, "bold"), f": {what}."), (0, 0, 0, 4)))
    return parts


def _needs_attention(row: RowRecord) -> bool:
    return row.initializer.startswith("Keep(") or row.why.startswith(_ATTENTION)


def _rows(rows: Sequence[RowRecord], *, full: bool) -> RenderableType:
    """Return entries of two parts: which parameters; and, indented below, what fills them and why."""
    lines = [(row.name, 1, row) for row in rows] if full else folded(rows)
    entries: dict[tuple[str, str, str], list[Text]] = {}
    for name, times, row in lines:
        label = Text(name, style="bold")
        if times > 1:
            label.append(f" ×{times}", style="bold cyan")
        label.append(f" {shape(row.shape)}", style="not bold dim")
        if row.aliases:
            more = f" +{len(row.aliases) - 1}" if len(row.aliases) > 1 else ""
            label.append(f" = {row.aliases[0]}{more}", style="not bold")
        entries.setdefault((short_initializer(row.initializer), _fans(row), row.why), []).append(label)
    parts: list[RenderableType] = []
    for (initializer, fans, why), labels in entries.items():
        what = "" if initializer == "Keep()" and why else f"{initializer}{', ' if fans else ''}{fans}"
        reason = Text.assemble((what, "green"), ": " if what and why else "", (why, "dim"))
        parts += [Text(", ").join(labels), Padding(reason, (0, 0, 0, 4))]
    return Group(*parts)


def short_initializer(initializer: str) -> str:
    """Return an initializer with its numbers cut to four digits and without words that say nothing.

    >>> short_initializer("Normal(mean=0.0, std=0.17677669529663687)")
    'Normal(std=0.1768)'
    """
    text = _FLOAT.sub(lambda found: f"{float(found.group()):.4g}", initializer)
    return text.replace("mean=0, ", "").replace("Constant(value=", "Constant(")


def _fans(row: RowRecord) -> str:
    return "" if row.fan_in is None else f"fans {units(row.fan_in)}→{units(row.fan_out)}"
