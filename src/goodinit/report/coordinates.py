"""A coordinate check as text: the exponents of every layer, then what was found."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import CoordinateCheck
from goodinit.report.words import count

__all__ = ["coordinates", "exponent", "verdict"]


def verdict(check: CoordinateCheck) -> tuple[str, str]:
    """Return the tone of a check and its sentence."""
    names = {name for finding in check.findings for name in finding.where}
    if check.healthy:
        bounds = [layer.change_interval for layer in check.layers if layer.change_interval is not None]
        wide = sum(max(map(abs, each)) > check.tolerance for each in bounds)
        more = (
            f"; the intervals of {wide} of {count(len(bounds), 'layer')} are too wide to tell" if wide else ""
        )
        return "fine", f"{check.model}: no update was found to depend on width{more}."
    tone = "error" if any(finding.severity == "error" for finding in check.findings) else "warning"
    layers = count(len(check.layers), "layer")
    return tone, f"{check.model}: updates of {len(names)} of {layers} depend on width."


def coordinates(check: CoordinateCheck, *, full: bool = False) -> RenderableType:
    """Return a coordinate check as a Rich group; `full` changes nothing, since every layer is shown."""
    tone, sentence = verdict(check)
    style = {"fine": "bold green", "warning": "bold yellow", "error": "bold red"}[tone]
    widths = ", ".join(map(str, check.widths))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("layer", overflow="fold")
    table.add_column("exponent of its output")
    table.add_column("of its change")
    for layer in check.layers:
        first = exponent(layer.output_slope, layer.output_interval)
        table.add_row(
            Text(layer.name or check.model), first, exponent(layer.change_slope, layer.change_interval)
        )
    facts = f"{check.optimizer}, {count(check.steps, 'step')}, {count(check.seeds, 'seed')}, widths {widths}"
    found = [Text(f"{each.code} {each.title}: {each.cause} Cure: {each.cure}") for each in check.findings]
    return Group(Text(sentence, style=style), Text(facts, style="dim"), table, *found)


def exponent(value: float | None, bounds: tuple[float, float] | None) -> str:
    """Return a slope with its interval.

    >>> exponent(1.0, (0.96, 1.04)), exponent(None, None)
    ('+1.00 (+0.96 to +1.04)', '–')
    """
    if value is None:
        return "–"
    return f"{value:+.2f}" + (f" ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if bounds else "")
