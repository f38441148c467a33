"""The C++ kernels: which of them run here, and a box of a tensor written by them.

They give the bits of the NumPy reference in this folder, only faster. Where they are not built, or
the environment variable ``GOODINIT_KERNELS`` is ``numpy``, the reference runs.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch._C import _increment_version  # torch.autograd.graph.increment_version, in half its time

from goodinit.errors import ArgumentError, TensorError
from goodinit.rng.region import Region
from goodinit.rng.truncated import Side, Truncation

__all__ = [
    "NORMAL",
    "UNIFORM",
    "VARIABLE",
    "Law",
    "can_write",
    "common",
    "instruction_set",
    "truncated_law",
    "write_box",
    "write_common",
]

VARIABLE = "GOODINIT_KERNELS"
"""Environment variable that chooses the arithmetic's back end; none of them changes a bit."""

_CHOICES = ("numpy", "baseline", "avx2", "avx512")
_BUILD = (
    "install a C++ compiler, then install goodinit again from its source tree "
    "(pip install --force-reinstall --no-deps .)"
)
_TYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_READ_ONLY = "cannot fill a tensor whose memory is read-only: clone() it first"
# The numbers of csrc/parameters.hpp.
_TYPE_NUMBERS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
UNIFORM, NORMAL = 0, 1
_NUMBERS = frozenset({float, int})
# Larger numbers than float32 has are the general path's to judge.
_LARGEST = 3.4028234663852886e38  # float32's
# With a progress callback each thread writes about this many elements between two calls.
_SLICE = 1 << 20
_SMALLEST_SLICE = 1 << 17  # csrc/dispatch.cpp, kPerThread


class Law(NamedTuple):
    """A law and its resolved numbers, as csrc/parameters.hpp names them."""

    name: str
    numbers: tuple[float, ...]
    left_count: int = 0
    left: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    right: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def truncated_law(mean: float, std: float, low: float, high: float, cut: Truncation) -> Law:
    """Return the truncated normal whose constants `truncate` has worked out."""
    numbers = (
        mean,
        -std if cut.mirrored else std,
        low,
        high,
        cut.w_inner,
        cut.c,
        cut.d,
        cut.l_inner,
        cut.v_split,
    )
    return Law("truncated_normal", numbers, cut.left_count, _side(cut.left), _side(cut.right))


def _side(side: Side) -> tuple[float, float, float, float]:
    return side.v_outer, side.v_step, side.x_inner, side.x_step


