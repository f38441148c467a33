"""What uses which parameter: where it is registered, and which operation reads it in a pass."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from goodinit.graph.places import Place, Use, places

if TYPE_CHECKING:
    from goodinit.graph.expressions import Elementwise
    from goodinit.graph.graph import Graph
    from goodinit.graph.layout import Span
    from goodinit.graph.tracing import trace
    from goodinit.graph.uses import Recurrence, Residual, Sink, Source, WeightUse

_HOME = {
    "Elementwise": "expressions",
    "Graph": "graph",
    "Recurrence": "uses",
    "Residual": "uses",
    "Sink": "uses",
    "Source": "uses",
    "Span": "layout",
    "WeightUse": "uses",
    "trace": "tracing",
}

__all__ = [
    "Elementwise",
    "Graph",
    "Place",
    "Recurrence",
    "Residual",
    "Sink",
    "Source",
    "Span",
    "Use",
    "WeightUse",
    "places",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"goodinit.graph.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'goodinit.graph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
