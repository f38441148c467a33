"""Tensors on an NVIDIA GPU, filled where they lie by Triton: the reference's bits.

Triton comes with a CUDA build of torch. Where it is missing, or a card is older than it supports, values
are drawn on the CPU and copied. So they are where a card gives other bits: before a kernel writes its
first tensor on a card, a few thousand of its values are compared with the reference's.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from goodinit.rng.native import VARIABLE, Law, _address, _box, truncated_law
from goodinit.rng.region import Region
from goodinit.rng.truncated import truncate

__all__ = ["can_write", "write_box"]

# The precision of the arithmetic behind each type that the kernel writes.
_REAL: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.float32,
    torch.float16: np.float32,
}
_OLDEST = (8, 0)  # compute capability; Triton supports no older one
# Philox blocks of a program, 4 elements each, and its warps: 16 elements a thread.
_BLOCKS, _WARPS = 512, 4
# What a card is tried on: parameters that reach all pieces of a law's arithmetic, around an index where
# the block number's high word changes.
_TRIALS: dict[str, tuple[float, ...]] = {
    "uniform": (-0.3, 1.1),
    "normal": (0.1, 0.7),
    "truncated_normal": (0.1, 0.7, -1.0, 4.0),
}
_TRIAL = Region((2**40,), (2**34 - 2049,), (4099,))


def can_write(tensor: torch.Tensor, law: Law) -> bool:
    """Whether the kernel can write a law's values to the memory of this tensor."""
    return (
        tensor.is_cuda
        and tensor.dtype in _REAL
        and os.environ.get(VARIABLE) != "numpy"
        and not tensor.is_neg()
        # The reference's copy_ refuses an inference tensor outside its mode, with torch's own words.
        and (not tensor.is_inference() or torch.is_inference_mode_enabled())
        and _address(tensor) != 0
        and _trusted(tensor.get_device(), law.name, tensor.dtype)
    )


def write_box(
    tensor: torch.Tensor,
    key: int,
    stream: int,
    region: Region | None,
    law: Law,
    progress: Callable[[int], None] | None,
) -> None:
    """Write a law's values into a tensor that `can_write` has passed; arguments are those of `write_`."""
    # A tensor of the CPU comes from Triton's interpreter, which needs no device.
    with torch.cuda.device(tensor.device if tensor.is_cuda else -1):
        _launch(tensor.detach(), key, stream, region, law)
    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)
    if progress is not None:
        progress(tensor.numel())


def _launch(tensor: torch.Tensor, key: int, stream: int, region: Region | None, law: Law) -> None:
    from goodinit.rng.gpu_kernel import fill_box

    size, stride, global_stride, start = _box(tensor, region)
    length, rows, rank = size[-1], math.prod(size[:-1]), len(size) - 1
    whole_blocks = start % 4 == 0 and all(step % 4 == 0 for step in global_stride[:-1])
    per_row = (length + (0 if whole_blocks else 3) + 3) // 4
    short = rows > 1 and per_row <= _BLOCKS // 2
    if short:
        programs = -(-rows * per_row // _BLOCKS)
    else:
        per_row = -(-per_row // _BLOCKS)
        programs = rows * per_row
    aligned = (
        not short
        and whole_blocks
        and stride[-1] == 1
        and all(step % 16 == 0 for step in stride[:-1])
        and tensor.data_ptr() % 16 == 0
    )
    real = _REAL[tensor.dtype]
    fill_box[(programs,)](
        tensor,
        torch.from_numpy(_numbers(law, real)).to(tensor.device),
        torch.from_numpy(_outer(size, stride, global_stride, 16 if aligned else 1)).to(tensor.device)
        if rank
        else None,
        key,
        stream,
        start,
        rows,
        length,
        stride[-1],
        per_row,
        law.left_count,
        law=law.name,
        sides=2 if law.left_count else 1,
        pieces=_pieces(law, real),
        rank=rank,
        short=short,
        aligned=aligned,
        blocks=_BLOCKS,
        num_warps=_WARPS,
        # Every product and every sum is rounded: the contract.
        enable_fp_fusion=False,
    )


def _numbers(law: Law, real: type[np.floating[Any]]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # a bound may be beyond the largest float32
        return np.array((*law.numbers, *law.left, *law.right), real)


def _outer(size: list[int], stride: list[int], global_stride: list[int], unit: int) -> npt.NDArray[np.int64]:
    """Size, stride in memory and in the global tensor of the dimensions outside a row, innermost first."""
    dims = [
        (n, step // unit, jump if jump < 2**63 else jump - 2**64)
        for n, step, jump in zip(size, stride, global_stride, strict=True)
    ]
    return np.array(dims[-2::-1], np.int64).reshape(-1)


def _pieces(law: Law, real: type[np.floating[Any]]) -> str:
    """Which pieces of the quantile function a truncation meets: v grows with k, rounded or not."""
    if law.name != "truncated_normal":
        return ""
    top = real(2**53 - 1 if real is np.float64 else 2**32 - 1)
    split = real(law.numbers[8])
    sides = [law.left, law.right] if law.left_count else [law.right]
    in_tail = [
        (k + real(0.5)) * real(v_step) + real(v_outer) < split
        for v_outer, v_step, _, _ in sides
        for k in (real(0), top)
    ]
    if not any(in_tail):
        return "centre"
    return "tail" if all(in_tail) else "both"


@functools.cache
def _trusted(device: int, law: str, dtype: torch.dtype) -> bool:
    """Whether the kernel runs on a card and gives the reference's bits there; tried once."""
    if (
        not _has_triton()
        or torch.version.hip is not None
        or torch.cuda.get_device_capability(device) < _OLDEST
    ):
        return False
    try:
        agrees = _agrees(torch.device("cuda", device), law, dtype)
        found = "gives other bits than the reference"
    except Exception as error:  # the compilers of a user's machine can fail in any way
        agrees, found = False, f"does not run ({type(error).__name__}: {error})"
    if not agrees:
        warnings.warn(
            f"goodinit's GPU kernel for {law} in {dtype} {found} on this card "
            f"({torch.cuda.get_device_name(device)}): values are drawn on the CPU and copied (same values); "
            f"{VARIABLE}=numpy silences this",
            RuntimeWarning,
            stacklevel=2,
        )
    return agrees


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _agrees(device: torch.device, law: str, dtype: torch.dtype) -> bool:
    """Whether a trial on a device has the bits of the CPU."""
    from goodinit.rng import fill

    numbers = _TRIALS[law]
    expected = torch.empty(_TRIAL.size, dtype=dtype, device="cpu")
    getattr(fill, f"fill_{law}_")(expected, 7, *numbers, region=_TRIAL)
    if law == "uniform":
        low, high = numbers
        resolved = Law(law, (low, high - low, high))
    elif law == "normal":
        resolved = Law(law, numbers)
    else:
        mean, std, low, high = numbers
        bits = 53 if dtype == torch.float64 else 32
        resolved = truncated_law(mean, std, low, high, truncate(mean, std, low, high, bits))
    found = torch.empty(_TRIAL.size, dtype=dtype, device=device)
    write_box(found, 7, 0, _TRIAL, resolved, None)
    return torch.equal(found.cpu().view(torch.uint8), expected.view(torch.uint8))