@functools.cache
def instruction_set() -> str | None:
    """Return the name of the kernels that run in this process, None for the NumPy reference.

    The environment variable ``GOODINIT_KERNELS`` is read once, at the first fill: ``numpy``,
    ``baseline``, ``avx2`` or ``avx512``; unset, the best of this machine.

    Raises:
        ArgumentError: if the variable names something unknown, not built or not on this machine.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", *_CHOICES):
        raise ArgumentError(
            f"environment variable {VARIABLE} must be one of {', '.join(_CHOICES)}, found {wanted!r}"
        )
    if wanted == "numpy":
        return None
    try:
        from goodinit import _kernels
    except ImportError as error:
        if wanted:
            raise ArgumentError(
                f"environment variable {VARIABLE} asks for {wanted!r}, but the kernels are not built "
                f"({error}): unset it, or {_BUILD}"
            ) from error
        warnings.warn(
            f"goodinit's kernels are not built, so the slower NumPy reference fills tensors (same values): "
            f"{_BUILD}; {VARIABLE}=numpy silences this",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    here = _kernels.instruction_sets()
    if not wanted:
        return here[0]
    if wanted not in here:
        raise ArgumentError(
            f"environment variable {VARIABLE} asks for {wanted!r}, this machine has {', '.join(here)}"
        )
    return wanted


def common(tensor: torch.Tensor, key: int, stream: int, *numbers: float) -> bool:
    """Whether `write_common` may write here with these numbers: the common case, asked in the fewest steps.

    Models have many small tensors, and looking at one from all sides takes longer than filling it. So a
    contiguous tensor on the CPU with plain finite numbers is told apart first; False says nothing else
    than that the general path must look.
    """
    kind = type(tensor)
    for number in numbers:
        if type(number) not in _NUMBERS or not -_LARGEST <= number <= _LARGEST:
            return False
    try:
        return (
            (kind is torch.Tensor or kind is torch.nn.Parameter)
            and tensor.is_cpu
            and tensor.dtype in _TYPE_NUMBERS
            and tensor.is_contiguous()
            and not tensor.is_neg()
            and type(key) is type(stream) is int
            and 0 <= key < 2**64
            and 0 <= stream < 2**32
            and instruction_set() is not None
            and (not tensor.is_inference() or torch.is_inference_mode_enabled())
            and tensor.data_ptr() != 0
        )
    except RuntimeError:  # other layouts, and wrappers of torch.func, have no memory of this kind
        return False


def write_common(
    tensor: torch.Tensor, key: int, stream: int, law: int, a: float, b: float, c: float = 0.0
) -> torch.Tensor:
    """Write a law into a whole tensor that `common` has passed, and return it.

    Args:
        tensor: what to fill.
        key: 64-bit key.
        stream: 32-bit stream.
        law: `UNIFORM` with low, high − low and high, or `NORMAL` with mean and a std of at least 0.
        a: the law's first number.
        b: its second.
        c: its third.

    Raises:
        TensorError: if its memory is read-only.
    """
    kernels = _module()
    try:
        kernels.fill_whole(
            tensor.data_ptr(),
            _TYPE_NUMBERS[tensor.dtype],
            tensor.numel(),
            law,
            a,
            b,
            c,
            key,
            stream,
            instruction_set(),
            torch.get_num_threads(),
        )
    except kernels.ReadOnlyError as error:
        raise TensorError(_READ_ONLY) from error
    _increment_version((tensor,))
    return tensor


def can_write(tensor: torch.Tensor) -> bool:
    """Whether the kernels can write to the memory of this tensor."""
    return (
        tensor.is_cpu
        and tensor.dtype in _TYPES
        and instruction_set() is not None
        and not tensor.is_neg()
        # The reference's copy_ refuses an inference tensor outside its mode, with torch's own words.
        and (not tensor.is_inference() or torch.is_inference_mode_enabled())
        and _address(tensor) != 0
    )


def write_box(
    tensor: torch.Tensor,
    key: int,
    stream: int,
    region: Region | None,
    law: Law,
    progress: Callable[[int], None] | None,
) -> None:
    """Write a law's values into a tensor that `can_write` has passed; arguments are those of `write_`.

    Raises:
        TensorError: if its memory is read-only.
    """
    _kernels = _module()
    size, stride, global_stride, start = _box(tensor, region)
    count, threads = tensor.numel(), torch.get_num_threads()
    # Few enough calls to cost nothing, and at least eight of them where threads have work for that.
    step = count if progress is None else max(_SMALLEST_SLICE, min(_SLICE * threads, count // 8))
    for first in range(0, count, step):
        last = min(first + step, count)
        try:
            _kernels.fill_box(
                _address(tensor),
                _TYPES[tensor.dtype],
                size,
                stride,
                global_stride,
                start,
                first,
                last,
                law.name,
                law.numbers,
                law.left_count,
                law.left,
                law.right,
                key,
                stream,
                instruction_set() or "",
                threads,
            )
        except _kernels.ReadOnlyError as error:
            raise TensorError(_READ_ONLY) from error
        if progress is not None:
            progress(last - first)
    if not tensor.is_inference():
        _increment_version((tensor,))


@functools.cache
def _module() -> Any:
    from goodinit import _kernels

    return _kernels


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # a wrapper of torch.func or a mode has no memory of its own
        return 0


def _box(tensor: torch.Tensor, region: Region | None) -> tuple[list[int], list[int], list[int], int]:
    """Sizes, strides in memory and in the global tensor, in as few dimensions as can be; first index."""
    if (region is None or region.is_whole) and tensor.is_contiguous():
        return [tensor.numel()], [1], [1], 0
    where = Region.whole(tuple(tensor.shape)) if region is None else region
    start, stride = 0, 1
    dims: list[tuple[int, int, int]] = []  # innermost first
    for extent, first, length, step in zip(
        where.shape[::-1], where.start[::-1], where.size[::-1], tensor.stride()[::-1], strict=True
    ):
        start += first * stride
        if length != 1:
            if dims and step == dims[-1][0] * dims[-1][1] and stride == dims[-1][0] * dims[-1][2]:
                dims[-1] = (dims[-1][0] * length, *dims[-1][1:])
            else:
                dims.append((length, step, stride))
        stride *= extent
    if not dims or dims[0][2] != 1:
        dims.insert(0, (1, 1, 1))
    dims.reverse()
    modulus = 2**64  # as the indices themselves wrap
    return [d[0] for d in dims], [d[1] for d in dims], [d[2] % modulus for d in dims], start % modulus
