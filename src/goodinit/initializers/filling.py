"""`fill_`: fill one tensor under (seed, name)."""

from __future__ import annotations

import torch

from goodinit.errors import WrongTypeError
from goodinit.initializers.composed import as_initializer
from goodinit.initializers.sharding import is_distributed
from goodinit.rng import check_fillable, derive_key
from goodinit.theory.fans import shape_fans

__all__ = ["fill_"]


def fill_(tensor: torch.Tensor, initializer: object, *, seed: int, name: str) -> torch.Tensor:
    """Fill one tensor in place and return it; the values depend on (seed, name, index) alone.

    A scale that needs fans takes them from the shape, as ``torch.nn.init`` does:
    (out, in, *kernel). A plan takes them from the module instead.

    Args:
        tensor: what to fill, any floating dtype and layout.
        initializer: an `Initializer`, or a number for a constant.
        seed: an integer in [0, 2⁶⁴).
        name: the parameter's canonical name.

    Raises:
        WrongTypeError: if tensor is no tensor or initializer no initializer.
        TensorError: if the tensor cannot be filled.

    >>> from goodinit.initializers import Normal
    >>> whole = fill_(torch.empty(4, 3), Normal(), seed=0, name="w")
    >>> torch.equal(whole, fill_(torch.empty(4, 3), Normal(), seed=0, name="w"))
    True
    """
    if not isinstance(tensor, torch.Tensor):
        raise WrongTypeError(f"fill_: tensor must be a torch.Tensor, found {type(tensor).__name__}")
    check_fillable(tensor.to_local() if is_distributed(tensor) else tensor)  # type: ignore[attr-defined]
    value = as_initializer(initializer)
    shape = tuple(tensor.shape)
    fans = shape_fans(shape) if len(shape) >= 2 else None
    value = value.resolve(shape, fans.fan_in if fans else None, fans.fan_out if fans else None)
    return value.fill_(tensor, derive_key(seed, name))
