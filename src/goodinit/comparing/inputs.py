"""What a model is given: one tensor, a tuple of arguments or a dict of keyword arguments, examples first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.func import functional_call
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path, tree_map, tree_unflatten

__all__ = ["Batch", "Inputs", "blocks", "called", "leaves", "rebuilt", "rows", "shapes"]

Inputs = Any
"""A tensor, or a tuple or dict of what is inputs; the first dimension of every tensor counts examples."""

Batch = tuple[Inputs, torch.Tensor]
"""Inputs and targets."""


def leaves(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Return the tensors by where they stand.

    >>> list(leaves({"ids": torch.ones(2), "mask": torch.ones(2)}))
    ["['ids']", "['mask']"]
    """
    return {keystr(path): leaf for path, leaf in tree_flatten_with_path(inputs)[0]}


def rebuilt(like: Inputs, tensors: Sequence[torch.Tensor]) -> Inputs:
    """Return inputs of another's form from the tensors in the order of its leaves."""
    return tree_unflatten(tensors, tree_flatten(like)[1])


def rows(inputs: Inputs, which: Any) -> Inputs:
    """Return some of the examples, copied: a model or a loss may write into what it is given."""
    return tree_map(
        lambda tensor: tensor[which].clone() if isinstance(which, slice) else tensor[which], inputs
    )


def blocks(inputs: Inputs, size: int) -> Iterator[Inputs]:
    """Cut the examples into blocks of a size, the last one as large as it comes out."""
    count = len(next(iter(leaves(inputs).values())))
    return (rows(inputs, slice(start, start + size)) for start in range(0, count, size))


def shapes(inputs: Inputs, start: int = 0) -> Any:
    """Return the shapes of inputs in their form, from dimension `start` on."""
    return tree_map(lambda tensor: tuple(tensor.shape[start:]), inputs)


def called(model: torch.nn.Module, inputs: Inputs, state: dict[str, torch.Tensor] | None = None) -> Any:
    """Return what a model makes of inputs, with other parameters and buffers if a state is given."""
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (_tuple(inputs), {})
    return model(*args, **kwargs) if state is None else functional_call(model, state, args, kwargs)


def _tuple(inputs: Inputs) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)
