"""One activation sampled once, finely enough that every Gaussian moment is a weighted sum.

The real line is cut into panels on which the function and its derivative are
polynomials of degree 11 as far as they can be told apart: each panel's polynomial
is tested at points that it was not fitted to, and the panel is halved until it
passes. Kinks and jumps need not be known; the halving closes in on them. Panels
shrink towards 0, so that one table serves Gaussians of any width.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from goodinit.theory.activations import Branch
from goodinit.theory.black_box import array_values, tensor_values

__all__ = ["Table", "sample"]

Array = NDArray[np.float64]

NODES = 12  # a product of two such polynomials is still integrated exactly (degree 2·12 − 1)
CORE = 16.0  # up to here all panels are narrow, whatever the function looks like
CORE_WIDTH = 1 / 64  # with 25 points a panel: a feature of width 1/1600 cannot be missed
OUTER = 16  # panels per doubling of |x| beyond the core
INNER = 4  # panels per doubling of |x| towards 0
TINY = 2.0**-60  # the panel at 0; widths of Gaussians go down to 1e-15
TOLERANCE = 2e-14  # of a panel's share in a moment, in the worst Gaussian for it
ROUNDING = 32 * np.finfo(np.float64).eps
BUDGET = 60_000  # panels; a function that needs more has no usable structure (float32 noise, say)


@dataclass(frozen=True)
class Leaves:
    """The panels as they passed, left to right, with their polynomials and errors."""

    left: Array
    right: Array
    value_error: Array  # absolute; 0 where the leaf is exact to rounding
    slope_error: Array
    value_rounding: Array  # relative to |value| + |x · slope|; 0 where it is not
    slope_rounding: Array
    coefficients: Array  # Legendre series of the value, one row a leaf
    finite: NDArray[np.bool_]
    broken: NDArray[np.bool_]  # halved down to rounding and still no polynomial

    def ends(self) -> tuple[Array, Array]:
        """The polynomials' values at the left and right ends of their panels."""
        signs = (-1.0) ** np.arange(NODES)
        return self.coefficients @ signs, self.coefficients.sum(axis=1)

    def slope(self, home: NDArray[np.intp], x: Array) -> Array:
        """Derivative of panel home[i]'s polynomial at the points x[i]; 0 in a jump, which has none."""
        radius = (self.right[home] - self.left[home])[:, None] / 2
        t = (x - (self.left[home] + self.right[home])[:, None] / 2) / radius
        slope = _slope_of(self.coefficients[home], t) / radius
        slope[self.broken[home]] = 0.0
        return slope


@dataclass(frozen=True)
class Table:
    """Nodes x with Lebesgue weights, the function there, and how far off it may be.

    `value_error` and `slope_error` are per node. `gaps` are the intervals where the
    function or its derivative is not finite; their nodes are left out.
    """

    x: Array
    weight: Array
    value: Array
    slope: Array
    value_error: Array
    slope_error: Array
    numerical: bool
    gaps: tuple[tuple[float, float], ...]
    leaves: Leaves
    reach: float

    @property
    def breaks(self) -> Array:
        """Places where no panel, however small, is a polynomial: poles, and jumps that resist."""
        return ((self.leaves.left + self.leaves.right) / 2)[self.leaves.broken]

    def slope_at(self, x: Array) -> Array:
        """Derivative of the panels' polynomials at any points within reach."""
        flat = x.ravel()
        home = np.clip(np.searchsorted(self.leaves.left, flat, side="right") - 1, 0, None)
        return self.leaves.slope(home, flat[:, None])[:, 0].reshape(x.shape)


def sample(branch: Branch, reach: float) -> Table:
    """Return the table of a function for |x| ≤ reach."""
    leaves = _adapt(branch, _start_edges(reach))
    return _tabulate(branch, leaves, reach)


