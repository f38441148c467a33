"""What theory knows of one tensor before it is measured, and how pointwise functions change that.

A tensor is described element by element: the second moment over draws of the weights, given
the batch. These numbers pass through a network like values do, and autograd takes gradient
moments back along the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.returning import known_factor, squared_product, through_weights

__all__ = [
    "Attention",
    "Expected",
    "Found",
    "Level",
    "Shadow",
    "contracted",
    "from_data",
    "gaussian_means",
    "half_width",
    "scaled",
    "settled",
    "shared_mean",
    "shifted",
    "spread",
    "summed",
]

Program = Callable[[Tensor], Tensor]

# Nodes for means over a Gaussian: with 4,000 of them from −8 to 8 a jump costs 1e-3 of the mean at
# most. Moments are interpolated over log variance in steps of 1/8, which costs less.
_NODES, _EDGE, _STEP, _GRID = 4000, 8.0, 0.125, 160
# Relative error of taking what is no Gaussian for one: a sum of a ReLU's output and a Gaussian put
# through ReLU again is 3 % off in the second moment, so 5 %.
_SHAPE = 0.05**2
# Hermite polynomials kept for the correlation of two samples.
_HERMITE = 16


@dataclass(frozen=True)
class Expected:
    """What is expected of one tensor. Tensors are float64 and of its shape.

    Attributes:
        q: second moments; the graph behind it carries gradient moments back.
        m: means.
        p: the part of `q` that all samples and positions share.
        axis: the dimension that counts features, from the end.
        units: number of independent features.
        s: variance of log q that finite width explains, without the features themselves.
        gap: half width of log q that is not known (how alike pooled positions are).
        fuzz: squared relative error of what is approximated.
        normal: whether single elements are Gaussian over draws of the weights.
        held: whether a norm keeps the second moment where it is.
        program: a function yet to be applied to each element.
        token: what else has the same elements, so that x·σ(x) is one function of x.
    """

    q: Tensor
    m: Tensor
    p: Tensor
    axis: int
    units: float
    s: float = 0.0
    gap: float = 0.0
    fuzz: float = 0.0
    normal: bool = True
    held: bool = False
    program: Program | None = None
    token: object = field(default_factory=object)

    def moved(self, change: Callable[[Tensor], Tensor], token: object, **new: Any) -> Expected:
        """Return what is expected of a view or a copy of some elements."""
        return replace(self, q=change(self.q), m=change(self.m), p=change(self.p), token=token, **new)


@dataclass(frozen=True)
class Level:
    """A mean over many features, such as a norm's: as good as a number for each sample.

    `token` names the elements that it was taken over, `spread` is the variance of its log.
    """

    value: Tensor
    token: object
    spread: float
    gap: float


class Attention:
    """Weights of an attention: a softmax of something expected; its values are at hand."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights.detach()


Found = Expected | Level | Attention | None
Shadow = Callable[[Any], Found]


def half_width(low: Tensor, high: Tensor) -> float:
    """Return half the difference of the logarithms of two mean second moments; 0 where there are none."""
    a, b = float(low.mean()), float(high.mean())
    return math.log(b / a) / 2 if 0 < a <= b < math.inf else 0.0


def from_data(x: Tensor, axis: int = -1) -> Expected:
    """Return the description of a tensor whose values are known; `axis` counts its features."""
    wide = x.detach().cpu().double()
    square = (wide**2).requires_grad_()
    shared = shared_mean(wide, axis).expand_as(wide) ** 2
    return Expected(square, wide, shared, axis, math.inf, normal=False)


def shared_mean(values: Tensor, axis: int) -> Tensor:
    """Return for each feature the mean over all samples and positions, of size 1 in their dimensions."""
    dims = [d for d in range(-values.ndim, 0) if d != axis]
    return values.mean(dim=dims, keepdim=True) if dims else values


def spread(x: Expected) -> float:
    """Return the variance of the log of the second moment over all elements."""
    return x.s + (2 / x.units if x.normal and not x.held else 0.0)


def contracted(
    x: Expected,
    weight: Tensor,
    multiply: Callable[[Tensor, Tensor], Tensor],
    bias: Tensor | None,
    axis: int,
    units: int,
    over: int | None,
) -> Expected:
    """Return what a linear map with random weights makes of a tensor.

    E[y_o²] = Σ_i w_oi² E[x_i²] + b_o²

    Args:
        x: what enters.
        weight: its measured values; signs are taken to be random.
        multiply: the operation, without bias.
        bias: broadcasts to the result.
        axis: the result's dimension of features.
        units: their number.
        over: the weight's dimension of outputs; None where they are not a dimension of their own.
    """
    x = settled(x)
    weight = weight.detach().cpu()
    like = over is not None and _alike(weight, over)
    if like:
        weight = weight.float().square().mean(dim=over, keepdim=True).sqrt()
    q = through_weights(x.q, weight, multiply, 2 / x.units if x.normal else 0.0)
    p = squared_product(x.p, weight, multiply)
    if like:
        shape = list(q.shape)
        shape[axis] = units
        q, p = q.expand(shape), p.expand(shape)
    mean = torch.zeros((), dtype=torch.float64)
    if bias is not None:
        mean = bias.detach().cpu().double()
        q, p = q + mean**2, p + mean**2
    return Expected(
        q,
        mean.expand_as(q),
        torch.minimum(p, q.detach()),
        axis,
        float(units),
        s=spread(x),
        gap=x.gap,
        fuzz=x.fuzz,
    )


