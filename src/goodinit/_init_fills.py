"""How the drop-in fills: a key from torch's generator, then goodinit's own draws.

`goodinit.init` is the public face. Here is what its functions share: which tensors
get our draws, how arguments are checked (by torch itself, so that types and words of
its errors are its own), and the ``_no_grad_*`` functions that ``torch.nn.init`` has.
"""

# No `from __future__ import annotations`: these signatures equal torch's, and
# inspect.signature compares annotations as objects.

import math
import threading
import warnings
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.compiler import is_compiling

from goodinit.errors import ArgumentError
from goodinit.rng import derive_key, fill_normal_, fill_truncated_normal_, fill_uniform_
from goodinit.rng.memory import check_writable
from goodinit.rng.native import NORMAL, UNIFORM, common, write_common
from goodinit.rng.truncated import FARTHEST_SIGMA

#: Part of every key of the drop-in. It does not name the function: as in torch, the same
#: seed gives `normal_` and `xavier_normal_` the same draws up to their scale.
_NAME = "goodinit.init"

# Powers of two without a zero or a sign, and two numbers in one element: no law fits either.
# Older versions of torch lack them.
_NO_DRAWS = [getattr(torch, name, None) for name in ("float8_e8m0fnu", "float4_e2m1fn_x2")]

_scratch = threading.local()
_CPU = torch.device("cpu")


def gets_our_draws(tensor: Any) -> bool:
    """Return whether goodinit fills this tensor; any other one is torch's to fill or to refuse.

    Torch's are: integers, booleans, floats that are scales or packed pairs, sparse and
    quantized layouts, lazily conjugated views and negated complex ones, tensors whose elements share
    memory by expansion, subclasses that run their own kernels (DTensor, FakeTensor), and
    whatever is traced (`torch.compile`, `torch.vmap`), where a key cannot become a number.
    """
    return (
        isinstance(tensor, Tensor)
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
        and tensor.layout is torch.strided
        and (tensor.is_floating_point() or tensor.is_complex())
        and tensor.dtype not in _NO_DRAWS
        and not (tensor.is_conj() or (tensor.is_neg() and tensor.is_complex()))
        and (
            tensor.is_contiguous()
            or not any(
                step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
            )
        )
    )


def key_from(generator: torch.Generator | None, device: torch.device) -> int:
    """Return a key from one 63-bit draw of the generator, or of the device's default generator.

    Raises:
        RuntimeError: if the generator lives on another device; the words are torch's.
    """
    if device == _CPU:
        draw = _scratch_draw().random_(generator=generator)
    else:
        draw = torch.empty((), dtype=torch.int64, device=device).random_(generator=generator)
    return derive_key(int(draw.item()), _NAME)


def _scratch_draw() -> Tensor:
    """Return what this thread draws keys into, made once since making it takes as long as a small fill."""
    try:
        draw: Tensor = _scratch.draw
    except AttributeError:
        with torch.inference_mode(False):
            draw = torch.empty((), dtype=torch.int64, device="cpu")
        if type(draw) is Tensor:  # a mode may be active that makes others
            _scratch.draw = draw
    return draw


def holds_nothing(tensor: Tensor) -> bool:
    """Return whether there is nothing to write, so that, as in torch, nothing is drawn either."""
    return tensor.is_meta or tensor.numel() == 0


def check_memory(tensor: Any) -> None:
    """Raise a TensorError where a write would end the process; what is traced has no memory yet."""
    if isinstance(tensor, Tensor) and not torch.compiler.is_compiling():
        check_writable(tensor)


def check_by_torch(tensor: Tensor, method: str, *args: Any, **kwargs: Any) -> None:
    """Call the tensor method on an empty tensor of this dtype and device: torch refuses what it refuses."""
    # torch draws in no 8-bit format, so float32 stands for those.
    dtype = torch.float32 if tensor.dtype.itemsize == 1 else tensor.dtype
    getattr(torch.empty(0, dtype=dtype, device=tensor.device), method)(*args, **kwargs)


