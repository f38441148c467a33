"""How large the results are of weights and tables whose values stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from goodinit.graph import Graph, WeightUse

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["kept_size", "kept_start", "unknown"]


def kept_size(graph: Graph, use: WeightUse) -> float:
    """Return the mean square of a parameter that stays as it is; NaN for others, and on meta."""
    value = graph.values.get(use.name)
    if value is not None and use.making is None:
        return value**2
    stays = use.name in graph.kept or value is not None
    return use.held() if use.held is not None and stays else math.nan


def unknown(graph: Graph, names: Iterable[str]) -> str:
    """Say of kept weights that are on meta that they are counted as planned; nothing of others."""
    for name in names:
        for use in graph[name]:
            if name in graph.kept and use.held is not None and not math.isfinite(use.held()):
                return f" (counted as planned: {name} is kept and has no values here)"
    return ""


def kept_start(travel: Travel, start: Iterable[str]) -> float:
    """Return the second moment of a stream that begins at weights or tables that stay; 0 for other streams.

    Tables that are planned beside kept ones get their size (see `lookup`); what else is planned starts a
    stream at 1, whatever is kept beside it.
    """
    graph, known, tables = travel.graph, 0.0, [0, 0]
    for name in start:
        use = graph.principal(name)
        if use is None or not (use.contracts or use.op == "embedding"):
            continue
        # What is read only through a normalization starts the stream at 1.
        direct = [sink for sink in use.sinks if sink.kind == "residual"]
        size = kept_size(graph, use) if direct else math.nan
        if not math.isfinite(size):
            if use.contracts:
                return 0.0
            tables[0] += 1
            continue
        tables[1] += not use.contracts
        size = travel.puts_out(use) if use.contracts else size
        activation = direct[0].activation
        known += size if activation is None else size * travel.passed(activation, size)
    return known * (1 + tables[0] / tables[1]) if tables[1] else known
