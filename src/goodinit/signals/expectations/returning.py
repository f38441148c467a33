"""Gradient moments on their way back: factors, their noise by finite width, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["known_factor", "returned", "returned_with_noise", "squared_product", "through_weights"]


@dataclass(frozen=True)
class _Way:
    """How gradient moments go back: `bound` −1, 0 or 1 for the least, middle or most that gaps allow.

    Every place multiplies by e^(bound·gap + delta·noise). So the derivative of log G by delta is
    the sum of the noise along the way back, weighted by what each branch contributes.
    """

    bound: float = 0.0
    delta: float = 0.0

    def factor(self, noise: float, gap: float) -> float:
        return math.exp(self.bound * gap + self.delta * noise)


_MIDDLE = _Way()
_WAY: ContextVar[_Way] = ContextVar("way back", default=_MIDDLE)
_DELTA = 1e-5  # small enough for a derivative in float64, as noises are below 100


def returned(
    roots: Sequence[Tensor], targets: Sequence[Tensor], bound: float = 0.0, delta: float = 0.0
) -> list[Tensor | None]:
    """Return gradient moments at targets for moments of 1 at all roots, at one bound of what is not known."""
    token = _WAY.set(_Way(bound, delta))
    try:
        with torch.enable_grad():
            found = torch.autograd.grad(
                roots, targets, [torch.ones_like(r) for r in roots], retain_graph=True, allow_unused=True
            )
    finally:
        _WAY.reset(token)
    return list(found)


def returned_with_noise(
    roots: Sequence[Tensor], targets: Sequence[Tensor]
) -> list[tuple[float, float, float, float]]:
    """Return (mean gradient moment, least, most, variance of its log by finite width) for each target."""
    middle, least, most = (returned(roots, targets, bound) for bound in (0.0, -1.0, 1.0))
    moved = returned(roots, targets, 0.0, _DELTA)
    rows = []
    for at in range(len(targets)):
        sizes = [0.0 if g[at] is None else float(g[at].mean()) for g in (middle, least, most, moved)]  # type: ignore[union-attr]
        usable = all(0 < size < math.inf for size in sizes)
        noise = math.log(sizes[3] / sizes[0]) / _DELTA if usable else 0.0
        rows.append((sizes[0], sizes[1], sizes[2], max(noise, 0.0)) if usable else (0.0, 0.0, 0.0, 0.0))
    return rows


class _Factors(torch.autograd.Function):
    """Give one value forward, and a factor to what comes back."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, value: Tensor, factor: Tensor, noise: float, gap: float) -> Tensor:
        ctx.save_for_backward(factor)
        ctx.noise, ctx.gap = noise, gap
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor * _WAY.get().factor(ctx.noise, ctx.gap), None, None, None, None


def known_factor(q: Tensor, value: Tensor, factor: Tensor, noise: float = 0.0, gap: float = 0.0) -> Tensor:
    """Return `value` as a function of q through which gradient moments come back times `factor`.

    Args:
        q: second moments before.
        value: second moments after.
        factor: of a gradient's second moment on its way back.
        noise: variance of that factor's logarithm by finite width.
        gap: half width of its logarithm that is not known.
    """
    out: Tensor = _Factors.apply(  # type: ignore[no-untyped-call]
        q, value.detach(), factor.detach(), noise, gap
    )
    return out


class _Contraction(torch.autograd.Function):
    """A linear map with squared weights; they are squared again on the way back, not kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, weight: Tensor, multiply: Any, noise: float) -> Tensor:
        ctx.multiply, ctx.weight, ctx.shape, ctx.noise = multiply, weight, q.shape, noise
        return squared_product(q, weight, multiply)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        tiny = torch.finfo(torch.float32).tiny
        scale, high = max(float(grads[0].max()), 1e-300), max(float(ctx.weight.abs().max()), tiny)
        with torch.enable_grad():
            probe = torch.zeros(ctx.shape, dtype=torch.float32, requires_grad=True)
            out = ctx.multiply(probe, (ctx.weight.float() / high) ** 2)
            (found,) = torch.autograd.grad(out, probe, (grads[0] / scale).float())
        return found.double() * (scale * high**2 * _WAY.get().factor(ctx.noise, 0.0)), None, None, None


def squared_product(q: Tensor, weight: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Multiply in float32 with the scales taken out, so that nothing over- or underflows."""
    scale = max(float(q.max()), torch.finfo(torch.float64).tiny)
    high = max(float(weight.abs().max()), torch.finfo(torch.float32).tiny)
    out: Tensor = multiply((q / scale).float(), (weight.float() / high) ** 2)
    return out.double() * (scale * high**2)


def through_weights(
    q: Tensor, weight: Tensor, multiply: Callable[[Tensor, Tensor], Tensor], noise: float
) -> Tensor:
    """Return `squared_product` as a function of q; `noise` as in `known_factor`."""
    out: Tensor = _Contraction.apply(q, weight, multiply, noise)  # type: ignore[no-untyped-call]
    return out
