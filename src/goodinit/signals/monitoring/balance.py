"""How gradients are spread over depth, and how that changed since the start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from goodinit.records import LayerStep
from goodinit.signals.monitoring.quick import rounded

__all__ = ["balance", "drift", "profile"]


def profile(layers: Sequence[LayerStep]) -> dict[str, float]:
    """Return the gradient's second moment at each weight layer that a gradient reached, in order.

    A layer that runs several times in a pass has the mean over its calls.
    """
    sizes: dict[str, list[float]] = {}
    for layer in layers:
        if layer.weight and layer.gradient is not None:
            sizes.setdefault(layer.name, []).append(layer.gradient)
    means = {name: sum(values) / len(values) for name, values in sizes.items()}
    return {name: value for name, value in means.items() if value > 0 and math.isfinite(value)}


def balance(sizes: Mapping[str, float]) -> float | None:
    """Return geometric mean of the first third over that of the last third; None under two layers.

    >>> balance({"a": 1.0, "b": 10.0, "c": 100.0})
    0.01
    """
    if len(sizes) < 2:
        return None
    logs = [math.log(size) for size in sizes.values()]
    third = max(1, len(logs) // 3)
    return _factor((sum(logs[:third]) - sum(logs[-third:])) / third)


def drift(start: Mapping[str, float], now: Mapping[str, float]) -> float | None:
    """Return the balance now over the balance at the start, on the layers that both have.

    A change of all gradients by one factor, such as a falling loss, is no drift.

    >>> drift({"a": 1.0, "b": 1.0}, {"a": 0.1, "b": 1.0})
    0.1
    """
    return balance({name: now[name] / size for name, size in start.items() if name in now})


def _factor(log: float) -> float:
    return rounded(math.exp(min(max(log, -700.0), 700.0)))
