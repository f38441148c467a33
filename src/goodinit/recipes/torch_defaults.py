"""What torch.nn's own constructors do, stated as data.

Source: the ``reset_parameters`` methods of torch.nn, unchanged from 2.7 to 2.13.
Every line is held by a test that builds the layer and verifies it against the plan.
"""

from __future__ import annotations

import math

from torch import nn

from goodinit.graph import Place, Use
from goodinit.graph.layers import module_fans, shape_fans
from goodinit.graph.places import kind
from goodinit.initializers import (
    Constant,
    Initializer,
    Normal,
    Uniform,
    XavierNormal,
    XavierUniform,
    ZeroRows,
)
from goodinit.recipes.decision import Decision, Rule
from goodinit.recipes.layers import _NORMS

__all__ = ["torch_rules"]


def _transformer(place: Place, use: Use) -> Decision | None:
    shape = tuple(place.parameter.shape)
    if len(shape) < 2 or not any(isinstance(m, nn.Transformer) for m in use.ancestors):
        return None
    fans = shape_fans(shape)
    return Decision(
        XavierUniform(),
        "nn.Transformer refills every matrix with xavier_uniform_, fans guessed from the whole shape",
        fans.fan_in,
        fans.fan_out,
    )


def _normalization(place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, _NORMS) or use.local not in ("weight", "bias"):
        return None
    value = 1.0 if use.local == "weight" else 0.0
    return Decision(Constant(value), f"{kind(use.module)} default", default=value)


def _embedding(place: Place, use: Use) -> Decision | None:
    module = use.module
    if not isinstance(module, nn.Embedding | nn.EmbeddingBag) or use.local != "weight":
        return None
    initializer: Initializer = Normal(0.0, 1.0)
    why = f"{kind(module)} default"
    if module.padding_idx is not None:
        initializer = ZeroRows(initializer, (module.padding_idx,))
        why += f"; padding row {module.padding_idx} is zero"
    return Decision(initializer, why, 1.0, float(module.embedding_dim))


_ATTENTION = (
    "in_proj_weight",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
    "in_proj_bias",
    "bias_k",
    "bias_v",
)


def _attention(place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, nn.MultiheadAttention) or use.local not in _ATTENTION:
        return None
    if use.local == "in_proj_bias":
        return Decision(Constant(0.0), "MultiheadAttention default", default=0.0)
    fans = shape_fans(tuple(place.parameter.shape))
    initializer = XavierNormal() if use.local.startswith("bias") else XavierUniform()
    why = "MultiheadAttention default, fans guessed from the whole shape"
    return Decision(initializer, why, fans.fan_in, fans.fan_out)


_RECURRENT = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")


def _recurrent(place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, nn.RNNBase | nn.RNNCellBase) or not use.local.startswith(_RECURRENT):
        return None
    hidden = int(use.module.hidden_size)
    bound = 1 / math.sqrt(hidden) if hidden else 0.0
    name = kind(use.module)
    fan_in = float(place.parameter.shape[1]) if place.parameter.dim() == 2 else None
    return Decision(
        Uniform(-bound, bound),
        f"{name} default: ±1/√hidden_size for weights and biases alike",
        fan_in,
        float(hidden) if fan_in else None,
    )


def _linear_or_convolution(place: Place, use: Use) -> Decision | None:
    module = use.module
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.Bilinear):
        return None
    if use.local not in ("weight", "bias"):
        return None
    name, guessed, true = kind(module), _guessed_fan_in(module), module_fans(module)
    assert true is not None
    bound = 1 / math.sqrt(guessed) if guessed else 0.0
    if use.local == "weight":
        why = f"{name} default: kaiming_uniform_(a=√5) = ±1/√{guessed}, a sixth of He's variance"
        if isinstance(module, nn.Bilinear):
            why = f"{name} default: ±1/√{guessed}"
        elif guessed != true.fan_in:
            why += f"; the true fan_in is {true.fan_in:g}"
        return Decision(Uniform(-bound, bound), why, true.fan_in, true.fan_out)
    if use.ancestors and isinstance(use.ancestors[-1], nn.MultiheadAttention):
        return Decision(Constant(0.0), "MultiheadAttention zeroes the bias of its output projection")
    return Decision(Uniform(-bound, bound), f"{name} default: ±1/√{guessed}")


def _guessed_fan_in(module: nn.Linear | nn.modules.conv._ConvNd | nn.Bilinear) -> int:
    """Dimension 1 of the weight times its kernel, whatever they mean; Bilinear takes dimension 1 alone."""
    if isinstance(module, nn.Linear):
        return module.in_features
    if isinstance(module, nn.Bilinear):
        return module.in1_features
    channels = module.out_channels if module.transposed else module.in_channels
    return channels // module.groups * math.prod(module.kernel_size)


def _prelu(place: Place, use: Use) -> Decision | None:
    if not isinstance(use.module, nn.PReLU) or use.local != "weight":
        return None
    value = float(use.module.init)
    return Decision(Constant(value), f"PReLU default: the slope {value:g} it was made with", default=value)


torch_rules: tuple[Rule, ...] = (
    _normalization,
    _transformer,
    _embedding,
    _attention,
    _recurrent,
    _linear_or_convolution,
    _prelu,
)