def _alike(weight: Tensor, over: int) -> bool:
    """Whether the rows of a weight have one scale, but for chance: then one row stands for all.

    The mean square of n weights scatters by √((κ − 1)/n), κ their kurtosis; three times that for
    the standard deviation over the rows is far outside of chance.
    """
    square = weight.float().square()
    dims = [d for d in range(weight.ndim) if d != over % weight.ndim]
    rows = square.mean(dim=dims)
    whole = float(rows.mean())
    if not 0 < whole < math.inf:
        return False
    chance = float(square.square().mean()) / whole**2 - 1
    return float(rows.std(correction=0)) <= whole * 3 * math.sqrt(
        max(chance, 1e-4) * len(rows) / weight.numel()
    )


@dataclass(frozen=True)
class _Means:
    """Means of a function of N(μ, v) over a grid of log v, with exponents and kurtoses at its middle."""

    log_v: Tensor
    mean: Tensor
    square: Tensor
    slope: Tensor
    elasticity: float
    kurtosis: float
    slope_kurtosis: float
    hermite: Tensor


def gaussian_means(program: Program, mu: float, variances: Sequence[float]) -> _Means:
    """Return E[φ], E[φ²], E[φ′²] and what depends on them under N(μ, v), for many v at once.

    `goodinit.theory.moments` gives the same for one v at μ = 0 to ten digits; a thousand layers
    with means of their own need it fast, and three digits are enough for a band.
    """
    edges = torch.linspace(-_EDGE, _EDGE, _NODES + 1, dtype=torch.float64)
    z = (edges[:-1] + edges[1:]) / 2
    weight = torch.exp(-(z**2) / 2)
    weight = weight / weight.sum()
    v = torch.tensor(list(variances), dtype=torch.float64)
    with torch.enable_grad():
        x = (mu + v.sqrt()[:, None] * z).requires_grad_()
        value = program(x).double()
        slope = torch.zeros_like(x)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), x)
    value, slope = value.detach(), slope.detach()
    square, slope_square = (value**2) @ weight, (slope**2) @ weight
    middle = len(v) // 2
    drift = ((value * slope * z) @ weight) * v.sqrt() / square.clamp_min(1e-300)
    at = value[middle]
    coefficients = torch.stack([(at * h) @ weight for h in _hermite(z)])
    return _Means(
        v.log(),
        value @ weight,
        square,
        slope_square,
        float(drift[middle]),
        _ratio(float((at**4) @ weight), float(square[middle])),
        _ratio(float((slope[middle] ** 4) @ weight), float(slope_square[middle])),
        coefficients**2 / square[middle].clamp_min(1e-300),
    )


def _ratio(fourth: float, second: float) -> float:
    return fourth / second**2 if second > 0 else 1.0


def _hermite(z: Tensor) -> list[Tensor]:
    """Return Hermite polynomials that are orthonormal under N(0, 1)."""
    found = [torch.ones_like(z), z]
    for k in range(1, _HERMITE):
        found.append((z * found[k] - math.sqrt(k) * found[k - 1]) / math.sqrt(k + 1))
    return found


def _line(program: Program) -> tuple[float, float] | None:
    """Return slope and offset of a function that is a straight line, else None."""
    points = torch.tensor([0.0, 1.0, -1.0, 7.3, -9.1], dtype=torch.float64)
    with torch.no_grad():
        values = program(points.clone()).double()
    offset, slope = values[0], values[1] - values[0]
    if not torch.allclose(values, offset + slope * points, rtol=1e-9, atol=1e-12):
        return None
    return float(slope), float(offset)


