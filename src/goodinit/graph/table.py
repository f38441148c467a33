"""A graph as a plain text table and as JSON values."""

from __future__ import annotations

import dataclasses
from typing import Any

from goodinit.graph.expressions import Elementwise
from goodinit.graph.graph import Graph
from goodinit.graph.layout import Span
from goodinit.graph.uses import Sink, Source, WeightUse
from goodinit.records import to_jsonable

__all__ = ["graph_to_json", "graph_to_text"]


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """Return a graph as plain JSON values; a function becomes its name."""
    plain: dict[str, Any] = to_jsonable(_without_functions(graph))
    return {"goodinit": "graph", **plain}


def _without_functions(value: Any) -> Any:
    if isinstance(value, Elementwise):
        return {"name": value.name, "known": value.known}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _without_functions(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare
        }
    if isinstance(value, dict):
        return {key: _without_functions(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_functions(item) for item in value]
    return value


def graph_to_text(graph: Graph) -> str:
    """Return a graph as a table: one row for every use, what was never reached first."""
    counts = f"{len(graph.uses)} parameters used, depth {graph.depth}, traced on {graph.ran} tensors"
    lines = [f"{graph.model}: {counts}"]
    lines += [f"example: {graph.example}"] if graph.example else []
    lines += [f"note: {note}" for note in graph.notes]
    lines += [f"never reached by the example: {name}" for name in graph.unreached]
    head = ("parameter", "op", "fan_in", "fan_out", "from", "to", "part")
    rows = [head] + [_row(use) for use in graph.order]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _row(use: WeightUse) -> tuple[str, ...]:
    name = use.name + ("" if use.block is None else f"[{', '.join(_span(s) for s in use.block)}]")
    op = use.op + (f" ×{use.calls}" if use.calls > 1 else "")
    into = ", ".join(dict.fromkeys(_sink(sink) for sink in use.sinks))
    return name, op, f"{use.fan_in:g}", f"{use.fan_out:g}", _source(use.source), into, ", ".join(_parts(use))


def _span(span: Span) -> str:
    plain = f"{span.start}:{span.start + span.length}"
    return plain if span.repeats == 1 else f"{plain} ×{span.repeats} every {span.period}"


def _source(source: Source) -> str:
    return source.kind if source.activation is None else f"{source.activation.name}({source.kind})"


def _sink(sink: Sink) -> str:
    return sink.kind if sink.activation is None else f"{sink.activation.name} → {sink.kind}"


def _parts(use: WeightUse) -> list[str]:
    found = [part for part in (use.attention, use.gate) if part]
    if use.recurrence is not None:
        found.append(f"{use.recurrence.part} {use.recurrence.gate}".strip())
    if use.residual is not None:
        kind = "shortcut" if use.residual.shortcut else "branch"
        found.append(f"{kind} {use.residual.position}/{use.residual.of} of stream {use.residual.stream}")
        if use.residual.scale:
            found.append(f"scaled by {', '.join(use.residual.scale)}")
    if use.head:
        found.append("head")
    return found
