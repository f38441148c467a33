"""Means and maxima over positions, and tensors joined along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.expected import (
    Expected,
    Found,
    Level,
    Shadow,
    from_data,
    half_width,
    settled,
    spread,
)
from goodinit.signals.expectations.returning import known_factor

__all__ = ["POOLS"]


def _mean(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    like = args[0]
    x = shadow(like)
    if not isinstance(x, Expected):
        return None
    given = args[1] if len(args) > 1 and args[1] is not None else list(range(like.ndim))
    dims = sorted(d % like.ndim - like.ndim for d in ([given] if isinstance(given, int) else given))
    keep = output.ndim == like.ndim
    if dims == [x.axis]:
        if like.shape[x.axis] < 8:
            return None
        x, token = settled(x), x.token
        return Level(x.m.mean(dim=dims, keepdim=keep), token, spread(x), x.gap)
    if x.axis in dims:
        return None
    return _pooled(
        x, lambda t: t.mean(dim=dims, keepdim=keep), math.prod(like.shape[d] for d in dims), keep, dims
    )


def _average_pool(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    x = shadow(args[0])
    size = args[1] if isinstance(args[1], list | tuple) else [args[1]]
    if not isinstance(x, Expected):
        return None
    count = math.prod(size) ** (2 // len(size) if output.ndim == 4 else 1)
    rest = args[1:]
    function = torch.nn.functional.avg_pool2d if output.ndim == 4 else torch.nn.functional.avg_pool1d
    return _pooled(x, lambda t: function(t, *rest), count, True, [])


def _adaptive_pool(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    x = shadow(args[0])
    if not isinstance(x, Expected):
        return None
    size, before = args[1], args[0]
    count = math.prod(before.shape[-len(size) :]) // max(1, math.prod(size))
    pool = getattr(torch.ops.aten, f"adaptive_avg_pool{len(size)}d")
    return _pooled(x, lambda t: pool(t, size), count, True, [])


def _pooled(
    x: Expected, pool: Callable[[Tensor], Tensor], count: int, keep: bool, dims: Sequence[int]
) -> Expected:
    """A mean over positions: between positions that share only what all share, and positions all alike."""
    x = settled(x)
    high = pool(x.q.detach())
    shared = pool(x.p)
    low = shared + (high - shared).clamp_min(0.0) / count
    middle = (low * high).sqrt()
    gap = half_width(low, high)
    axis = x.axis if keep else x.axis + sum(d > x.axis for d in dims)
    # A mean of k passes 1/k² of a gradient's second moment to each of the k.
    q = known_factor(pool(x.q), middle, middle.new_tensor(1 / count))
    return replace(
        x,
        q=q,
        m=pool(x.m),
        p=torch.minimum(shared, middle),
        axis=axis,
        gap=x.gap + gap,
        held=False,
        token=object(),
    )


def _max_pool(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    """The largest of k positions: between positions all alike and all independent, for which it is drawn."""
    x = shadow(args[0])
    if not isinstance(x, Expected):
        return None
    size = args[1] if len(args[1]) == 2 else [args[1][0]] * 2
    count = math.prod(size)
    mu, v = float(x.m.mean()), float((x.q.detach() - x.m**2).mean().clamp_min(0.0))
    generator = torch.Generator().manual_seed(0)
    draws = mu + math.sqrt(v) * torch.randn(4096, count, generator=generator, dtype=torch.float64)
    draws, slope = _values_and_slopes(x, draws)
    x = settled(x)
    single, (largest, at) = draws[:, 0], draws.max(dim=1)
    # Where the function is steep it is large, so that the largest pass more back than all do.
    steeper = float((slope.gather(1, at[:, None]) ** 2).mean() / (slope**2).mean().clamp_min(1e-300))
    steeper = max(steeper, 1e-3)
    up = max(float((largest**2).mean() / (draws**2).mean().clamp_min(1e-300)), 1e-3)
    stride = args[2] if len(args) > 2 and args[2] else size
    padding = args[3] if len(args) > 3 else 0
    ceil = bool(args[5]) if len(args) > 5 else False

    def pool(t: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(t, size, stride, padding, ceil, count_include_pad=False)

    average = pool(x.q)
    shift = float(largest.mean() - single.mean()) / 2
    mean = pool(x.m) + shift
    back = average.new_tensor(math.sqrt(steeper))
    q = known_factor(average, average.detach() * math.sqrt(up), back, gap=abs(math.log(steeper)) / 2)
    return replace(
        x,
        q=q,
        m=mean,
        p=torch.minimum(pool(x.p) * math.sqrt(up), q.detach()),
        gap=x.gap + abs(math.log(up)) / 2,
        normal=False,
        held=False,
        token=object(),
    )


def _values_and_slopes(x: Expected, draws: Tensor) -> tuple[Tensor, Tensor]:
    if x.program is None:
        return draws, torch.ones_like(draws)
    with torch.enable_grad():
        draws = draws.requires_grad_()
        values = x.program(draws)
        slope = torch.zeros_like(draws)
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), draws)
    return values.detach(), slope


def _joined(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    """Tensors joined along a dimension; known values are joined as they are."""
    parts = [settled(x) if isinstance(x := shadow(t), Expected) else x for t in args[0]]
    if not all(
        isinstance(x, Expected) or (x is None and t.is_floating_point())
        for x, t in zip(parts, args[0], strict=True)
    ):
        return None
    dim = args[1] if len(args) > 1 else 0
    whole = [
        x if isinstance(x, Expected) else from_data(t.cpu()) for x, t in zip(parts, args[0], strict=True)
    ]
    main = max((x for x in whole if x.units < math.inf), key=lambda x: x.q.numel())
    weights = [x.q.detach().sum() for x in whole]
    total = max(float(sum(weights)), 1e-300)
    shares = [float(w) / total for w in weights]
    return replace(
        main,
        q=torch.cat([x.q for x in whole], dim),
        m=torch.cat([x.m for x in whole], dim),
        p=torch.cat([x.p for x in whole], dim),
        s=sum(a * spread(x) for a, x in zip(shares, whole, strict=True)),
        gap=sum(a * x.gap for a, x in zip(shares, whole, strict=True)),
        units=min(x.units for x in whole)
        if dim % output.ndim - output.ndim != main.axis
        else sum(x.units for x in whole if x.units < math.inf),
        normal=all(x.normal for x in whole),
        held=all(x.held for x in whole),
        token=object(),
    )


POOLS: dict[str, Callable[[Sequence[Any], Shadow, Any], Found]] = {
    "mean": _mean,
    "avg_pool2d": _average_pool,
    "avg_pool1d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "_adaptive_avg_pool3d": _adaptive_pool,
    "adaptive_avg_pool1d": _adaptive_pool,
    "max_pool2d_with_indices": _max_pool,
    "cat": _joined,
}
