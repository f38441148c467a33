"""The scale of the drop-in's fills: gains and fans, as ``torch.nn.init`` counts them."""

# No `from __future__ import annotations`: these signatures equal torch's, and
# inspect.signature compares annotations as objects.

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from goodinit.errors import ArgumentError, TensorError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    _NonlinearityType: TypeAlias = str | Callable[..., Any]
    _FanMode: TypeAlias = str
else:
    # inspect.signature shows torch's own types (older versions state none); a type checker
    # sees that ours take more.
    _NonlinearityType = torch.nn.init.calculate_gain.__annotations__.get("nonlinearity", str)
    _FanMode = torch.nn.init.kaiming_uniform_.__annotations__.get("mode", str)

_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)
# The names that torch knows, with torch's values: tanh's and selu's are empirical.
_TORCH_GAINS = {
    **dict.fromkeys((*_LINEAR, "sigmoid"), 1),
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def calculate_gain(nonlinearity: _NonlinearityType, param: int | float | None = None) -> float:
    """Return the gain for a nonlinearity: torch's value for a name that torch knows, 1/√E[φ(z)²] otherwise.

    linear, conv*, sigmoid: 1 · tanh: 5/3 · relu: √2 · leaky_relu: √(2/(1+slope²)) · selu: 3/4.
    Any other activation φ: 1/√E[φ(z)²] for z ~ N(0, 1), by quadrature.

    Args:
        nonlinearity: a name such as ``"gelu"``, an ``nn.Module`` or its class, or a
            callable that acts on each element of a tensor.
        param: negative slope of ``"leaky_relu"`` (default 0.01); all others ignore it, as in
            torch. An activation with another parameter is passed as a module: ``nn.ELU(0.5)``.

    Returns:
        The multiplier of the std 1/√fan.

    Raises:
        ArgumentError: if the slope is no number, or there is no such nonlinearity.

    >>> calculate_gain("tanh"), round(calculate_gain("gelu"), 4)
    (1.6666666666666667, 1.5335)

    Source: He et al. (2015), eq. 10 and 15, for ReLU and its leaky form.
    """
    if isinstance(nonlinearity, str):
        if nonlinearity in _TORCH_GAINS:
            return _TORCH_GAINS[nonlinearity]
        if nonlinearity == "leaky_relu":
            if param is None:
                param = 0.01
            elif isinstance(param, bool) or not isinstance(param, int | float):
                raise ArgumentError(f"negative_slope {param} not a valid number")
            return math.sqrt(2.0 / (1 + param**2))
    elif not callable(nonlinearity):
        raise ArgumentError(f"Unsupported nonlinearity {nonlinearity}")

    from goodinit import theory  # loads SciPy, which no other function here needs

    try:
        return theory.gain(nonlinearity)
    except UnknownNameError:
        near = did_you_mean(str(nonlinearity), ["leaky_relu", *_TORCH_GAINS, *theory.activation_names()])
        raise UnknownNameError(f"Unsupported nonlinearity {nonlinearity}{near}") from None
    except ArgumentError as error:
        raise ArgumentError(f"Unsupported nonlinearity {nonlinearity}: {error}") from error


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise TensorError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    kernel = math.prod(tensor.shape[2:])
    return tensor.size(1) * kernel, tensor.size(0) * kernel


def _calculate_correct_fan(tensor: Tensor, mode: _FanMode) -> int:
    mode = mode.lower()
    valid_modes = ["fan_in", "fan_out"]
    if mode not in valid_modes:
        raise ArgumentError(f"Mode {mode} not supported, please use one of {valid_modes}")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_std(tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    # A tensor without elements may have no fans; any std fills it.
    return gain * math.sqrt(2.0 / float(max(fan_in + fan_out, 1)))
