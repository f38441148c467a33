"""Functions of a signal that have no finite second moment, such as the logarithm of what may be negative."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from goodinit.errors import GoodinitError
from goodinit.graph import Elementwise, WeightUse
from goodinit.recipes.mirrors import activation_like
from goodinit.records import Announced
from goodinit.theory import moments

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["without_moment"]

# What weights put out and streams add up is Gaussian; data, sums of squares and shares are not.
_GAUSSIAN = ("weight", "residual")
_SAMPLES = 2**16
# One of so many samples makes so much of the sum of squares only where the mean square does not exist.
_ALONE = 0.05


def without_moment(travel: Travel, use: WeightUse) -> Announced | None:
    """Say which function before a weight, or after the output layer, has no finite second moment.

    Args:
        travel: the traced network.
        use: how the weight is used.
    """
    before, after, moment = use.source.activation, use.sink.activation, use.source.moment
    measured = use.source.pooled or (moment is not None and travel.asked(moment) > 0)
    if before is not None and use.source.kind in _GAUSSIAN and not measured:
        share = _unbounded(before)
        if share is not None:
            return _said(before, share, "so nothing holds the size of what this weight reads")
    if use.head and after is not None and (share := _unbounded(after)) is not None:
        return _said(after, share, "so nothing holds the size of the output")
    return None


def _said(function: Elementwise, share: float, so: str) -> Announced:
    name = function.name
    what = f"{name} of Gaussian signals has no finite second moment"
    if share > 0:
        what = f"{name} is not finite for {share:.0%} of Gaussian signals"
    return Announced(f"{what}, {so}: guard it, for instance with clamp or abs", "not finite", share, 1)


@lru_cache(maxsize=256)
def _unbounded(function: Elementwise) -> float | None:
    """Return the share of Gaussian inputs at which a function is not finite, None where its moment exists."""
    try:
        moments(activation_like(function), 1.0)
        return None
    except GoodinitError:
        pass
    x = torch.randn(_SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    try:
        squares = function(x).square()
    except Exception:  # recorded code that cannot be replayed on its own
        return None
    share = float((~squares.isfinite()).double().mean())
    alone = bool(squares.max() > _ALONE * squares.sum())
    return share if share > 0 or alone else None
