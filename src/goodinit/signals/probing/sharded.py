"""Distributed tensors: one process's part of them, and the whole."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

__all__ = ["equal_shards", "has_shards", "is_sharded", "local", "whole"]

# Fewer elements may be equal by chance in short types.
_ENOUGH = 8


def is_sharded(tensor: torch.Tensor) -> bool:
    """Is this a DTensor, of which a process holds a part?"""
    return hasattr(tensor, "to_local") and hasattr(tensor, "full_tensor")


def has_shards(model: nn.Module) -> bool:
    """Does a parameter of this model lie in parts on several processes?"""
    return any(is_sharded(parameter) for parameter in model.parameters())


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a distributed tensor; any other as it is."""
    return cast("Any", tensor).to_local() if is_sharded(tensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a distributed tensor, which every process must ask for; any other as it is."""
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def equal_shards(tensor: Any) -> int:
    """Return how many shards of a DTensor equal another one; 1 where all differ.

    Replicas count once. Every process must call this.
    """
    from torch.distributed.tensor import DTensor, Replicate, Shard

    part = tensor.to_local().double().flatten()
    # The last part may be smaller: drawn from the same seed, it starts like the others.
    size = torch.tensor([[part.numel()]], device=part.device)
    laid = [Shard(0) if place.is_shard() else Replicate() for place in tensor.placements]

    def gathered(row: torch.Tensor) -> torch.Tensor:
        return DTensor.from_local(row, tensor.device_mesh, laid, run_check=False).full_tensor()

    sizes = gathered(size).flatten()
    kept = sizes[sizes >= _ENOUGH]
    if len(kept) < 2:
        return 1
    start = part[: int(kept.min())]
    vector = torch.rand(2, len(start), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    marks = gathered((vector.to(start.device) @ start)[None])[sizes >= _ENOUGH]
    _, counts = torch.unique(marks[marks[:, 0] != 0], dim=0, return_counts=True)
    return int(counts.max()) if len(counts) else 1
