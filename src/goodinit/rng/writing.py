"""Writing addressed values into a tensor, chunk by chunk.

Neither the chunks nor the threads change a value: each value depends on its own address alone.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from goodinit.errors import ArgumentError, TensorError, WrongTypeError
from goodinit.rng import gpu, native
from goodinit.rng.elementary import Floats
from goodinit.rng.memory import check_apart, check_writable
from goodinit.rng.region import Region

__all__ = ["Draw", "Progress", "check_fillable", "is_fake", "write_"]

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of elements written since the last call."""

Draw: TypeAlias = Callable[[npt.NDArray[np.uint64]], Floats]
"""Blocks (n,) to the values of their elements (4, n)."""

# Elements per chunk: its work arrays, about 30 bytes an element, stay in a second-level cache, and
# the cost of calling NumPy is spread over enough elements.
_CHUNK = 1 << 16
# Below this many chunks starting threads costs more than it saves.
_THREADED_FROM = 4

_FLOATS = frozenset(
    getattr(torch, name)
    for name in (
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
    )
    if hasattr(torch, name)
)


def check_fillable(tensor: torch.Tensor) -> None:
    """Raise unless the ``fill_`` functions can write to this tensor; nothing is written.

    Args:
        tensor: any tensor, meta tensors included.

    Raises:
        WrongTypeError: if it is no tensor.
        TensorError: if its dtype is not floating, it is not strided, or its elements share memory.

    >>> check_fillable(torch.empty(2))
    """
    if not isinstance(tensor, torch.Tensor):
        raise WrongTypeError(f"tensor must be a torch.Tensor, found {type(tensor).__name__}")
    if tensor.dtype not in _FLOATS:
        raise TensorError(
            f"cannot fill a tensor of dtype {tensor.dtype} with random values: use a floating dtype"
        )
    if tensor.layout != torch.strided:
        raise TensorError(f"cannot fill a tensor of layout {tensor.layout}: make it dense first")
    if tensor.is_nested:
        raise TensorError("cannot fill a nested tensor: fill the tensors of its unbind()")
    check_apart(tensor)


def write_(
    tensor: torch.Tensor,
    key: int,
    stream: int,
    region: Region | None,
    progress: Progress | None,
    draw: Draw,
    law: native.Law | None,
) -> torch.Tensor:
    """Write a law's values into a tensor that `check_fillable` has passed.

    The kernels write where they can, from `law`; else NumPy does, from `draw`, and a copy follows. Meta
    and fake tensors stay as they are.

    Raises:
        WrongTypeError: if key or stream is no integer.
        ArgumentError: if key or stream is out of range, or the region's size is not the tensor's shape.
        TensorError: if its memory is freed or read-only.
    """
    _check_address(key, stream)
    if region is not None and region.size != tuple(tensor.shape):
        raise ArgumentError(
            f"region.size must be the tensor's shape, found {region.size} and {tuple(tensor.shape)}: "
            "pass the box of the global tensor that this tensor holds"
        )
    if tensor.is_meta or is_fake(tensor) or tensor.numel() == 0:
        return tensor
    check_writable(tensor)
    if law is not None and native.can_write(tensor):
        native.write_box(tensor, key, stream, region, law, progress)
        return tensor
    if law is not None and gpu.can_write(tensor, law):
        gpu.write_box(tensor, key, stream, region, law, progress)
        return tensor
    where = Region.whole(tuple(tensor.shape)) if region is None else region
    target = tensor.detach()
    inference = torch.is_inference_mode_enabled()

    def write(chunk: tuple[tuple[int | slice, ...], Region]) -> int:
        index, box = chunk
        # Both modes belong to a thread. A law whose values leave the dtype gives infinities, as torch's
        # own fillers do.
        with torch.inference_mode(inference), torch.no_grad(), np.errstate(over="ignore"):
            view = target[index]
            values = torch.empty(view.shape, dtype=target.dtype, device="cpu")
            # Memory that the kernels cannot reach, such as a GPU's, gets a copy of what they write here.
            if law is not None and native.can_write(values):
                native.write_box(values.view(box.size), key, stream, box, law, None)
            else:
                values = torch.from_numpy(_box_values(box, draw)).view(view.shape)
            view.copy_(values)
        return box.numel

    chunks = where.chunks(_CHUNK)
    threads = torch.get_num_threads()
    if threads > 1 and where.numel >= _THREADED_FROM * _CHUNK:
        done = _run_threads(write, chunks, threads)
    else:
        done = map(write, chunks)
    for count in done:
        if progress is not None:
            progress(count)
    return tensor


def _run_threads(
    write: Callable[[Any], int], chunks: Iterator[tuple[tuple[int | slice, ...], Region]], threads: int
) -> Iterator[int]:
    """Like map(write, chunks), with few chunks in flight so that a huge tensor needs no long queue."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[int]] = deque(
            pool.submit(write, chunk) for chunk in itertools.islice(chunks, 2 * threads)
        )
        while pending:
            yield pending.popleft().result()
            for chunk in itertools.islice(chunks, 1):
                pending.append(pool.submit(write, chunk))


def _box_values(box: Region, draw: Draw) -> npt.NDArray[Any]:
    """Values of a box in local row-major order; each Philox block of a run is evaluated once."""
    starts, length = box.runs()
    offsets = (starts & np.uint64(3)).astype(np.intp)
    per_run = (length + int(offsets.max()) + 3) // 4
    blocks = (starts >> np.uint64(2))[:, None] + np.arange(per_run, dtype=np.uint64)
    values = draw(blocks.reshape(-1)).T.reshape(starts.size, per_run * 4)
    first = int(offsets[0])
    if (offsets == first).all():
        return np.ascontiguousarray(values[:, first : first + length])
    out = np.empty((starts.size, length), values.dtype)
    for offset in np.unique(offsets).tolist():
        rows = offsets == offset
        out[rows] = values[rows, offset : offset + length]
    return out


def _check_address(key: int, stream: int) -> None:
    if type(key) is int and type(stream) is int and 0 <= key < 2**64 and 0 <= stream < 2**32:
        return
    for name, value, limit in (("key", key, 64), ("stream", stream, 32)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongTypeError(f"{name} must be an integer, found {type(value).__name__}")
        if not 0 <= value < 2**limit:
            raise ArgumentError(f"{name} must be in [0, 2**{limit}), found {value}")


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a shape and no memory; its class is only looked up where torch has loaded it."""
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)