@functools.cache
def _rule() -> tuple[Array, Array, Array, Array, Array]:
    """Gauss nodes and weights, test points, node → test matrix, node → Legendre coefficients."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    angles = np.arccos(nodes)
    between = np.cos((angles[1:] + angles[:-1]) / 2)
    edge = 1 - 2.0**-36  # just inside, so that a jump on an edge belongs to no panel
    tests = np.concatenate([[-edge], np.sort(between), [edge]])
    orders = np.arange(NODES)
    legendre = np.polynomial.legendre.legvander(nodes, NODES - 1)
    coefficients = (legendre * weights[:, None]).T * ((2 * orders + 1) / 2)[:, None]
    # Barycentric (Berrut and Trefethen 2004, equation 4.2): its rows add up to 1 to the last
    # bit, where a product of the Legendre matrices would carry an error of 144 roundings.
    gaps = nodes[:, None] - nodes[None, :]
    np.fill_diagonal(gaps, 1.0)
    terms = (1 / gaps.prod(axis=1)) / (tests[:, None] - nodes[None, :])
    return nodes, weights, tests, terms / terms.sum(axis=1, keepdims=True), coefficients


def _slope_of(coefficients: Array, t: Array) -> Array:
    """Derivative of Legendre series (rows of `coefficients`) at t, one t-row per series row."""
    series = np.polynomial.legendre.legder(coefficients, axis=1)
    total = np.zeros_like(t)
    previous, current = np.ones_like(t), t
    for order in range(series.shape[1]):
        total += series[:, order : order + 1] * (previous if order == 0 else current)
        if order >= 1:
            previous, current = current, ((2 * order + 1) * t * current - order * previous) / (order + 1)
    return total


def _start_edges(reach: float) -> Array:
    core = np.arange(0, round(CORE / CORE_WIDTH) + 1) * CORE_WIDTH
    doublings = np.log2(max(reach, CORE) / CORE)
    outer = CORE * 2.0 ** (np.arange(1, int(np.ceil(doublings * OUTER)) + 1) / OUTER)
    half = np.concatenate([core, outer])
    return np.concatenate([-half[:0:-1], half])


def evaluate(branch: Branch, x: Array) -> tuple[Array, Array | None]:
    """Return value and derivative at points of any shape; the derivative is None where NumPy has none."""
    flat = x.ravel()
    if branch.kind in ("numpy", "scalar"):
        return array_values(branch.function, branch.kind, flat).reshape(x.shape), None
    leaf, out = tensor_values(branch.function, branch.kind, flat)
    value = out.detach().cpu().double().numpy().reshape(x.shape)
    if not out.requires_grad:
        return value, np.zeros_like(x)
    try:
        (gradient,) = torch.autograd.grad(out.sum(), leaf, allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return value, None  # no backward formula: the panels' polynomials are differentiated
    return value, np.zeros_like(x) if gradient is None else gradient.double().numpy().reshape(x.shape)


def _adapt(branch: Branch, edges: Array) -> Leaves:
    nodes, _, tests, interpolate, to_series = _rule()
    points = np.concatenate([nodes, tests])
    left, right = edges[:-1], edges[1:]
    parent = np.full(left.shape, np.inf)
    strikes = np.zeros(left.shape, dtype=np.int64)
    scale: _Scale | None = None
    done: list[tuple[Array, ...]] = []
    used = 0
    while left.size:
        used += left.size
        middle, radius = (left + right) / 2, (right - left) / 2
        value, slope = evaluate(branch, middle[:, None] + radius[:, None] * points)
        finite = np.isfinite(value).all(axis=1)
        none = ~np.isfinite(value).any(axis=1)
        with np.errstate(all="ignore"):
            # A constant has no derivative; taken off first, it leaves no rounding in one.
            constant = value[:, NODES // 2]
            series = (value[:, :NODES] - constant[:, None]) @ to_series.T
            series[:, 0] += constant
            off = np.abs(value[:, :NODES] @ interpolate.T - value[:, NODES:]).max(axis=1)
            if slope is None:
                # Markov: the derivative of a polynomial of degree n is at most n² / radius times
                # its size. Rounding is spread over all degrees and reaches n / radius.
                top_slope = np.abs(_slope_of(series, np.broadcast_to(nodes, (left.size, NODES)))).max(axis=1)
                top_slope /= radius
                off_slope = off * NODES**2 / radius
            else:
                finite &= np.isfinite(slope).all(axis=1)
                none |= ~np.isfinite(slope).any(axis=1)
                top_slope = np.abs(slope).max(axis=1)
                off_slope = np.abs(slope[:, :NODES] @ interpolate.T - slope[:, NODES:]).max(axis=1)
            top = np.abs(value).max(axis=1)
            far = np.maximum(np.abs(left), np.abs(right))
            near = np.where((left <= 0) & (right >= 0), 0.0, np.minimum(np.abs(left), np.abs(right)))
            floor = np.finfo(np.float64).tiny
            # A slope taken from the values is no witness for them: at a jump it is huge.
            size = np.maximum(top if slope is None else top + far * top_slope, floor)
            rounding = (off <= ROUNDING * size) & finite
            if slope is None:
                off_slope = np.where(rounding, off_slope / NODES, off_slope)
            else:
                rounding &= off_slope <= ROUNDING * top_slope
            sound = rounding if slope is None else finite
            scale = _Scale.joined(scale, far, np.where(finite, top, 0), np.where(sound, top_slope, 0))
            by_value, by_slope = scale.at(far)
            # The largest share of a panel in any centred Gaussian: e^-½ / √(2π) · width / distance.
            share = np.minimum(0.5, 0.242 * (right - left) / np.maximum(near, 1e-300))
            badness = np.maximum(off / by_value, off_slope / by_slope)
            badness = np.where(finite, np.nan_to_num(badness, nan=0.0, posinf=1.0), 1.0)
            stuck = (share * badness > 0.5 * parent) & (badness < 1e-6) & finite
        strikes = np.where(stuck, strikes + 1, 0)
        smallest = (right - left <= 2.0**-47 * far) | (right - left <= TINY)
        passed = (share * badness <= TOLERANCE) | rounding
        accept = passed | (strikes >= 3) | smallest | none
        if used > BUDGET:
            accept[:] = True
        broken = smallest & ~passed
        if slope is None:
            broken |= (right - left <= 2.0**-36 * far) & ~rounding
        columns = (
            left,
            right,
            np.where(rounding, 0.0, off),
            np.where(rounding, 0.0, off_slope),
            np.divide(off, size, out=np.zeros_like(off), where=rounding),
            np.divide(off_slope, np.maximum(top_slope, floor), out=np.zeros_like(off), where=rounding),
            series,
            finite,
            broken,
        )
        done.append(tuple(np.asarray(column)[accept] for column in columns))
        split = np.flatnonzero(~accept)
        left, right = (
            np.concatenate([left[split], middle[split]]),
            np.concatenate([middle[split], right[split]]),
        )
        parent = np.tile((share * badness)[split], 2)
        strikes = np.tile(strikes[split], 2)
    order = np.argsort(np.concatenate([item[0] for item in done]), kind="stable")
    return Leaves(*(np.concatenate(column)[order] for column in zip(*done, strict=True)))


@dataclass(frozen=True)
class _Scale:
    """Largest |value| and |slope| found between 0 and a distance: what an error there is compared to."""

    far: Array
    value: Array
    slope: Array

    @classmethod
    def joined(cls, known: _Scale | None, far: Array, top: Array, top_slope: Array) -> _Scale:
        if known is not None:
            far, top = np.append(known.far, far), np.append(known.value, top)
            top_slope = np.append(known.slope, top_slope)
        order = np.argsort(far, kind="stable")
        return cls(far[order], np.maximum.accumulate(top[order]), np.maximum.accumulate(top_slope[order]))

    def at(self, far: Array) -> tuple[Array, Array]:
        index = np.searchsorted(self.far, far, side="right") - 1
        floor = np.finfo(np.float64).tiny
        return np.maximum(self.value[index], floor), np.maximum(self.slope[index], floor)


def _tabulate(branch: Branch, leaves: Leaves, reach: float) -> Table:
    nodes, weights, _, _, _ = _rule()
    half = 2.0 ** np.arange(np.log2(TINY), np.log2(4 * INNER * CORE_WIDTH), 1 / INNER)
    inner = np.concatenate([-half, half])
    leaf_edges = np.append(leaves.left, leaves.right[-1])
    edges = np.union1d(leaf_edges, inner[(inner > leaf_edges[0]) & (inner < leaf_edges[-1])])
    left, right = edges[:-1], edges[1:]
    home = np.clip(np.searchsorted(leaves.left, (left + right) / 2, side="right") - 1, 0, None)
    usable = leaves.finite[home]
    left, right, home = left[usable], right[usable], home[usable]
    middle, radius = (left + right) / 2, (right - left) / 2
    x = middle[:, None] + radius[:, None] * nodes
    value, slope = evaluate(branch, x)
    if slope is None:
        slope = leaves.slope(home, x)
        slope_error = np.where(leaves.broken[home], 0.0, leaves.slope_error[home])
        numerical = True
    else:
        slope_error = leaves.slope_error[home]
        numerical = False
    with np.errstate(over="ignore", invalid="ignore"):  # as large as the function itself, in the far tail
        value_error = leaves.value_error[home][:, None] + leaves.value_rounding[home][:, None] * (
            np.abs(value) + np.abs(x * slope)
        )
        slope_error = slope_error[:, None] + leaves.slope_rounding[home][:, None] * np.abs(slope)
    bad = ~leaves.finite
    gaps = _merge(leaves.left[bad], leaves.right[bad])
    return Table(
        x=x.ravel(),
        weight=(radius[:, None] * weights).ravel(),
        value=value.ravel(),
        slope=slope.ravel(),
        value_error=value_error.ravel(),
        slope_error=slope_error.ravel(),
        numerical=numerical,
        gaps=gaps,
        leaves=leaves,
        reach=reach,
    )


def _merge(left: Array, right: Array) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for low, high in zip(left.tolist(), right.tolist(), strict=True):
        if merged and merged[-1][1] >= low:
            merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)
