"""The activation functions that have names, as torch functions with their parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["ALIASES", "GATES", "NAMED", "NOT_ELEMENTWISE", "Named", "leaky"]

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Named:
    """A function with the names and defaults of its parameters, in positional order."""

    function: Function
    defaults: tuple[tuple[str, float | str], ...] = ()


def leaky(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """max(x, 0) + slope · min(x, 0), for any slope."""
    return torch.where(x > 0, x, x * negative_slope)


def _square_relu(x: Tensor) -> Tensor:
    return functional.relu(x) ** 2


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)  # 1.702: Hendrycks and Gimpel 2016, section 2


def _laplace(x: Tensor) -> Tensor:
    # Ma et al. 2022 (Mega): the normal distribution function at these mean and width.
    return 0.5 * (1 + torch.erf((x - math.sqrt(0.5)) / math.sqrt(0.5 / math.pi)))


def _hardsigmoid(x: Tensor) -> Tensor:
    # torch's own backward multiplies by float32's 1/6 even in float64: 3e-8 off.
    return torch.clamp((x + 3) / 6, 0, 1)


def _identity(x: Tensor) -> Tensor:
    return x


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    return functional.threshold(x, threshold, value)


def _rrelu_mean(x: Tensor, lower: float, upper: float) -> Tensor:
    return leaky(x, (lower + upper) / 2)


def _dropout_mean(x: Tensor, p: float) -> Tensor:
    return x


# Defaults are those of torch.nn (its classes), so that a name and a module agree.
NAMED: dict[str, Named] = {
    "identity": Named(_identity),
    "relu": Named(functional.relu),
    "leaky_relu": Named(leaky, (("negative_slope", 0.01),)),
    "prelu": Named(leaky, (("init", 0.25),)),
    "rrelu": Named(_rrelu_mean, (("lower", 1 / 8), ("upper", 1 / 3))),
    "relu6": Named(functional.relu6),
    "relu_squared": Named(_square_relu),
    "threshold": Named(_threshold, (("threshold", 0.0), ("value", 0.0))),
    "hardtanh": Named(functional.hardtanh, (("min_val", -1.0), ("max_val", 1.0))),
    "hardsigmoid": Named(_hardsigmoid),
    "hardswish": Named(functional.hardswish),
    "hardshrink": Named(functional.hardshrink, (("lambd", 0.5),)),
    "softshrink": Named(functional.softshrink, (("lambd", 0.5),)),
    "tanhshrink": Named(functional.tanhshrink),
    "softsign": Named(functional.softsign),
    "softplus": Named(functional.softplus, (("beta", 1.0), ("threshold", 20.0))),
    "logsigmoid": Named(functional.logsigmoid),
    "sigmoid": Named(torch.sigmoid),
    "tanh": Named(torch.tanh),
    "silu": Named(functional.silu),
    "mish": Named(functional.mish),
    "elu": Named(functional.elu, (("alpha", 1.0),)),
    "celu": Named(functional.celu, (("alpha", 1.0),)),
    "selu": Named(functional.selu),
    "gelu": Named(functional.gelu, (("approximate", "none"),)),
    "gelu_tanh": Named(_gelu_tanh),
    "quick_gelu": Named(_quick_gelu),
    "laplace": Named(_laplace),
    "erf": Named(torch.erf),
    "sin": Named(torch.sin),
    "cos": Named(torch.cos),
    "atan": Named(torch.atan),
    "exp": Named(torch.exp),
    "abs": Named(torch.abs),
    "square": Named(torch.square),
    "sign": Named(torch.sign),
    "dropout": Named(_dropout_mean, (("p", 0.5),)),
}

ALIASES: dict[str, str] = {
    "linear": "identity",
    "none": "identity",
    **{f"conv{n}d": "identity" for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": "identity" for n in (1, 2, 3)},
    "swish": "silu",
    "relu2": "relu_squared",
    "squared_relu": "relu_squared",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "hard_swish": "hardswish",
    "hard_sigmoid": "hardsigmoid",
    "hard_tanh": "hardtanh",
    "log_sigmoid": "logsigmoid",
    "logistic": "sigmoid",
    "arctan": "atan",
    "sine": "sin",
}

# Gated units by the function on the gate: Dauphin et al. 2017; Shazeer 2020, section 2.
GATES: dict[str, str] = {
    "glu": "sigmoid",
    "bilinear_glu": "identity",
    "reglu": "relu",
    "geglu": "gelu",
    "geglu_tanh": "gelu_tanh",
    "swiglu": "silu",
    "mishglu": "mish",
}

NOT_ELEMENTWISE = frozenset(
    {"softmax", "log_softmax", "softmin", "softmax2d", "gumbel_softmax", "multihead_attention"}
)
