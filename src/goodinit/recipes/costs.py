"""What a plain chain of layers costs where no scale can hold it, in words and predicted numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from goodinit.errors import GoodinitError
from goodinit.graph import Elementwise, WeightUse
from goodinit.recipes.mirrors import MIRRORED_FROM, activation_like
from goodinit.theory import Forecast, end_correlation, forecast, mirrored_point

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["SHORT", "cost"]

# In so short a chain no error grows: it runs at second moment 1.
SHORT = 3
# From this correlation on, inputs that had nothing in common count as alike.
_ALIKE = 0.1


def cost(travel: Travel, use: WeightUse, orthogonal: bool) -> str:
    """Say what the whole plain chain costs where no scale can hold it, or an empty string.

    Args:
        travel: the traced network.
        use: a weight of the chain.
        orthogonal: whether the chain's weights are orthogonal maps.
    """
    length = travel.length(use)
    if length <= SHORT or travel.objective != "critical":
        return ""
    for function in (use.source.activation, use.sink.activation):
        point = travel.point(function, use)
        if function is None or point is None:
            continue
        if not point.good:
            return _lost(travel, use, function, orthogonal)
        if length >= MIRRORED_FROM and end_correlation(activation_like(function), length) > _ALIKE:
            return _alike(travel, use, function, orthogonal)
    return ""


def predicted(travel: Travel, use: WeightUse, orthogonal: bool) -> Forecast | None:
    """Return what becomes of signals in the chain of a weight; None for gated or random functions."""
    chain = [one for one in travel.chain(use) if one.sink.kind == "weight"]
    if not chain:
        return None
    functions = [
        "identity" if one.sink.activation is None else activation_like(one.sink.activation) for one in chain
    ]
    try:
        return forecast(
            functions,
            [math.prod(one.block_shape[dim] for dim in one.output) for one in chain],
            q=[travel.wanted(one, one.sink)[0] for one in chain],
            inputs=max(round(chain[0].fan_in), 1),
            orthogonal=orthogonal,
        )
    except GoodinitError:
        return None


def _lost(travel: Travel, use: WeightUse, function: Elementwise, orthogonal: bool) -> str:
    expected = predicted(travel, use, orthogonal)
    if expected is None or (expected.over == expected.depth and 0.1 < expected.gradient < 10):
        return ""  # short enough
    start = f"; over {expected.depth} plain layers no scale holds {function.name}: "
    if expected.over < expected.depth:
        ends = [
            word for share, word in ((expected.fell, "vanish"), (expected.rose, "overflow")) if share > 0.1
        ]
        said = (
            "the signal is predicted to stay within a factor of 3 for the first "
            f"{expected.layers:.1f} layers, then to {' or '.join(ends)}"
        )
    else:
        said = f"the gradient's second moment is predicted to change ×{expected.gradient:.2g}"
    cure = "normalization, residual connections or another activation would help"
    if travel.mirrors and mirrored_point(activation_like(function), expected.depth) is not None:
        cure += ", and so would plain layers of even widths with biases"
    return f"{start}{said}; {cure}"


def _alike(travel: Travel, use: WeightUse, function: Elementwise, orthogonal: bool) -> str:
    expected = predicted(travel, use, orthogonal)
    if expected is None or not expected.correlation > _ALIKE:
        return ""
    return (
        f"; {expected.depth} plain layers of {function.name} make inputs alike: two that have nothing in "
        f"common are predicted to end with correlation {_share(expected.correlation)}"
    )


def _share(correlation: float) -> str:
    """Write a correlation with two digits of its distance to 1."""
    digits = max(2, 1 - math.floor(math.log10(max(1 - correlation, 1e-9))))
    return f"{correlation:.{digits}f}"
