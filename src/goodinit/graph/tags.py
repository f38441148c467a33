"""Which of torch's operations work element by element, and which reduce."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["is_pointwise", "is_reduction"]

# Activations that torch 2.7 does not tag: leaky_relu, and the others where they work in place.
_UNTAGGED = frozenset({"celu", "elu", "hardsigmoid", "hardtanh", "leaky_relu", "selu"})

# What torch 2.13 tags as reductions; 2.7 has no such tag.
# fmt: off
_REDUCTIONS = frozenset((
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "linalg__powsum",
    "linalg_vector_norm", "logsumexp", "max", "mean", "min", "nansum", "norm", "prod", "std", "std_mean",
    "sum", "var", "var_mean",
))
# fmt: on


def is_pointwise(func: Any) -> bool:
    """Does an operation of aten compute each element of its result from one element of each input?

    >>> leaky, clamped, product = torch.ops.aten.leaky_relu, torch.ops.aten.hardtanh_, torch.ops.aten.mm
    >>> is_pointwise(leaky.default), is_pointwise(clamped.default), is_pointwise(product.default)
    (True, True, False)
    """
    return torch.Tag.pointwise in getattr(func, "tags", ()) or _name(func).rstrip("_") in _UNTAGGED


def is_reduction(func: Any) -> bool:
    """Does an operation of aten make fewer elements, each of many?

    >>> is_reduction(torch.ops.aten.amax.default), is_reduction(torch.ops.aten.view.default)
    (True, False)
    """
    tag = getattr(torch.Tag, "reduction", None)
    # The same name may also compare element by element, as max does.
    if tag is not None:
        return tag in getattr(func, "tags", ())
    return _name(func) in _REDUCTIONS and not is_pointwise(func)


def _name(func: Any) -> str:
    return str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
