"""A monitored run as text: what happened, then how the network changed from first to last."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import LayerStep, MonitorLog, MonitorStep, ParameterStep
from goodinit.report.words import count, ending, number

__all__ = ["BAD", "median_update", "training", "verdict"]

# Layers shown of a network with more: the ends, the middle, and those that events name.
_MOST_ROWS = 12
# Widest name, so that the table fits 100 columns.
_NAME = 36
BAD = frozenset({"layer_died", "never_learned", "non_finite", "units_died", "balance_drifted"})


def training(log: MonitorLog, *, full: bool = False) -> RenderableType:
    """Return a run as a Rich group, what went wrong first."""
    tone, sentence, span = verdict(log)
    style = {"warning": "bold yellow", "fine": "bold green"}.get(tone, "")
    parts: list[RenderableType] = [Text(f"{sentence} {span}{'.' if span else ''}".rstrip(), style=style)]
    for event in sorted(log.events, key=lambda event: event.kind not in BAD):
        style = "bold yellow" if event.kind in BAD else "cyan"
        parts.append(Text.assemble((f"step {event.step}  ", "dim"), (event.message, style)))
    if log.steps:
        parts += [Text(""), _course(log), Text(""), _table(log, full)]
    parts += [Text(f"note  {note}", style="dim") for note in log.notes]
    return Group(*parts)


def verdict(log: MonitorLog) -> tuple[str, str, str]:
    """Return a run's tone, its sentence, and which steps were measured.

    >>> verdict(MonitorLog("Net"))
    ('plain', 'Net: no step measured yet.', '')
    """
    if not log.steps:
        return "plain", f"{log.model}: no step measured yet.", ""
    bad = sum(event.kind in BAD for event in log.events)
    span = f"{count(len(log.steps), 'measured step')}, {log.steps[0].step} to {log.steps[-1].step}"
    if bad:
        return "warning", f"{log.model}: {count(bad, 'thing')} went wrong.", span
    return "fine", f"{log.model}: nothing went wrong that was measured.", span


def _course(log: MonitorLog) -> RenderableType:
    first, last = log.steps[0], log.steps[-1]
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, before, now in (
        ("loss", first.loss, last.loss),
        ("gradient balance, front over back", first.balance, last.balance),
        ("  its drift since the start", first.drift, last.drift),
        ("initial draw left (cos²)", first.kept, last.kept),
        ("update over weight, median", median_update(first), median_update(last)),
    ):
        if before is not None or now is not None:
            table.add_row(Text(label), number(before), "→", number(now))
    return table


def median_update(step: MonitorStep) -> float | None:
    """Return the median over parameters of the update's root mean square over the value's."""
    ratios = sorted(ratio for p in step.parameters if (ratio := p.update_ratio) is not None)
    return ratios[len(ratios) // 2] if ratios else None


def _table(log: MonitorLog, full: bool) -> RenderableType:
    first = {(layer.name, layer.call): layer for layer in log.steps[0].layers}
    last = log.steps[-1]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("layer", overflow="fold", max_width=_NAME)
    for title in ("out rms", "→", "grad rms", "→", "dead", "update/weight", "kept"):
        table.add_column(title, justify="right", no_wrap=True)
    weights = {p.name.rpartition(".")[0]: p for p in reversed(last.parameters) if p.kept is not None}
    chosen = set(range(len(last.layers))) if full else _chosen(log)
    for index, layer in enumerate(last.layers):
        if index in chosen:
            start = first.get((layer.name, layer.call))
            table.add_row(*_cells(start, layer, weights.get(layer.name)))
        elif index - 1 in chosen:
            table.add_row(Text("…", style="dim"))
    return table


def _chosen(log: MonitorLog) -> set[int]:
    layers = log.steps[-1].layers
    if len(layers) <= _MOST_ROWS:
        return set(range(len(layers)))
    named = {name for event in log.events if event.kind in BAD for name in event.where}
    bad = [index for index, layer in enumerate(layers) if layer.name in named][:_MOST_ROWS]
    end = len(layers) - 1
    return {0, 1, end // 4, end // 2, 3 * end // 4, end - 1, end, *bad}


def _cells(start: LayerStep | None, now: LayerStep, weight: ParameterStep | None) -> tuple[str | Text, ...]:
    name = now.name + (f" (call {now.call + 1})" if now.call else "")
    return (
        Text(ending(name, _NAME)),
        number(None if start is None else _root(start.output)),
        number(_root(now.output)),
        number(None if start is None else _root(start.gradient)),
        number(_root(now.gradient)),
        "–" if now.dead is None else f"{now.dead}/{now.units}",
        number(None if weight is None else weight.update_ratio),
        number(None if weight is None else weight.kept),
    )


def _root(square: float | None) -> float | None:
    return None if square is None else square**0.5
