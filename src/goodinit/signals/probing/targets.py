"""The model's output held against its targets: what it can reach, and what zeros in its place would cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

__all__ = ["SAME_LOSS", "Against", "against", "of_differences", "of_one_number"]

# What an operation puts out, whatever goes in.
_RANGES: Final = {
    "Relu": (0.0, math.inf),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}
# These give the same values in another shape or type.
_SHAPES: Final = ("Permute", "Squeeze", "T", "Transpose", "UnsafeView", "Unsqueeze", "View")
_SAME: Final = (*_SHAPES, "Alias", "Clone", "ToCopy")

# Rounding of a loss: of ones for zeros, or with a squeeze or a view inside of it.
SAME_LOSS: Final = 1e-3


@dataclass(frozen=True)
class Against:
    """One batch's output held against its targets.

    Attributes:
        operation: the last one that made the output, where its range is known.
        left: the share of the loss that this range leaves at the least.
        loss: as it is.
        nothing: the loss of zeros in place of the output.
        classes: their number, where that is a cross-entropy (2 where columns are judged one by one).
        numbers: whether targets are numbers instead of classes, or classes of which the loss is none of
            logits.
        reshaped: the loss of an output in its target's shape, where that is another one.
    """

    operation: str = ""
    left: float = 0.0
    loss: float = 0.0
    nothing: float = 0.0
    classes: int | None = None
    numbers: bool = False
    reshaped: float | None = None


def of_one_number(output: Any, loss: Callable[..., Any], target: Any, number: float = 0.0) -> float | None:
    """Return the loss of one number in place of all of an output; None where it takes no such output.

    >>> round(of_one_number(torch.randn(4, 10), torch.nn.functional.cross_entropy, torch.arange(4)), 4)
    2.3026
    """
    if not isinstance(output, torch.Tensor):
        return None
    try:
        return float(loss(torch.full_like(output, number), target))
    except Exception:  # a loss that takes no such output has no baseline
        return None


def of_differences(output: Any, loss: Callable[..., Any], target: Any, nothing: float) -> bool:
    """Is this a loss of logits, which is the same for zeros and for ones?"""
    ones = of_one_number(output, loss, target, 1.0)
    return ones is not None and math.isclose(ones, nothing, rel_tol=SAME_LOSS)


def against(
    output: torch.Tensor, loss: Callable[..., Any], target: Any, value: float, nothing: float
) -> Against | None:
    """Hold an output against its targets; None where these are no tensor.

    Logits in [a, b] of C classes leave a cross-entropy of ln(1 + (C − 1) e^{a−b}) of ln C; numbers in
    [a, b] leave the squared distance of the targets from there, of their variance.

    Args:
        output: of the model, in its graph.
        loss: loss(output, target).
        target: class numbers, or numbers.
        value: what the loss gave.
        nothing: what it gives for zeros.

    >>> logits = torch.zeros(4, 10, requires_grad=True)
    >>> against(logits.sigmoid(), torch.nn.functional.cross_entropy, torch.arange(4), 2.3, 2.3026).operation
    'sigmoid'
    """
    if not isinstance(target, torch.Tensor) or output.numel() < 2:
        return None
    numbers = target.is_floating_point() and target.numel() == output.numel()
    reshaped = None
    if numbers and target.shape != output.shape:
        try:
            reshaped = float(loss(output.detach().reshape(target.shape), target))
        except Exception:  # then it does take this shape on purpose
            reshaped = None
    classes = _classes(output, target, nothing)
    name = _last_operation(output)
    left = 0.0
    if name in _RANGES and classes is not None and not target.is_floating_point():
        low, high = _RANGES[name]
        left = math.log1p((classes - 1) * math.exp(low - high)) / math.log(classes)
    elif name in _RANGES and numbers and classes is None:
        left = _missed(target.double(), *_RANGES[name])
    if classes is None and not target.is_floating_point():
        numbers = not of_differences(output, loss, target, nothing)
    return Against(name.lower(), left, value, nothing, classes, numbers, reshaped)


def _classes(output: torch.Tensor, target: torch.Tensor, nothing: float) -> int | None:
    """Return the number of classes where zeros cost their logarithm, which other losses do by chance only."""
    if target.is_floating_point():
        if not 0 <= float(target.min()) <= float(target.max()) <= 1 or target.shape != output.shape:
            return None
        sizes = (2, output.shape[-1])
    else:
        sizes = (output.shape[1 if output.ndim > 1 else 0], output.shape[-1])
    return next((n for n in sizes if n > 1 and abs(math.log(n) - nothing) < 1e-3), None)


def _missed(values: torch.Tensor, low: float, high: float) -> float:
    spread = float(values.var(correction=0))
    return float((values - values.clamp(low, high)).square().mean()) / spread if spread > 0 else 0.0


def _last_operation(output: torch.Tensor) -> str:
    """Return the name of the last operation that changes values, such as "Sigmoid"."""
    node = output.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0].lstrip("_")
        if name not in _SAME:
            return name
        node = node.next_functions[0][0] if node.next_functions else None
    return ""
