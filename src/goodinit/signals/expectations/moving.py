"""Operations that move elements: expected moments move with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.expected import Expected

__all__ = ["MOVES", "moved"]

# Operations of which each result holds elements of the first argument alone.
MOVES = frozenset(
    {
        *("view", "reshape", "_unsafe_view", "expand", "flatten", "unflatten", "squeeze", "unsqueeze"),
        *("transpose", "t", "permute", "movedim", "select", "slice", "split", "split_with_sizes", "chunk"),
        *(
            "unbind",
            "narrow",
            "flip",
            "roll",
            "repeat",
            "repeat_interleave",
            "constant_pad_nd",
            "index_select",
        ),
        *("detach", "alias", "contiguous", "unfold", "im2col", "pixel_shuffle", "pixel_unshuffle"),
        *("channel_shuffle", "upsample_nearest1d", "upsample_nearest2d", "reflection_pad2d"),
        *("replication_pad2d", "unsafe_chunk", "unsafe_split", "diagonal"),
    }
)


def moved(func: Any, x: Expected, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> list[Expected]:
    """Return what is expected of each result of an operation that only moves elements.

    Args:
        func: the operation.
        x: of its first argument.
        args: all arguments.
        kwargs: the rest.
        output: what the operation gave: a tensor, or a list of them.
    """
    name = func.overloadpacket.__name__
    results = list(output) if isinstance(output, list | tuple) else [output]
    # Moments may lie in memory in another order than the values do.
    move: Any = torch.reshape if name in ("view", "_unsafe_view") else func
    rest = [a.cpu() if isinstance(a, Tensor) else a for a in args[1:]]
    parts = []
    for tensor in (x.q, x.m, x.p):
        out = move(tensor, *rest, **kwargs)
        parts.append(list(out) if isinstance(out, list | tuple) else [out])
    found = []
    for at, result in enumerate(results):
        axis = _axis(name, args, x.axis, tuple(args[0].shape), tuple(result.shape))
        token = (x.token, name, at, repr([a for a in args[1:] if not isinstance(a, Tensor)]))
        share = 1.0
        if (
            name in ("split", "split_with_sizes", "chunk", "slice", "narrow", "unsafe_split")
            and axis == x.axis
        ):
            before, after = args[0].shape[x.axis], result.shape[axis]
            share = after / before if before else 1.0
        units = max(x.units * share, 1.0)
        found.append(
            replace(x, q=parts[0][at], m=parts[1][at], p=parts[2][at], axis=axis, units=units, token=token)
        )
    return found


def _axis(name: str, args: Sequence[Any], axis: int, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Return where the dimension of features went, counted from the end."""
    rank = len(before)
    at = axis % rank if rank else 0
    if not rank or not after:
        return -1
    if name == "t":
        at = rank - 1 - at
    elif name == "transpose":
        one, other = args[1] % rank, args[2] % rank
        at = other if at == one else one if at == other else at
    elif name == "permute":
        at = [d % rank for d in args[1]].index(at)
    elif name == "unsqueeze":
        at += at >= args[1] % (rank + 1)
    elif name in ("select", "unbind", "squeeze"):
        gone = args[1:2] or [[d for d, size in enumerate(before) if size == 1]]
        dims = [d % rank for d in (gone[0] if isinstance(gone[0], list | tuple) else gone)]
        if name == "squeeze":
            dims = [d for d in dims if before[d] == 1]
        at = -1 if at in dims else at - sum(d < at for d in dims)
    elif name in ("view", "reshape", "_unsafe_view", "flatten", "unflatten"):
        behind = math.prod(before[at + 1 :])
        fits = [d for d in range(len(after)) if math.prod(after[d + 1 :]) == behind]
        same = [d for d in fits if after[d] == before[at]]
        at = (same or fits or [len(after) - 1])[-1]
    elif name in ("expand", "repeat"):
        at += len(after) - rank
    at = min(at, len(after) - 1)
    return at - len(after) if at >= 0 else at
