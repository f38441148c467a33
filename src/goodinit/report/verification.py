"""The outcome of a verification: failures first, one line for what passed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import RowCheck, Verification
from goodinit.report.folding import fold
from goodinit.report.words import count, number

__all__ = ["verification"]


def verification(outcome: Verification, *, full: bool = False) -> RenderableType:
    """Return the outcome as a Rich group."""
    total, failures = len(outcome.checks), outcome.failures
    if not total:
        return Group(Text("Nothing to verify: the plan has no rows.", style="bold yellow"))
    parts: list[RenderableType] = []
    if failures:
        verb = "does" if len(failures) == 1 else "do"
        parts.append(
            Text(
                f"{len(failures)} of {count(total, 'parameter')} {verb} not follow the plan.",
                style="bold red",
            )
        )
        parts += [Text(""), _table(failures), Text("")]
    passed = [check for check in outcome.checks if check.passed]
    exact = sum(check.p_value is None for check in passed)
    rate = f"false-alarm rate {number(outcome.false_alarm_rate)} over all rows"
    how = f"{exact} exact, {len(passed) - exact} by statistics; {rate}"
    if passed and not failures:
        who = "The one parameter follows" if total == 1 else f"All {count(total, 'parameter')} follow"
        parts.append(Text.assemble((f"{who} the plan", "bold green"), f" ({how})."))
    else:
        parts.append(Text.assemble((f"{count(len(passed), 'parameter')} passed", "green"), f" ({how})."))
    if full and passed:
        parts += [Text(""), _table(tuple(passed))]
    return Group(*parts)


def _table(checks: tuple[RowCheck, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("parameter", overflow="fold", ratio=3)
    table.add_column("test", overflow="fold")
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("found", overflow="fold", ratio=4)
    for name, group in fold(checks, name=lambda check: check.name, key=lambda check: check.test):
        worst = min(group, key=lambda check: -1.0 if check.p_value is None else check.p_value)
        label = Text(name, style="bold")
        if len(group) > 1:
            label.append(f" ×{len(group)}", style="bold cyan")
        p = "exact" if worst.p_value is None else number(worst.p_value)
        table.add_row(label, Text(worst.test), p, Text(worst.detail))
    return table
