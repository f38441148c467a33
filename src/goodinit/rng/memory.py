"""Whether a tensor's memory can be written, asked before the first write; no byte of it changes.

A write to memory that is freed, too small or read-only ends the process, and one to elements that lie
at one address leaves other values than the caller was promised. Each is one error instead.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os

import numpy as np
import torch

from goodinit.errors import TensorError

__all__ = ["check_apart", "check_writable"]


def check_apart(tensor: torch.Tensor) -> None:
    """Raise unless every element of a strided tensor has memory of its own.

    Raises:
        TensorError: if two elements lie at one address.

    >>> check_apart(torch.empty(2, 3).T)
    """
    if not tensor.is_contiguous() and _overlaps(tuple(tensor.shape), tensor.stride()):
        raise TensorError(
            f"cannot fill a tensor whose elements share memory (shape {tuple(tensor.shape)}, "
            f"strides {tensor.stride()}): clone() it first"
        )


def check_writable(tensor: torch.Tensor) -> None:
    """Raise where a write to a tensor on the CPU would end the process.

    The storage must hold every element. Memory that torch has not allocated itself (mapped files, buffers
    of other libraries) is tried at its first and last byte; tensors without memory of their own, such as
    those of other devices, of torch.func and of subclasses with kernels of their own, are not looked at.

    Raises:
        TensorError: if the storage is freed or too small, or the memory is read-only.
        RuntimeError: as torch, if it is an inference tensor and its mode is not active.

    >>> check_writable(torch.empty(2))
    """
    if (
        tensor.layout != torch.strided
        or tensor.is_nested
        or type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
        or tensor.is_meta
        or tensor.numel() == 0
    ):
        return
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        # torch refuses after it has written; here there is nothing to write.
        tensor.as_strided((0,), (1,)).zero_()
    if not tensor.is_cpu:
        return
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # a wrapper of torch.func
        return
    item = tensor.element_size()
    if tensor.is_contiguous():
        reach = tensor.numel()
    else:
        reach = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    needed, held = (tensor.storage_offset() + reach) * item, storage.nbytes()
    if held < needed:
        if tensor._is_zerotensor():  # torch says what it is
            return
        raise TensorError(
            f"cannot fill a tensor that needs a storage of {needed} bytes and has one of {held}: it was "
            "freed or made smaller, as FSDP does with gathered parameters; give it its memory back first"
        )
    if not storage.resizable():
        first = tensor.data_ptr()
        if not (_can_write(first) and _can_write(first + reach * item - 1)):
            raise TensorError("cannot fill a tensor whose memory is read-only: clone() it first")


def _can_write(address: int) -> bool:
    """Whether a byte can be written: the system copies it out and back again, or says that it cannot."""
    if not hasattr(os, "readv"):
        return True
    byte = (ctypes.c_char * 1).from_address(address)
    try:
        out, into = os.pipe()
    except OSError:  # no more files may be opened: what cannot be asked is not refused
        return True
    try:
        os.write(into, byte)
        os.readv(out, [byte])
    except OSError as error:
        return error.errno != errno.EFAULT
    finally:
        os.close(out)
        os.close(into)
    return True


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements lie at one address."""
    if math.prod(shape) < 2:
        return False
    reach, nested = 0, True
    for stride, extent in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride == 0:
            return True
        nested = nested and stride > reach
        reach += stride * (extent - 1)
    if nested:
        return False
    if reach + 1 < math.prod(shape):
        return True
    # Strides that do not nest may still be free of overlap, such as (3, 2) for shape (2, 3): count.
    addresses = np.zeros(1, np.int64)
    for stride, extent in zip(strides, shape, strict=True):
        addresses = (addresses[:, None] + np.arange(extent) * stride).reshape(-1)
    return bool(np.unique(addresses).size < addresses.size)
