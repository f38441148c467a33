"""A health report: the verdict, what is wrong, one line for what is fine, and the depths that matter."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from goodinit.records import Finding, LayerSignal, Report
from goodinit.report.words import between, collapsed, count, number, shape

__all__ = ["health"]

# Widest name in the short table, so that it fits 80 columns unfolded.
_NAME = 24
_STYLE = {"error": "bold red", "warning": "bold yellow"}
# What each group of codes judges, for the line that says what is fine.
_JUDGED = (
    (("GI101", "GI110"), "parameter values"),
    (("GI107",), "no NaN or infinity"),
    (("GI102", "GI103", "GI108"), "forward signal"),
    (("GI104", "GI105"), "gradients"),
    (("GI106", "GI109"), "units alive"),
)


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
        parts += [Text(""), _finding(finding)]
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_row(Text("fine", style="green"), _fine(report))
    for note in report.notes:
        lines.add_row(Text("note", style="cyan"), Text(note))
    parts += [Text(""), lines]
    if report.layers:
        parts += [Text(""), _table(report, full=full)]
    return Group(*parts)


def _verdict(report: Report) -> Text:
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    elements = sum(parameter.value.count for parameter in report.parameters)
    size = f"{count(len(report.layers), 'layer')}, {count(elements, 'parameter')}"
    if errors:
        more = f" and {count(warnings, 'warning')}" if warnings else ""
        head = Text(f"{report.model} is not healthy: {count(errors, 'error')}{more}.", style="bold red")
    elif warnings:
        head = Text(f"{report.model} has {count(warnings, 'warning')}.", style="bold yellow")
    elif not _backward(report):
        head = Text(
            f"{report.model}: no fault found forward; backward was not measured.", style="bold yellow"
        )
    else:
        head = Text(f"{report.model} is healthy.", style="bold green")
    return Text.assemble(head, f" {size}.")


def _backward(report: Report) -> bool:
    return any(layer.gradient is not None for layer in report.layers)


def _finding(finding: Finding) -> RenderableType:
    style = _STYLE.get(finding.severity, "bold")
    head = Text.assemble(
        (f"{finding.code} ", style), (finding.title, style), "  ", (collapsed(finding.where), "bold")
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
    rows.add_row("cause", Text(finding.cause))
    rows.add_row("cure", Text(finding.cure, style="green"))
    return Group(head, Padding(rows, (0, 0, 0, 6)))


def _fine(report: Report) -> Text:
    found = {finding.code for finding in report.findings}
    broken = "GI107" in found
    fine = [
        words
        for codes, words in _JUDGED
        # A layer of NaN has no moments, so nothing about signals was judged.
        if not found & set(codes) and not (broken and words in ("forward signal", "gradients", "units alive"))
        if words != "gradients" or _backward(report)
    ]
    return Text(", ".join(fine) if fine else "nothing else could be judged")


def _table(report: Report, *, full: bool) -> RenderableType:
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
    named = {name for finding in report.findings for name in finding.where}
    before = -1
    for index in chosen:
        if index != before + 1:
            table.add_row("", Text(f"… {index - before - 1} more", style="dim", no_wrap=True))
        before = index
        table.add_row(*_cells(layers[index], full=full), style="bold" if layers[index].name in named else "")
    if before != len(layers) - 1:
        table.add_row("", Text(f"… {len(layers) - 1 - before} more", style="dim"))
    return Group(Rule(style="dim"), table)


def _cells(layer: LayerSignal, *, full: bool) -> tuple[str | Text, ...]:
    name = layer.name + (f" (call {layer.call + 1})" if layer.call else "")
    # The end of a long name tells layers apart.
    name = name if full or len(name) <= _NAME else f"…{name[1 - _NAME :]}"
    bad = layer.output.nonfinite
    return (
        str(layer.index),
        Text(name),
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


def _varies(layer: LayerSignal) -> str:
    whole = layer.output.second_moment
    if layer.varying is None or not whole > 0:
        return "–"
    share = layer.varying / whole
    return f"{share:.0%}" if share >= 0.005 else f"{share:.0e}"


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
