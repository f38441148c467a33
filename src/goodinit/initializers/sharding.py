"""Which elements of a distributed tensor this process holds, for any mesh and placement.

A rank's part of a DTensor is a product of index sets, one for each dimension: each
placement on a dimension splits the set once more, in the order of the mesh. Sets that
are not one run (strided shards, as FSDP over tensor parallelism makes) give several boxes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch

from goodinit.errors import TensorError
from goodinit.rng import Region

__all__ = ["is_distributed", "local_parts"]


def is_distributed(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is a DTensor, without importing ``torch.distributed.tensor``."""
    if type(tensor) in (torch.Tensor, torch.nn.Parameter):  # most are, and a missing attribute takes its time
        return False
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def local_parts(tensor: Any) -> Iterator[tuple[torch.Tensor, Region]]:
    """Yield (view of the local memory, box of the global tensor that it holds).

    Args:
        tensor: a DTensor with placements of sharding and replication.

    Raises:
        TensorError: for a placement whose elements are not the tensor's own values
            (partial sums), or a local shape that the placements do not explain.
    """
    local = tensor.to_local()
    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None or local.numel() == 0:
        return
    indices = [[range(length)] for length in tensor.shape]
    for placement, size, rank in zip(tensor.placements, tensor.device_mesh.shape, coordinate, strict=True):
        if placement.is_replicate():
            continue
        dim = getattr(placement, "dim", None)
        if dim is None:
            raise TensorError(
                f"cannot fill a distributed tensor placed as {placement}: its elements are sums over ranks; "
                "redistribute it to shards or replicas first"
            )
        # A strided shard cuts the dimension into `split_factor` pieces and takes its share of each.
        pieces = _split(indices[dim], getattr(placement, "split_factor", 1))
        indices[dim] = [run for piece in pieces for run in _split(piece, size)[rank]]
    held = tuple(sum(map(len, runs)) for runs in indices)
    if held != tuple(local.shape):
        raise TensorError(
            f"the local shape {tuple(local.shape)} of a distributed tensor of shape {tuple(tensor.shape)} "
            f"is not {held}, which its placements {tensor.placements} give"
        )
    offsets = [list(itertools.accumulate((len(run) for run in runs), initial=0)) for runs in indices]
    for chosen in itertools.product(*(range(len(runs)) for runs in indices)):
        runs = [indices[dim][which] for dim, which in enumerate(chosen)]
        view = local
        for dim, which in enumerate(chosen):
            view = view.narrow(dim, offsets[dim][which], len(runs[dim]))
        yield (
            view,
            Region(tuple(tensor.shape), tuple(run.start for run in runs), tuple(len(run) for run in runs)),
        )


def _split(runs: list[range], count: int) -> list[list[range]]:
    """Cut consecutive index runs into `count` parts as ``torch.chunk`` does, empty parts at the end."""
    total = sum(map(len, runs))
    share = math.ceil(total / count)
    parts: list[list[range]] = []
    for part in range(count):
        low, high = min(part * share, total), min((part + 1) * share, total)
        taken, seen = [], 0
        for run in runs:
            inside = run[max(low - seen, 0) : max(high - seen, 0)]
            if len(inside):
                taken.append(inside)
            seen += len(run)
        parts.append(taken)
    return parts
