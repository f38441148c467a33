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
from goodinit.recipes.auto import AUTO
from goodinit.recipes.decision import Recipe
from goodinit.recipes.layers import Scheme, layer_rules
from goodinit.recipes.torch_defaults import torch_rules
from goodinit.recipes.traced import by_use

__all__ = ["RECIPES", "recipe"]

_GLOROT = "Glorot's compromise between keeping signals (fan_in) and gradients (fan_out)"
_HE = "He's gain √2 offsets the half of the second moment that ReLU removes"
_LECUN = "std 1/√fan_in keeps the second moment of a linear sum"
_NO_RECTIFIER = "no rectifier follows, so gain 1"
_ORTHOGONAL = "orthogonal: its singular values are all 1, so no direction grows or shrinks"


def _scaled(name: str, summary: str, scheme: Scheme) -> Recipe:
    """A recipe that puts the scheme's initializers by layer type, and by use what no layer type covers."""
    rules = layer_rules(scheme)
    return Recipe(name, summary, rules, lambda graph: (*rules, *by_use(scheme, graph)), True)


RECIPES: dict[str, Recipe] = {
    entry.name: entry
    for entry in (
        AUTO,
        Recipe("torch", "what torch.nn's own constructors do, stated as data", torch_rules),
        _scaled(
            "xavier_uniform",
            "Glorot & Bengio (2010), uniform draws: for tanh-like networks",
            Scheme(XavierUniform(), _GLOROT, XavierUniform(), _GLOROT),
        ),
        _scaled(
            "xavier_normal",
            "Glorot & Bengio (2010), normal draws: for tanh-like networks",
            Scheme(XavierNormal(), _GLOROT, XavierNormal(), _GLOROT),
        ),
        _scaled(
            "kaiming_uniform",
            "He et al. (2015), uniform draws: for ReLU networks",
            Scheme(KaimingUniform("relu"), _HE, LecunUniform(), _NO_RECTIFIER),
        ),
        _scaled(
            "kaiming_normal",
            "He et al. (2015), normal draws: for ReLU networks",
            Scheme(KaimingNormal("relu"), _HE, LecunNormal(), _NO_RECTIFIER),
        ),
        _scaled(
            "lecun_normal",
            "LeCun et al. (1998), normal draws: for linear and self-normalizing (SELU) networks",
            Scheme(LecunNormal(), _LECUN, LecunNormal(), _LECUN),
        ),
        _scaled(
            "orthogonal",
            "Saxe et al. (2014): every linear map orthogonal, per gate, per head block and per group",
            Scheme(Orthogonal(), _ORTHOGONAL, Orthogonal(), _ORTHOGONAL),
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
