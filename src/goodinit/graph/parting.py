"""Operations that do several elementwise steps in one, taken apart into these before they are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["PARTS"]


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim=dim)
    return first * torch.sigmoid(second)


def _times(made: Tensor, value: float) -> Tensor:
    return made if value == 1 else made * value


def _addcmul(start: Tensor, one: Tensor, other: Tensor, *, value: float = 1) -> Tensor:
    return start + _times(one * other, value)


def _addcdiv(start: Tensor, one: Tensor, other: Tensor, *, value: float = 1) -> Tensor:
    return start + _times(one / other, value)


def _lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:
    made: Tensor = start * (1 - weight) + end * weight
    return made


#: By the operation's name; those that end in an underscore write into their first argument.
PARTS: dict[str, Callable[..., Tensor]] = {
    "glu": _glu,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
}


def _written(name: str) -> Callable[..., Tensor]:
    def run(start: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        start.copy_(PARTS[name](start, *args, **kwargs))
        return start

    return run


PARTS.update({f"{name}_": _written(name) for name in ("addcmul", "addcdiv", "lerp")})