def _no_grad_uniform_(tensor: Tensor, a: float, b: float, generator: torch.Generator | None = None) -> Tensor:
    if (
        generator is None
        and not is_compiling()
        and common(tensor, 0, 0, a, b)
        and a <= b
        # torch's own bounds, which are the dtype's.
        and (tensor.dtype is torch.float32 or max(-a, b, b - a) <= 65504)
    ):
        key = derive_key(int(_scratch_draw().random_().item()), _NAME)
        return write_common(tensor, key, 0, UNIFORM, a, b - a, b)
    check_memory(tensor)
    with torch.no_grad():
        if not gets_our_draws(tensor):
            return tensor.uniform_(a, b, generator=generator)
        # torch checks the bounds of a complex tensor only where it draws.
        reals = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        check_by_torch(reals, "uniform_", a, b, generator=generator)
        if holds_nothing(tensor):
            return tensor
        low, high = float(a), float(b)
        largest = torch.finfo(tensor.dtype).max
        if max(-low, high) > largest:
            raise ArgumentError(
                f"uniform_: [{low:g}, {high:g}] is out of bounds for {tensor.dtype}, "
                f"whose largest value is {largest:g}"
            )
        fill_uniform_(reals, key_from(generator, tensor.device), low, high)
        return tensor


def _no_grad_normal_(
    tensor: Tensor,
    mean: float,
    std: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    if generator is None and not is_compiling() and common(tensor, 0, 0, mean, std) and std >= 0:
        key = derive_key(int(_scratch_draw().random_().item()), _NAME)
        return write_common(tensor, key, 0, NORMAL, mean, std)
    check_memory(tensor)
    with torch.no_grad():
        if not gets_our_draws(tensor):
            return tensor.normal_(mean, std, generator=generator)
        check_by_torch(tensor, "normal_", mean, std, generator=generator)
        if not holds_nothing(tensor):
            key = key_from(generator, tensor.device)
            if tensor.is_complex():
                # As in torch: the std is that of the complex number, the mean that of either part.
                fill_normal_(torch.view_as_real(tensor), key, float(mean), float(std) / math.sqrt(2.0))
            else:
                fill_normal_(tensor, key, float(mean), float(std))
        return tensor


def _no_grad_trunc_normal_(
    tensor: Tensor,
    mean: float,
    std: float,
    a: float,
    b: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    return fill_truncated(tensor, mean, std, a, b, generator, stacklevel=3)


def fill_truncated(
    tensor: Tensor,
    mean: float,
    std: float,
    a: float,
    b: float,
    generator: torch.Generator | None,
    stacklevel: int,
) -> Tensor:
    """Fill with the truncated normal; `stacklevel` is that of the caller whom a warning shall name."""
    check_memory(tensor)
    if not gets_our_draws(tensor) or tensor.is_complex():
        # torch's rejection loop reads values, which a fake tensor has not; nothing is to be written there.
        if isinstance(tensor, FakeTensor):
            return tensor
        return torch.nn.init.trunc_normal_(tensor, mean, std, a, b, generator=generator)
    if tensor.is_meta:
        return tensor
    outlying = (mean < a - 2 * std) or (mean > b + 2 * std)
    # As in torch, std = 0 ends here in a ZeroDivisionError; and torch alone can draw so far out.
    if max((a - mean) / abs(std), (mean - b) / abs(std)) > FARTHEST_SIGMA:
        return torch.nn.init.trunc_normal_(tensor, mean, std, a, b, generator=generator)
    if outlying:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=stacklevel,
        )
    with torch.no_grad():
        check_by_torch(tensor, "normal_", 0.0, 1.0, generator=generator)
        if a > b:
            check_by_torch(tensor, "uniform_", a, b)
        if not holds_nothing(tensor):
            # torch takes a negative std for its size: its density depends on std² alone.
            key = key_from(generator, tensor.device)
            fill_truncated_normal_(tensor, key, float(mean), abs(float(std)), float(a), float(b))
    return tensor


def _no_grad_fill_(tensor: Tensor, val: float) -> Tensor:
    check_memory(tensor)
    with torch.no_grad():
        return tensor.fill_(val)


def _no_grad_zero_(tensor: Tensor) -> Tensor:
    check_memory(tensor)
    with torch.no_grad():
        return tensor.zero_()
