"""Sums, products, scales and functions of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.expected import (
    Attention,
    Expected,
    Found,
    Level,
    Shadow,
    scaled,
    settled,
    shifted,
    spread,
    summed,
)
from goodinit.signals.expectations.returning import known_factor

__all__ = ["pointwise"]


def pointwise(func: Any, args: Sequence[Any], kwargs: dict[str, Any], shadow: Shadow) -> Found:
    """Sums, products, scales, and functions of one variable."""
    name = func.overloadpacket.__name__.rstrip("_")
    signals = [(at, found) for at, value in enumerate(args) if (found := shadow(value)) is not None]
    if any(isinstance(found, Attention) for _, found in signals):
        return signals[0][1] if len(signals) == 1 and name in ("mul", "div", "clone", "_to_copy") else None
    levels = [found for _, found in signals if isinstance(found, Level)]
    expected = [found for _, found in signals if isinstance(found, Expected)]
    if levels:
        return _with_level(func, name, args, kwargs, shadow, expected, levels)
    if name in ("clone", "_to_copy", "copy", "alias", "lift_fresh"):
        return expected[0] if len(expected) == 1 and shadow(args[0]) is not None else None
    known = [at for at, value in enumerate(args) if isinstance(value, Tensor) and shadow(value) is None]
    if len(expected) == 2 and expected[0].token != expected[1].token:
        return _of_two(name, args, kwargs, expected[0], expected[1])
    if any(args[at].numel() > 1 for at in known):
        if len(expected) != 1 or len(known) != 1 or len(args) > 2:
            return None
        return _with_numbers(name, args, kwargs, expected[0], known[0], args[known[0]])
    before = [None if shadow(value) is None else _before(shadow(value)) for value in args]

    def program(x: Tensor) -> Tensor:
        values = [
            value if given is None else given(x).clone() for value, given in zip(args, before, strict=True)
        ]
        # Known numbers of one element may live on another device or in another dtype.
        values = [
            v.double().cpu() if isinstance(v, Tensor) and v is not x and v.numel() == 1 else v for v in values
        ]
        out: Tensor = func(*values, **kwargs)
        return out

    return replace(expected[0], program=program)


def _before(x: Any) -> Callable[[Tensor], Tensor]:
    return x.program if x.program is not None else (lambda value: value)


def _of_two(name: str, args: Sequence[Any], kwargs: dict[str, Any], x: Expected, y: Expected) -> Found:
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    if name in ("add", "sub") and alpha == 1:
        if x.q.shape != y.q.shape:
            shape = torch.broadcast_shapes(x.q.shape, y.q.shape)
            x, y = (settled(v).moved(lambda t: t.expand(shape), object()) for v in (x, y))
        return summed(x, y, 1.0 if name == "add" else -1.0)
    if name != "mul":
        return None
    x, y = settled(x), settled(y)
    wider = x if x.q.ndim >= y.q.ndim else y
    noise = 4 / min(x.units, y.units)
    product = x.q * y.q
    return replace(
        wider,
        q=known_factor(product, product, product.new_ones(()), noise / 2),
        m=x.m * y.m,
        p=x.p * y.p,
        units=min(x.units, y.units),
        s=(math.sqrt(spread(x)) + math.sqrt(spread(y))) ** 2 + noise,
        gap=x.gap + y.gap,
        fuzz=x.fuzz + y.fuzz,
        normal=False,
        held=False,
        token=object(),
    )


def _with_numbers(
    name: str, args: Sequence[Any], kwargs: dict[str, Any], x: Expected, at: int, numbers: Tensor
) -> Found:
    if kwargs or not numbers.is_floating_point():
        return None
    if not bool(torch.isfinite(numbers).all()):
        return None
    if name == "mul":
        return scaled(x, numbers)
    if name == "div" and at == 1:
        return scaled(x, 1 / numbers.double())
    if name == "add" or (name == "sub" and at == 1):
        return shifted(x, numbers if name == "add" else -numbers)
    return None


def _with_level(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    shadow: Shadow,
    expected: Sequence[Expected],
    levels: Sequence[Level],
) -> Found:
    if not expected:
        if len(levels) > 1:
            return None
        values = [found.value if isinstance(found := shadow(v), Level) else v for v in args]
        out = func(*(v.cpu().double() if isinstance(v, Tensor) else v for v in values), **kwargs)
        return replace(levels[0], value=out)
    if len(expected) > 1 or len(levels) > 1 or len(args) > 2 or kwargs:
        return None
    x, level = expected[0], levels[0]
    own = x.token == level.token
    if name in ("add", "sub") and (name == "add" or shadow(args[1]) is level):
        moved = shifted(x, level.value if name == "add" else -level.value)
        return replace(moved, token=x.token)
    if name not in ("mul", "div") or (name == "div" and shadow(args[1]) is not level):
        return None
    found = scaled(x, level.value if name == "mul" else 1 / level.value)
    if not own:
        return replace(found, s=found.s + level.spread, gap=found.gap + level.gap)
    ones = found.q.new_ones(())
    return replace(
        found,
        q=known_factor(found.q, found.q, ones, spread(x) + 2 / x.units, x.gap),
        s=0.0,
        gap=0.0,
        held=True,
    )
