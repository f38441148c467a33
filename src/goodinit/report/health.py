"""A health report: the verdict, what is wrong, one line for what is fine, and the depths that matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from goodinit.records import Finding, LayerSignal, Report
from goodinit.report.overall import overall
from goodinit.report.verdict import fine, verdict
from goodinit.report.words import between, collapsed, ending, number, shape

__all__ = ["finding_block", "health"]

# From this width on, the table compares with theory.
_WIDE = 120
# Widest name in the short table, so that it fits 80 columns unfolded.
_NAME = 24
_TONE = {"error": "bold red", "warning": "bold yellow", "fine": "bold green"}
_STYLE = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


def health(report: Report, *, full: bool = False) -> RenderableType:
    """Return the report as a Rich group, what is wrong first."""
    start = (
        "a random linear functional of the outputs" if report.loss is None else f"loss {number(report.loss)}"
    )
    parts: list[RenderableType] = [
        _verdict(report),
        Text(f"batch {report.batch}; backward from {start}", style="dim"),
    ]
    for finding in report.findings:
        parts += [Text(""), finding_block(finding)]
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_row(
        Text("fine", style="green"), Text(", ".join(fine(report)) or "nothing else could be judged")
    )
    for word, measured in overall(report):
        lines.add_row(Text(word, style="cyan"), Text(measured))
    for note in report.notes:
        lines.add_row(Text("note", style="cyan"), Text(note))
    parts += [Text(""), lines]
    if report.layers:
        parts += [Text(""), _Fitted(report, full)]
    return Group(*parts)


@dataclass(frozen=True)
class _Fitted:
    """The table of layers, with more columns where the terminal is wide."""

    report: Report
    full: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _table(self.report, full=self.full, wide=options.max_width >= _WIDE)


def _verdict(report: Report) -> Text:
    outcome = verdict(report)
    return Text.assemble((outcome.sentence, _TONE[outcome.tone]), f" {outcome.size}.")


def finding_block(
    finding: Finding, *, mark: Text | str = "", more: Sequence[tuple[str, str]] = ()
) -> RenderableType:
    """Return one finding as its title and layers, and below them what was measured, the cause and the cure.

    Args:
        finding: the finding.
        mark: stands before the title.
        more: further lines after what was measured, each a word and a sentence.
    """
    style = _STYLE.get(finding.severity, "bold")
    head = Text.assemble(
        mark,
        (f"{finding.code} ", style),
        (finding.title, style),
        " (note)" if finding.severity == "note" else "",
        "  ",
        (collapsed(finding.where), "bold"),
    )
    measured = Text(f"{finding.measure}: {number(finding.effect)}")
    if finding.interval is not None:
        measured.append(f" ({between(finding.interval)})")
    if finding.expected is not None:
        measured.append(f"; healthy: {between(finding.expected)}")
    rows = Table.grid(padding=(0, 1), expand=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("measured", measured)
    for word, sentence in more:
        rows.add_row(word, Text(sentence))
    rows.add_row("cause", Text(finding.cause))
    rows.add_row("cure", Text(finding.cure, style="green"))
    return Group(head, Padding(rows, (0, 0, 0, 6)))


def _table(report: Report, *, full: bool, wide: bool) -> RenderableType:
    layers = report.layers
    chosen = range(len(layers)) if full else _that_matter(report)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right", style="dim")
    table.add_column("layer", overflow="fold", max_width=40)
    table.add_column("kind", overflow="ellipsis", no_wrap=True, max_width=24 if full else 12)
    if full:
        table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("out std", justify="right", no_wrap=True)
    table.add_column("grad std", justify="right", no_wrap=True)
    table.add_column("varies", justify="right", no_wrap=True)
    if full:
        table.add_column("zeros", justify="right", no_wrap=True)
    table.add_column("dead", justify="right", no_wrap=True)
    more = [column for column in _MORE if wide and any(column[1](layer) != "–" for layer in layers)]
    for title, _ in more:
        table.add_column(title, justify="right", no_wrap=True)
    named = {name for finding in report.findings for name in finding.where}
    before = -1
    for index in chosen:
        if index != before + 1:
            table.add_row("", Text(f"… {index - before - 1} more", style="dim", no_wrap=True))
        before = index
        cells = [*_cells(layers[index], full=full), *(cell(layers[index]) for _, cell in more)]
        table.add_row(*cells, style="bold" if layers[index].name in named else "")
    if before != len(layers) - 1:
        table.add_row("", Text(f"… {len(layers) - 1 - before} more", style="dim"))
    return Group(Rule(style="dim"), table)


def _cells(layer: LayerSignal, *, full: bool) -> tuple[str | Text, ...]:
    name = layer.name + (f" (call {layer.call + 1})" if layer.call else "")
    bad = layer.output.nonfinite
    return (
        str(layer.index),
        Text(name if full else ending(name, _NAME)),
        Text(layer.kind),
        *((shape(layer.shape),) if full else ()),
        Text("NaN/∞", style="bold red") if bad else number(layer.output.std),
        "–"
        if layer.gradient is None
        else ("NaN/∞" if layer.gradient.nonfinite else number(layer.gradient.std)),
        _varies(layer),
        *((f"{layer.zeros:.0%}",) if full else ()),
        "–" if layer.dead is None else f"{layer.dead}/{layer.units}",
    )


def _against_theory(layer: LayerSignal) -> str:
    """The measured second moment over the predicted one; marked where it leaves its band."""
    expected, measured = layer.predicted, layer.output
    if expected is None or measured.nonfinite or not expected.value > 0:
        return "–"
    outside = not expected.low <= measured.second_moment <= expected.high
    return f"{'! ' if outside else ''}×{number(measured.second_moment / expected.value)}"


def _rank(layer: LayerSignal) -> str:
    return "–" if layer.rank is None else f"{number(layer.rank)}/{layer.rows or '?'}"


# Columns for wide terminals: title and cell.
_MORE: Final[tuple[tuple[str, Callable[[LayerSignal], str]], ...]] = (
    ("of theory", _against_theory),
    ("corr", lambda layer: number(layer.correlation)),
    ("rank", _rank),
)


def _varies(layer: LayerSignal) -> str:
    whole = layer.output.second_moment
    if layer.varying is None or not whole > 0:
        return "–"
    share = layer.varying / whole
    return f"{share:.0%}" if share >= 0.005 or share == 0 else f"{share:.0e}"


def _that_matter(report: Report) -> list[int]:
    """First and last layers, extremes of both directions, and where findings point."""
    layers = report.layers
    last = len(layers) - 1
    chosen = {0, 1, last - 1, last}
    for size in (_output, _gradient):
        measured = [(value, layer.index) for layer in layers if (value := size(layer)) is not None]
        if measured:
            chosen |= {min(measured)[1], max(measured)[1]}
    for finding in report.findings:
        wanted = [layer.index for layer in layers if layer.name in finding.where]
        chosen |= set(wanted[:2])
    if report.findings and last > 8:
        chosen |= {last // 4, last // 2, 3 * last // 4}
    return sorted(index for index in chosen if 0 <= index <= last)


def _output(layer: LayerSignal) -> float | None:
    value = layer.output.second_moment
    return value if math.isfinite(value) else None


def _gradient(layer: LayerSignal) -> float | None:
    if layer.gradient is None or not math.isfinite(layer.gradient.second_moment):
        return None
    return layer.gradient.second_moment
