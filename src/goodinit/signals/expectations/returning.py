"""Gradient moments on their way back: factors, their noise by finite width, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Passing", "known_factor", "returned_with_noise", "squared_product", "through_weights"]


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


class Passing:
    """The mean of the gradient moments that come back to a tensor, which is not kept alive for it."""

    def __init__(self, q: Tensor) -> None:
        self.mean = 0.0
        if q.requires_grad:
            q.register_hook(self._note)

    def _note(self, gradient: Tensor) -> None:
        self.mean = float(gradient.mean())


def _returned(
    roots: Sequence[Tensor], leaves: Sequence[Tensor], targets: Sequence[Passing], way: _Way
) -> list[float]:
    """Return mean gradient moments at targets for moments of 1 at all roots, one way back."""
    for target in targets:
        target.mean = 0.0
    token = _WAY.set(way)
    try:
        with torch.enable_grad():
            torch.autograd.grad(
                roots, leaves, [torch.ones_like(r) for r in roots], retain_graph=True, allow_unused=True
            )
    finally:
        _WAY.reset(token)
    return [target.mean for target in targets]


def _leaves(roots: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors where the graph behind the roots ends: gradients go back to them, and no further."""
    found: dict[int, Tensor] = {id(root): root for root in roots if root.grad_fn is None}
    nodes: list[Any] = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        behind = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= behind
        nodes += behind
    return list(found.values())


def returned_with_noise(
    roots: Sequence[Tensor], targets: Sequence[Passing]
) -> list[tuple[float, float, float, float]]:
    """Return (mean gradient moment, least, most, variance of its log by finite width) for each target.

    Args:
        roots: second moments that receive a gradient moment of 1 each, behind which there is a graph.
        targets: made of second moments that the roots depend on.
    """
    leaves = _leaves(roots)
    ways = (_Way(0.0), _Way(-1.0), _Way(1.0), _Way(0.0, _DELTA))
    rows = []
    for sizes in zip(*(_returned(roots, leaves, targets, way) for way in ways), strict=True):
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
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (factor,) = ctx.saved_tensors
        return (grads[0] * factor).mul_(_WAY.get().factor(ctx.noise, ctx.gap)), None, None, None, None


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
        factor = scale * high**2 * _WAY.get().factor(ctx.noise, 0.0)
        return found.double().mul_(factor), None, None, None


def squared_product(q: Tensor, weight: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Multiply in float32 with the scales taken out, so that nothing over- or underflows."""
    scale = max(float(q.max()), torch.finfo(torch.float64).tiny)
    high = max(float(weight.abs().max()), torch.finfo(torch.float32).tiny)
    out: Tensor = multiply((q / scale).float(), (weight.float() / high) ** 2)
    return out.double().mul_(scale * high**2)


def through_weights(
    q: Tensor, weight: Tensor, multiply: Callable[[Tensor, Tensor], Tensor], noise: float
) -> Tensor:
    """Return `squared_product` as a function of q; `noise` as in `known_factor`."""
    out: Tensor = _Contraction.apply(q, weight, multiply, noise)  # type: ignore[no-untyped-call]
    return out
