"""Numbers that no law draws: an identity, a one-hot vector, a fixed filter, a range."""

from __future__ import annotations

from typing import Any, cast

import torch

__all__ = ["structure"]

# So many numbers, spread over a parameter, tell whether they were drawn.
_LOOKED_AT = 4096
# Ten numbers are in order by chance once in 1.8 million draws.
_IN_ORDER = 10


def structure(parameter: torch.Tensor) -> str | None:
    """Return what sets numbers apart that no law draws, or None where they may be drawn.

    Draws hardly repeat: of at most 4096 numbers, spread over the parameter, a quarter or more differ, and
    more than 512 of many (in half precision more than 1/ε, which is far less than a law reaches).
    Nor do they lie in order, or at equal distances. Every process that holds a part of a distributed
    tensor must ask.

    >>> structure(torch.eye(3).flatten()), structure(torch.linspace(0, 1, 5)), structure(torch.eye(3) + 0.1)
    ('few distinct values', 'evenly spaced', 'few distinct values')
    >>> structure(torch.randn(9)) is None
    True
    """
    # In 8 bits draws repeat.
    if parameter.is_meta or not parameter.is_floating_point() or parameter.element_size() == 1:
        return None
    with torch.no_grad():
        if hasattr(parameter, "full_tensor"):
            parameter = cast("Any", parameter).full_tensor()
        seen = parameter.flatten()[:: max(parameter.numel() // _LOOKED_AT, 1)].double()
        if seen.numel() < 3 or not bool(seen.isfinite().all()):
            return None
        rounding = torch.finfo(parameter.dtype).eps
        distinct, few = len(seen.unique()), min(seen.numel() // 4, 512, round(1 / rounding))
        if rounding < 1e-6:  # no two of a handful of drawn numbers agree in so many digits
            few = max(few, min(3, seen.numel() - 1))
        if distinct <= few:
            return "few distinct values"
        steps = seen.diff()
        exact = rounding < 1e-6 or seen.numel() >= _IN_ORDER
        if exact and bool((steps - steps.mean()).abs().max() <= 4 * rounding * seen.abs().max()):
            return "evenly spaced"
        in_order = bool((steps > 0).all()) or bool((steps < 0).all())
        return "in order" if in_order and seen.numel() >= _IN_ORDER else None
