"""Several outputs of one model: what the loss would be if one of them were of usual size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from goodinit.graph.nested import map_tensors, tensors

__all__ = ["Head", "heads"]

# Outputs looked at; each costs two more losses.
_MOST: Final = 8


@dataclass(frozen=True)
class Head:
    """One of several outputs.

    Attributes:
        name: its path in what the model returned, such as ``"[1]"`` or ``"value"``.
        ratio: the loss, over the larger one of zeros and of standard normal numbers in this output's place.
        size: its root mean square.
    """

    name: str
    ratio: float
    size: float


def heads(output: Any, loss: Callable[..., Any], target: Any, value: float | None) -> tuple[Head, ...]:
    """Put zeros, and normal numbers, in place of each of several outputs, the others as they are.

    Zeros alone could hit the point where a likelihood changes its sign. Where a loss takes no such output,
    nothing is said of it.

    Args:
        output: of the model; a single tensor is judged by `against`.
        loss: loss(output, target).
        target: what it takes.
        value: what it gave.

    >>> far = torch.zeros(64, 10), torch.full((64,), 1000.0)
    >>> def both(output, target):
    ...     return torch.nn.functional.cross_entropy(output[0], target) + output[1].square().mean()
    >>> [round(head.ratio) for head in heads(far, both, torch.arange(64) % 10, 1000002.3)]
    [1, 294348]
    """
    if isinstance(output, torch.Tensor) or value is None or not math.isfinite(value) or value <= 0:
        return ()
    found: list[Head] = []
    for place, (name, tensor) in enumerate(tensors(output)):
        # A single number may be the loss itself, which the model made.
        if not tensor.is_floating_point() or tensor.numel() < 2 or len(found) == _MOST:
            continue
        nothing = max(
            (
                _instead(output, place, other, loss, target)
                for other in (torch.zeros_like(tensor), _normal(tensor))
            ),
            default=0.0,
        )
        if 0 < nothing < math.inf:
            size = float(tensor.detach().double().square().mean().sqrt())
            found.append(Head(name, value / nothing, size))
    return tuple(found) if len(found) > 1 else ()


def _normal(tensor: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.device, tensor.dtype)


def _instead(output: Any, place: int, other: torch.Tensor, loss: Callable[..., Any], target: Any) -> float:
    """Return the loss with another tensor at a place; 0 where it takes no such output."""
    at = -1

    def change(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal at
        at += 1
        # A loss may overwrite what it is given.
        return other if at == place else tensor.detach().clone()

    try:
        with torch.no_grad():
            number = float(loss(map_tensors(output, change), target))
    except Exception:  # a loss that takes no such output says nothing of it
        return 0.0
    return number if math.isfinite(number) else 0.0
