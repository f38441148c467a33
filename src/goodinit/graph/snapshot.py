"""Leave a model and the random generators as they were, whatever runs in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy

from goodinit.graph.contents import restorers, restorers_of_objects

__all__ = ["eval_mode", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back every module's attributes and all generators' states on the way out.

    Attributes are put back: rebound names, what lists, dicts, sets, plain tensors and generators hold, at any
    depth, the attributes of other objects, and the data that a parameter or buffer holds, where
    others were put in their place.
    """
    attributes = [vars(module) for module in model.modules()]
    undo = restorers(attributes) + restorers_of_objects(v for own in attributes for v in own.values())
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


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to evaluation, and back to what each one was."""
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(setattr, module, "training", module.training)
            module.training = False
        yield
