"""Leave a model and the random generators exactly as they were."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["accelerators", "kept_generators", "kept_model"]

# Containers of a module that a forward pass may write to; they are restored to the same contents.
_KEPT = (
    *("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"),
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called"),
)


@contextmanager
def kept_model(model: nn.Module) -> Iterator[None]:
    """Restore buffers, modes, flags, hooks and attributes on leaving, after an exception too.

    Parameters are not copied (that would double the memory): nothing here writes to
    them. Gradients are asked for with `torch.autograd.grad`, which leaves `.grad`
    and everything hooked to its accumulation alone. Attributes are put back by
    reference: a list or an object that the model changes inside stays changed.
    """
    modules = list(model.modules())
    held = [
        (
            module,
            dict(vars(module)),
            {name: copy.copy(vars(module)[name]) for name in _KEPT if name in vars(module)},
        )
        for module in modules
    ]
    copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for buffer in (buffer for module in modules for buffer in module._buffers.values()):
        if buffer is not None and id(buffer) not in copies:
            copies[id(buffer)] = (buffer, buffer.detach().clone())
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in copies.values():
                if buffer.shape != kept.shape:
                    buffer.resize_(kept.shape)
                buffer.copy_(kept)
        for module, attributes, contents in held:
            vars(module).clear()
            vars(module).update(attributes)
            for name, content in contents.items():
                attributes[name].clear()
                attributes[name].update(content)
        for parameter, flag in flags:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)


def accelerators(model: nn.Module) -> list[torch.device]:
    """Return the devices other than the CPU that hold parameters or buffers."""
    found = {
        t.device for t in (*model.parameters(), *model.buffers()) if t.device.type not in ("cpu", "meta")
    }
    return sorted(found, key=str)


@contextmanager
def kept_generators(seed: int, devices: list[torch.device]) -> Iterator[None]:
    """Seed torch's, Python's and NumPy's global generators, and put them back on leaving."""
    import numpy as np

    python, numpy_state = random.getstate(), np.random.get_state()
    cpu = torch.get_rng_state()
    held: list[tuple[Any, torch.device, torch.Tensor]] = []
    for device in devices:
        backend = getattr(torch, device.type, None)
        if backend is not None and hasattr(backend, "get_rng_state"):
            state = backend.get_rng_state() if device.type == "mps" else backend.get_rng_state(device)
            held.append((backend, device, state))
    try:
        # Not torch.manual_seed: it would also seed, for good, devices that this model does not use.
        torch.default_generator.manual_seed(seed)
        for backend, device, _ in held:
            if device.type == "mps":
                backend.manual_seed(seed)
            else:
                backend.default_generators[device.index or 0].manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(cpu)
        for backend, device, state in held:
            if device.type == "mps":
                backend.set_rng_state(state)
            else:
                backend.set_rng_state(state, device)
