"""The named recipes. Each is a list of rules; none has code that another could use."""

from __future__ import annotations

from goodinit.errors import UnknownNameError, WrongTypeError, did_you_mean
from goodinit.initializers import (
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    XavierNormal,
    XavierUniform,
)
from goodinit.recipes.decision import Recipe
from goodinit.recipes.layers import Scheme, layer_rules
from goodinit.recipes.torch_defaults import torch_rules

__all__ = ["RECIPES", "recipe"]

_GLOROT = "Glorot's compromise between keeping signals (fan_in) and gradients (fan_out)"
_HE = "He's gain √2 offsets the half of the second moment that ReLU removes"
_LECUN = "std 1/√fan_in keeps the second moment of a linear sum"
_NO_RECTIFIER = "no rectifier follows, so gain 1"
_ORTHOGONAL = "an orthogonal map keeps norms exactly"

RECIPES: dict[str, Recipe] = {
    entry.name: entry
    for entry in (
        Recipe("torch", "what torch.nn's own constructors do, stated as data", torch_rules),
        Recipe(
            "xavier_uniform",
            "Glorot & Bengio (2010), uniform draws: for tanh-like networks",
            layer_rules(Scheme(XavierUniform(), _GLOROT, XavierUniform(), _GLOROT)),
        ),
        Recipe(
            "xavier_normal",
            "Glorot & Bengio (2010), normal draws: for tanh-like networks",
            layer_rules(Scheme(XavierNormal(), _GLOROT, XavierNormal(), _GLOROT)),
        ),
        Recipe(
            "kaiming_uniform",
            "He et al. (2015), uniform draws: for ReLU networks",
            layer_rules(Scheme(KaimingUniform("relu"), _HE, LecunUniform(), _NO_RECTIFIER)),
        ),
        Recipe(
            "kaiming_normal",
            "He et al. (2015), normal draws: for ReLU networks",
            layer_rules(Scheme(KaimingNormal("relu"), _HE, LecunNormal(), _NO_RECTIFIER)),
        ),
        Recipe(
            "lecun_normal",
            "LeCun et al. (1998), normal draws: for linear and self-normalizing (SELU) networks",
            layer_rules(Scheme(LecunNormal(), _LECUN, LecunNormal(), _LECUN)),
        ),
        Recipe(
            "orthogonal",
            "Saxe et al. (2014): every linear map orthogonal, per gate, per head block and per group",
            layer_rules(Scheme(Orthogonal(), _ORTHOGONAL, Orthogonal(), _ORTHOGONAL)),
        ),
    )
}


def recipe(name: str | Recipe) -> Recipe:
    """Return the recipe of that name; a `Recipe` is returned as it is.

    Raises:
        UnknownNameError: for a name that does not exist, with the nearest one.

    >>> recipe("lecun_normal").name
    'lecun_normal'
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        raise WrongTypeError(f"recipe must be a name or a Recipe, found {name!r}")
    if name not in RECIPES:
        raise UnknownNameError(
            f"no recipe {name!r}{did_you_mean(name, RECIPES)}; there are: {', '.join(RECIPES)}"
        )
    return RECIPES[name]
