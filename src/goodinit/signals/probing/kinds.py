"""What a layer's kind says about how to read its output: units, dead units, saturation, role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

__all__ = [
    "ACTIVATION_FUNCTIONS",
    "cuts_to_zero",
    "is_embedding",
    "is_norm",
    "saturated",
    "saturates",
    "unit_dimension",
]

_FUNCTIONS: Final = (
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu"),
    *("sigmoid", "sigmoid_", "tanh", "tanh_", "softsign", "hardtanh", "hardsigmoid"),
    *("gelu", "silu", "mish", "softplus", "hardswish"),
)
# Functions that models call instead of a layer, so that F.relu is seen as well as nn.ReLU.
ACTIVATION_FUNCTIONS: Final[dict[Callable[..., object], str]] = {
    function: name.removesuffix("_")
    for name in _FUNCTIONS
    for place in (torch, torch.Tensor, nn.functional, torch._C._nn)
    if (function := getattr(place, name, None)) is not None
}

_CUT = ("relu", "relu6", "threshold")
_CHANNELS_FIRST = ("conv", "batchnorm", "instancenorm", "groupnorm", "pool", "pixelshuffle", "upsample")
_CHANNELS_LAST = (
    "linear",
    "layernorm",
    "rmsnorm",
    "embedding",
    "rnn",
    "lstm",
    "gru",
    "attention",
    "bilinear",
)
_NORMS = ("batchnorm", "layernorm", "instancenorm", "groupnorm", "rmsnorm")


def _plain(kind: str) -> str:
    return kind.lower().replace("_", "")


def is_norm(kind: str) -> bool:
    """Is this a normalization layer?"""
    return any(norm in _plain(kind) for norm in _NORMS) or _plain(kind).endswith("norm")


def is_embedding(kind: str) -> bool:
    """Does this layer look rows up rather than multiply?"""
    return "embedding" in _plain(kind)


def cuts_to_zero(kind: str) -> bool:
    """Is this a ReLU-like layer: exactly zero, with zero derivative, on one side?"""
    name = _plain(kind)
    if name in _CUT:
        return True
    return "relu" in name and not any(other in name for other in ("leaky", "prelu", "rrelu"))


def unit_dimension(kind: str, output: torch.Tensor, inherited: int | None) -> int:
    """Return which dimension of an output counts its units.

    Channels (dimension 1) after convolutions and what follows them, else the last;
    a kind that says neither has the dimension of the layer before it.
    """
    name = _plain(kind)
    if output.ndim < 3:
        return output.ndim - 1
    # transformers' Conv1D, unlike torch's Conv1d, is a linear layer.
    if kind == "Conv1D" or any(part in name for part in _CHANNELS_LAST):
        return output.ndim - 1
    if any(part in name for part in _CHANNELS_FIRST):
        return 1
    if inherited is not None:
        return 1 if inherited == 1 else output.ndim - 1
    return 1 if output.ndim == 4 else output.ndim - 1


# Saturated: the derivative is below a hundredth of its largest value. For sigmoid y(1 − y) < 0.01/4, for
# tanh 1 − y² < 0.01, for softsign (1 − |y|)² < 0.01; the hard ones have derivative 0 outside.
_SATURATED: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "sigmoid": lambda y: y * (1 - y) < 0.0025,
    "tanh": lambda y: 1 - y * y < 0.01,
    "softsign": lambda y: (1 - y.abs()) ** 2 < 0.01,
    "hardsigmoid": lambda y: (y <= 0) | (y >= 1),
}


def saturates(kind: str) -> bool:
    """Is this an activation that `saturated` can judge?"""
    name = _plain(kind)
    return name in ("hardtanh", "relu6") or name.removesuffix("activation") in _SATURATED


def saturated(kind: str, module: nn.Module | None, output: torch.Tensor) -> torch.Tensor | None:
    """Return where the derivative is under 1 % of the largest; None where the question makes no sense."""
    name = _plain(kind)
    rule = _SATURATED.get(name.removesuffix("activation"))
    if name == "hardtanh":
        low, high = getattr(module, "min_val", -1.0), getattr(module, "max_val", 1.0)
        return (output <= low) | (output >= high)
    if name == "relu6":
        return output >= 6
    return None if rule is None else rule(output.detach().float())