def settled(x: Expected) -> Expected:
    """Return the tensor with its function applied: E[φ²], E[φ], and E[φ′²] on the way back."""
    if x.program is None:
        return x
    line = _line(x.program)
    if line is not None:
        # A straight line of a Gaussian is a Gaussian.
        factor, offset = (torch.tensor(number, dtype=torch.float64) for number in line)
        straight = scaled(replace(x, program=None), factor)
        return shifted(straight, offset) if line[1] else straight
    q, m = x.q.detach(), x.m
    mu = float(m.mean())
    # In place where it can be: new memory costs more than the arithmetic.
    v = (q - m * (2 * mu)).add_(mu**2).clamp_(min=0.0)
    high = float(v.max())
    if not math.isfinite(high) or high <= 0:
        # Nothing random is left: the function of a number.
        value = x.program(m.double().clone()).double()
        q = known_factor(x.q, value**2, torch.ones_like(value))
        return replace(x, q=q, m=value, p=value**2, program=None, normal=False, token=object())
    low = max(float(v.where(v > 0, math.inf).min()), high * math.exp(-_STEP * (_GRID - 2)))
    steps = max(1, math.ceil((math.log(high) - math.log(low)) / _STEP))
    grid = [math.exp(math.log(low) + (math.log(high) - math.log(low)) * k / steps) for k in range(steps + 1)]
    found = gaussian_means(x.program, mu, grid)
    common = (x.p - 2 * shared_mean(m, x.axis) * mu).add_(mu**2)
    alike = float(common.div_(v.clamp_min(1e-300)).clamp_(0.0, 1.0).mean())
    place = v.clamp_(low, high).log_()
    square, mean, slope = _interpolated(place, found.log_v, (found.square, found.mean, found.slope))
    a = abs(found.elasticity)
    return replace(
        x,
        q=known_factor(x.q, square, slope, max(3 * found.slope_kurtosis - 1, 0.0) / x.units),
        m=mean,
        p=square * _dual(found.hermite, alike),
        s=a**2 * x.s + max(found.kurtosis - 1, 0.0) / x.units,
        gap=a * x.gap,
        fuzz=x.fuzz + (0.0 if x.normal else _SHAPE),
        normal=False,
        held=False,
        program=None,
        token=object(),
    )


def _dual(shares: Tensor, c: float) -> float:
    """Return E[φ(u)φ(v)]/E[φ²] for correlation c, from the shares of Hermite polynomials (Mehler)."""
    rest = max(0.0, 1.0 - float(shares.sum()))
    powers = torch.tensor([c**k for k in range(len(shares))], dtype=torch.float64)
    return min(1.0, float(shares @ powers) + rest * float(c ** len(shares)))


def _interpolated(place: Tensor, grid: Tensor, tables: Sequence[Tensor]) -> list[Tensor]:
    """Return what each table has at these places of an even grid; the places are used up."""
    if len(grid) < 2 or float(grid[-1] - grid[0]) <= 0:
        return [values[-1].expand_as(place).clone() for values in tables]
    at = place.sub_(grid[0]).div_(grid[-1] - grid[0]).mul_(len(grid) - 1)
    left = at.long().clamp_(0, len(grid) - 2)
    at -= left
    return [values.diff().take(left).mul_(at).add_(values.take(left)) for values in tables]


def summed(x: Expected, y: Expected, sign: float) -> Expected:
    """Return the sum of tensors that depend on different weights: E[(x+y)²] = E[x²] + E[y²] + 2 E[x] E[y]."""
    x, y = settled(x), settled(y)
    cross = 2 * sign * x.m * y.m
    q = x.q + y.q + cross
    both = 2 * sign * shared_mean(x.m, x.axis) * shared_mean(y.m, y.axis)
    totals = float(x.q.detach().mean()), float(y.q.detach().mean())
    whole = sum(totals)
    a, b = (total / whole for total in totals) if whole > 0 else (0.5, 0.5)
    units = min(x.units, y.units)
    normal = x.normal and y.normal
    parts = (x.s, y.s) if normal else (spread(x), spread(y))
    return Expected(
        q,
        x.m + sign * y.m,
        torch.minimum((x.p + y.p + both).clamp_min(0.0), q.detach()),
        x.axis,
        units,
        s=(a * math.sqrt(parts[0]) + b * math.sqrt(parts[1])) ** 2 + 4 * a * b / units,
        gap=a * x.gap + b * y.gap,
        fuzz=a * x.fuzz + b * y.fuzz,
        normal=normal,
    )


def scaled(x: Expected, factor: Tensor) -> Expected:
    """Return the product with known numbers."""
    x = settled(x)
    factor = factor.detach().cpu().double()
    square = factor**2
    return replace(x, q=x.q * square, m=x.m * factor, p=x.p * square, token=object())


def shifted(x: Expected, by: Tensor) -> Expected:
    """Return the sum with known numbers."""
    x = settled(x)
    by = by.detach().cpu().double()
    common = shared_mean(by.reshape((1,) * (x.q.ndim - by.ndim) + by.shape), x.axis)
    more = 2 * shared_mean(x.m, x.axis) * common + common**2
    q = x.q + (x.m * (2 * by)).add_(by**2)
    return replace(x, q=q, m=x.m + by, p=(x.p + more).clamp_(min=0.0), token=object())
