"""Leave a model and the random generators exactly as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from goodinit.graph.contents import restorers_of_model
from goodinit.signals.probing.writes import Writes

__all__ = ["accelerators", "kept_generators", "kept_model"]


@contextmanager
def kept_model(model: nn.Module) -> Iterator[list[str]]:
    """Restore parameters, buffers, modes, flags, hooks and attributes on leaving, after an exception too.

    Gradients are asked for with `torch.autograd.grad`, which leaves `.grad` and everything hooked to
    its accumulation alone. Objects of other classes that hang on a module get their attributes back;
    what the model changes deeper inside of them stays changed. The list tells, afterwards, what the
    model's own forward pass did that is worth knowing.
    """
    notes: list[str] = []
    undo = restorers_of_model(model)
    held = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    writes = Writes(model)
    try:
        with writes:
            yield notes
    finally:
        with torch.no_grad():
            for restore in undo:
                restore()
            if writes.undo():
                notes.append("The model's own forward pass wrote to its parameters; they were put back.")
        for parameter, gradient, flag in held:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
            if parameter.grad is not gradient:
                parameter.grad = gradient


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
