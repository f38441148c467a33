"""What a plain chain of layers costs where no scale can hold it, in words and predicted numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from goodinit.errors import GoodinitError
from goodinit.graph import Elementwise, WeightUse
from goodinit.recipes.mirrors import MIRRORED_FROM, activation_like
from goodinit.records import Announced
from goodinit.theory import Forecast, end_correlation, forecast, mirrored_point

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["SHORT", "cost"]

# In so short a chain no error grows: it runs at second moment 1.
SHORT = 3
# From this correlation on, inputs that had nothing in common count as alike.
_ALIKE = 0.1


def cost(travel: Travel, use: WeightUse, orthogonal: bool) -> Announced | None:
    """Say what the whole plain chain costs where no scale can hold it; None where one does.

    Args:
        travel: the traced network.
        use: a weight of the chain.
        orthogonal: whether the chain's weights are orthogonal maps.
    """
    length = travel.length(use)
    if length <= SHORT or travel.objective != "critical":
        return None
    for function in (use.source.activation, use.sink.activation):
        point = travel.point(function, use)
        if function is None or point is None:
            continue
        if not point.good:
            return _lost(travel, use, function, orthogonal)
        if length >= MIRRORED_FROM and end_correlation(activation_like(function), length) > _ALIKE:
            return _alike(travel, use, function, orthogonal)
    return None


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


def _lost(travel: Travel, use: WeightUse, function: Elementwise, orthogonal: bool) -> Announced | None:
    expected = predicted(travel, use, orthogonal)
    if expected is None or (expected.over == expected.depth and 0.1 < expected.gradient < 10):
        return None  # short enough
    start = f"over {expected.depth} plain layers no scale holds {function.name}: "
    if expected.over < expected.depth:
        ends = [
            word for share, word in ((expected.fell, "vanish"), (expected.rose, "overflow")) if share > 0.1
        ]
        quantity, number = "layers", expected.layers
        said = (
            "the signal is predicted to stay within a factor of 3 for the first "
            f"{expected.layers:.1f} layers, then to {' or '.join(ends)}"
        )
    else:
        quantity, number = "gradient", expected.gradient
        said = f"the gradient's second moment is predicted to change ×{expected.gradient:.2g}"
    cure = "normalization, residual connections or another activation would help"
    if travel.mirrors and mirrored_point(activation_like(function), expected.depth) is not None:
        cure += ", and so would plain layers of even widths with biases"
    return Announced(f"{start}{said}; {cure}", quantity, number, expected.depth)


def _alike(travel: Travel, use: WeightUse, function: Elementwise, orthogonal: bool) -> Announced | None:
    expected = predicted(travel, use, orthogonal)
    if expected is None or not expected.correlation > _ALIKE:
        return None
    what = (
        f"{expected.depth} plain layers of {function.name} make inputs alike: two that have nothing in "
        f"common are predicted to end with correlation {_share(expected.correlation)}"
    )
    return Announced(what, "correlation", expected.correlation, expected.depth)


def _share(correlation: float) -> str:
    """Write a correlation with two digits of its distance to 1."""
    digits = max(2, 1 - math.floor(math.log10(max(1 - correlation, 1e-9))))
    return f"{correlation:.{digits}f}"
