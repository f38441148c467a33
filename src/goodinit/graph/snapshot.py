"""Leave a model and the random generators as they were, whatever runs in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy

__all__ = ["eval_mode", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back every module's attributes and all generators' states on the way out.

    Attributes are put back one level deep: rebound names and the contents of dicts,
    lists and sets, and the data that a parameter or buffer holds, where others were put in
    their place. Tensors written in place are the caller's business.
    """
    undo = [_module_state(module) for module in model.modules()]
    held = [
        (tensor, tensor.data) for tensor in (*model.parameters(), *model.buffers()) if not is_lazy(tensor)
    ]
    python, numpy = random.getstate(), np.random.get_state()
    # Asking for the CUDA generators would start CUDA where nobody has used it.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    cpu = torch.get_rng_state()
    try:
        yield
    finally:
        for restore in undo:
            restore()
        for tensor, data in held:
            if _replaced(tensor, data):
                tensor.data = data
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _replaced(tensor: torch.Tensor, data: torch.Tensor) -> bool:
    if isinstance(tensor.data, FakeTensor):
        return not isinstance(data, FakeTensor)
    try:
        return not tensor.is_set_to(data)
    except RuntimeError:  # on the meta device, sparse or distributed
        return False


def _module_state(module: nn.Module) -> Callable[[], None]:
    held: dict[str, Any] = dict(module.__dict__)
    inner: list[tuple[Any, Any]] = []
    for value in held.values():
        if isinstance(value, dict | list | set):
            inner.append((value, value.copy()))

    def restore() -> None:
        now = module.__dict__
        if list(now) != list(held) or any(now[key] is not held[key] for key in held):
            now.clear()
            now.update(held)
        for value, copy in inner:
            if isinstance(value, list):
                if len(value) != len(copy) or any(a is not b for a, b in zip(value, copy, strict=True)):
                    value[:] = copy
            elif isinstance(value, dict):
                if list(value) != list(copy) or any(value[key] is not copy[key] for key in copy):
                    value.clear()
                    value.update(copy)
            elif value != copy:
                value.clear()
                value.update(copy)

    return restore


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to evaluation, and back to what each one was."""
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(setattr, module, "training", module.training)
            module.training = False
        yield
