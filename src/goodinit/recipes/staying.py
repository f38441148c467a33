"""What an author set stays, and counts: a bias b makes the activation φ(x + b), a scale is a factor."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

from torch import Tensor

from goodinit.graph import Elementwise, Graph, Residual, Sink, Source, WeightUse

__all__ = ["kept_biases", "kept_factor", "kept_temperature", "shifted", "with_biases"]

_MOST = 300.0  # e to this is still a double when squared


def shifted(use: WeightUse) -> str | None:
    """Return the weight of which a parameter is the bias, one number for each unit; None for others."""
    vector = sum(length > 1 for length in use.shape) == 1
    return use.of[0] if use.op == "shift" and vector and len(use.of) == 1 and not use.through else None


def kept_biases(graph: Graph) -> dict[str, float]:
    """Return the bias of each weight whose bias stays as its author set it; NaN where units differ in it."""
    stays = dict.fromkeys(graph.kept, math.nan) | dict(graph.values)
    found: dict[str, float] = {}
    for use in graph:
        weight = shifted(use)
        if weight is not None and stays.get(use.name, 0.0) != 0.0:
            found[weight] = stays[use.name]
    return found


def kept_factor(graph: Graph, residual: Residual) -> float:
    """Return what scales that stay, as LayerScale's, make of a branch's second moment."""
    return math.prod(_gain(graph, use) ** 2 for name in residual.scale for use in graph[name][:1])


def kept_temperature(graph: Graph, head: WeightUse) -> float:
    """Return what scales that stay, such as a temperature, make of the second moment of an output layer."""
    scales = (use for use in graph if use.of == (head.name,) and use.sink.kind == "output")
    return math.prod(_gain(graph, use) ** 2 for use in scales)


def _gain(graph: Graph, use: WeightUse) -> float:
    """Return the factor that a scale stays at; 1 where that is not known."""
    value = graph.values.get(use.name)
    # Bounds are for training: a start lies within them.
    through = tuple(op for op in use.through if not op.startswith("clamp"))
    if value is None or use.op != "scale" or through not in ((), ("exp",)):
        return 1.0
    factor = math.exp(min(value, _MOST)) if through else value
    return 1 / factor if use.divides and factor else factor


def with_biases(graph: Graph) -> Graph:
    """Return a graph in which a kept bias is part of the activation between two weights: φ(x + b)."""
    biases = {name: bias for name, bias in kept_biases(graph).items() if math.isfinite(bias)}
    if not biases:
        return graph

    def sink(use: WeightUse, one: Sink) -> Sink:
        if one.kind != "weight" or one.activation is None or use.name not in biases:
            return one
        return dataclasses.replace(one, activation=_moved(one.activation, biases[use.name]))

    def source(one: Source) -> Source:
        found = {biases.get(name, 0.0) for name in one.weights}
        if one.kind != "weight" or one.activation is None or len(found) != 1 or found == {0.0}:
            return one
        return dataclasses.replace(one, activation=_moved(one.activation, found.pop()))

    def changed(use: WeightUse) -> WeightUse:
        sinks = tuple(sink(use, one) for one in use.sinks)
        return dataclasses.replace(use, source=source(use.source), sinks=sinks) if use.contracts else use

    uses = {name: tuple(changed(use) for use in found) for name, found in graph.uses.items()}
    return dataclasses.replace(graph, uses=uses)


@lru_cache(maxsize=256)
def _moved(function: Elementwise, bias: float) -> Elementwise:
    def moved(x: Tensor) -> Tensor:
        return function.function(x + bias)  # not a call of `function`, which gives no slopes

    fingerprint = (bias, *function.fingerprint)
    return Elementwise(f"{function.name} at bias {bias:g}", False, moved, fingerprint)
