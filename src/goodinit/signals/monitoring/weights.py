"""How large parameters, gradients and updates are, and how much of the initial draw is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import nn

from goodinit.records import ParameterStep
from goodinit.signals.monitoring.quick import fetched, rounded, squared_norm
from goodinit.signals.monitoring.sketch import sketch
from goodinit.signals.probing.sharded import local

__all__ = ["Sketches", "overall", "parameter_steps", "sketches"]

# Name -> shape and sketch, on the host.
Sketches: TypeAlias = dict[str, tuple[tuple[int, ...], torch.Tensor]]


def sketches(parameters: Mapping[str, nn.Parameter]) -> Sketches:
    """Sketch every parameter (of a sharded one this process's part); one transfer for each device."""
    made = {name: sketch(local(p)) for name, p in parameters.items()}
    found: dict[str, torch.Tensor] = {}
    for device in {values.device for values in made.values()}:
        names = [name for name, values in made.items() if values.device == device]
        joined = torch.cat([made[name] for name in names]).cpu()
        found |= dict(zip(names, joined.split([made[name].numel() for name in names]), strict=True))
    return {name: (tuple(p.shape), found[name]) for name, p in parameters.items()}


def parameter_steps(
    parameters: Mapping[str, nn.Parameter],
    gradients: Mapping[str, tuple[torch.Tensor, int]],
    before: Sketches,
    now: Sketches,
    start: Sketches,
) -> tuple[ParameterStep, ...]:
    """Return one record per parameter."""
    values = fetched([squared_norm(local(p)) for p in parameters.values()])
    sizes = fetched([size for size, _ in gradients.values()])
    arrived = {name: size / gradients[name][1] for name, size in zip(gradients, sizes, strict=True)}
    found = []
    for (name, p), value in zip(parameters.items(), values, strict=True):
        count = max(local(p).numel(), 1)
        change = _apart(now[name], before.get(name))
        kept, distance = travelled(now[name], start.get(name))
        found.append(
            ParameterStep(
                name=name,
                shape=tuple(p.shape),
                value=rounded(value / count),
                gradient=rounded(arrived[name]) if name in arrived else None,
                update=None if change is None else rounded(change / count),
                kept=kept,
                distance=distance,
            )
        )
    return tuple(found)


def travelled(
    now: tuple[tuple[int, ...], torch.Tensor], start: tuple[tuple[int, ...], torch.Tensor] | None
) -> tuple[float | None, float | None]:
    """Return (cos² of the angle to the start, ‖w − w₀‖/‖w₀‖) from two sketches; None from a start at zero."""
    if start is None or start[0] != now[0]:
        return None, None
    a, b = now[1], start[1]
    size = float(b.dot(b))
    if not size > 0:
        return None, None
    apart = a - b
    return _kept(float(a.dot(b)), float(a.dot(a)), size), rounded(math.sqrt(float(apart.dot(apart)) / size))


def overall(now: Sketches, start: Sketches) -> float | None:
    """Return cos² between all matrices now and at the start, taken as one vector."""
    both = [
        (now[name][1], start[name][1]) for name in now if _same(now, start, name) and len(now[name][0]) > 1
    ]
    inner = sum(float(a.dot(b)) for a, b in both)
    left, right = sum(float(a.dot(a)) for a, _ in both), sum(float(b.dot(b)) for _, b in both)
    return _kept(inner, left, right) if right > 0 else None


def _same(now: Sketches, start: Sketches, name: str) -> bool:
    return name in start and start[name][0] == now[name][0]


def _kept(inner: float, left: float, right: float) -> float:
    # Weights that turned around are as far from the draw as orthogonal ones.
    return rounded(max(inner, 0.0) ** 2 / (left * right)) if left > 0 else (0.0 if left == 0 else math.nan)


def _apart(
    now: tuple[tuple[int, ...], torch.Tensor], before: tuple[tuple[int, ...], torch.Tensor] | None
) -> float | None:
    if before is None or before[0] != now[0]:
        return None
    apart = now[1] - before[1]
    return float(apart.dot(apart))
