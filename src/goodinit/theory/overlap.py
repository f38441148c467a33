"""E[φ(u₁) φ(u₂)] for two correlated Gaussians, kinks and jumps included."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation
from goodinit.theory.gaussian import SMALLEST_Q, table_of
from goodinit.theory.sampling import Leaves, Table, evaluate

__all__ = ["overlap"]

Array = NDArray[np.float64]
_Function = Callable[[Array], Array]

_SIDE = 9.0  # beyond nine standard deviations lies 2e-19 of a Gaussian
_POINTS = 12
_ENOUGH, _TOLERABLE = 1e-11, 1e-7  # change from narrowing all panels: goal, and what raises
_WORK = 4_000_000  # values at a time


@functools.lru_cache(maxsize=4096)
def overlap(function: Activation, c: float, q: float, derivative: bool = False) -> float:
    """Return E[φ(u₁) φ(u₂)], or of φ′, for u₁, u₂ ~ N(0, q) with correlation c.

    ∫∫ φ(x) φ(c x + √(1 − c²) √q z),  x ~ N(0, q), z ~ N(0, 1)

    Both integrals are cut where φ is not smooth, and panels are narrowed until the
    value stays. A random φ is drawn for each input apart, so its mean counts.
    """
    q = max(q, SMALLEST_Q)
    if function.gated:
        gate = function.ungated()
        if derivative:  # of E[φφ] · c q by c, divided by q
            return overlap(gate, c, q, True) * c * q + overlap(gate, c, q)
        return overlap(gate, c, q) * c * q
    if not function.independent:
        return sum(
            branch.weight
            * overlap(Activation(function.name, (replace(branch, weight=1.0),)), c, q, derivative)
            for branch in function.branches
        )
    tables = [(branch, table_of(function, branch, q)) for branch in function.branches]
    if any(table.gaps and _near(table, q) for _, table in tables):
        raise ArgumentError(f"activation {function.name!r} is not finite everywhere near q={q:g}")

    def mean(x: Array) -> Array:
        total = np.zeros_like(x)
        for branch, table in tables:
            value, slope = evaluate(branch, x)
            if derivative:
                value = table.slope_at(x) if slope is None else slope
            total += branch.weight * value
        return total

    cuts = np.unique(np.concatenate([_cuts(table.leaves, _SIDE * math.sqrt(q)) for _, table in tables]))
    before = _double(mean, cuts, c, math.sqrt(q), 1)
    size = abs(_double(mean, cuts, 1.0, math.sqrt(q), 1))
    for finer in (1.5, 2.2, 3.2, 4.7, 7.0):
        after = _double(mean, cuts, c, math.sqrt(q), finer)
        change = abs(after - before)
        if change <= _ENOUGH * size:
            return after
        before = after
    if change > _TOLERABLE * size:
        raise ArgumentError(
            f"activation {function.name!r}: the correlation at q={q:g} did not converge "
            f"(change {change:.1e}); the function has too fine a structure"
        )
    return before


def _near(table: Table, q: float) -> bool:
    side = _SIDE * math.sqrt(q)
    return any(low < side and high > -side and high - low > 1e-9 * side for low, high in table.gaps)


def _cuts(leaves: Leaves, side: float) -> Array:
    """Edges where two panels' polynomials do not continue each other, and edges of narrow panels."""
    width = leaves.right - leaves.left
    edge = leaves.right[:-1]
    step = np.minimum(width[:-1], width[1:]) / 4
    home = np.arange(edge.size)
    with np.errstate(all="ignore"):
        at_left, at_right = leaves.ends()
        jump = np.abs(at_right[:-1] - at_left[1:])
        kink = np.zeros(edge.size)
        for near in (edge - step, edge + step):
            one, other = leaves.slope(home, near[:, None]), leaves.slope(home + 1, near[:, None])
            kink = np.maximum(kink, np.abs(one - other)[:, 0])
        inside = np.abs(edge) < side
        high = np.maximum(np.abs(at_left[1:]), np.abs(at_right[:-1]))
        steep = np.abs(leaves.slope(home, (edge - step)[:, None])[:, 0])
        high_scale = float(np.max(high[inside], initial=0.0))
        steep_scale = float(np.max(steep[inside & (width[:-1] > 1e-4)], initial=0.0))
        rough = (jump > 1e-9 * high_scale) | (kink > 1e-7 * steep_scale)
    narrow = (np.minimum(width[:-1], width[1:]) < 1 / 100) & (step > 1e-6)
    found = edge[(rough | narrow) & inside]
    if found.size:
        # Halving leaves several edges within a rounding of one kink: the first is enough.
        found = found[np.append(True, np.diff(found) > 1e-9 * np.maximum(1e-6, np.abs(found[1:])))]
    return np.asarray(found, dtype=np.float64)


def _double(mean: _Function, cuts: Array, c: float, s: float, finer: float) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    across = math.sqrt(max(0.0, (1 - c) * (1 + c)))
    edges = np.concatenate([cuts / s, _even(_SIDE, min(0.75, 1 / s) / finer)])
    if across > 0 and abs(c) > 0.1:
        # The inner integral changes over a width √(1 − c²) about each place where c x is a cut.
        layer = across * np.concatenate([[0.0], 0.5 * 2.0 ** np.arange(6)])
        for side in (-layer, layer):
            edges = np.append(edges, ((cuts / s)[:, None] + side) / c)
    z, p = _panels(np.unique(edges[np.abs(edges) <= _SIDE]), nodes, weights)
    outer = mean(z * s) * p
    if across < 1e-9:
        return float(outer @ mean(math.copysign(s, c) * z))
    steps = _even(_SIDE, min(1.5, 1 / (s * across)) / finer)
    total = 0.0
    rows = max(1, _WORK // ((cuts.size + steps.size) * _POINTS))
    for start in range(0, z.size, rows):
        here = slice(start, start + rows)
        broken = np.clip((cuts[None, :] / s - c * z[here, None]) / across, -_SIDE, _SIDE)
        bounds = np.sort(np.concatenate([broken, np.broadcast_to(steps, (broken.shape[0], steps.size))], 1))
        radius = np.diff(bounds, axis=1)[:, :, None] / 2
        t = (bounds[:, :-1] + bounds[:, 1:])[:, :, None] / 2 + radius * nodes
        inner = mean(s * (c * z[here, None, None] + across * t)) * np.exp(-0.5 * t * t) * radius
        total += float(outer[here] @ (inner @ weights).sum(axis=1)) / math.sqrt(2 * math.pi)
    return total


def _even(side: float, width: float) -> Array:
    return np.linspace(-side, side, 2 * max(1, min(4096, math.ceil(side / width))) + 1)


def _panels(edges: Array, nodes: Array, weights: Array) -> tuple[Array, Array]:
    """Gauss nodes on the panels between edges, with weights of a standard normal."""
    radius = np.diff(edges)[:, None] / 2
    z = ((edges[:-1] + edges[1:])[:, None] / 2 + radius * nodes).ravel()
    return z, (radius * weights).ravel() * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
