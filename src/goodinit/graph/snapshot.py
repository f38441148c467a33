"""Leave a model and the random generators as they were, whatever runs in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from goodinit.graph.contents import replaced, restorers_of_model

__all__ = ["eval_mode", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back every module's attributes and all generators' states on the way out.

    Attributes are put back: rebound names, what lists, dicts, sets, plain tensors and generators hold, at any
    depth, the attributes of other objects, and the data that a parameter holds, where other data were
    put in their place. Parameters written in place are the caller's business.
    """
    undo = restorers_of_model(model)
    held = [(parameter, parameter.data) for parameter in model.parameters() if not is_lazy(parameter)]
    python, numpy = random.getstate(), np.random.get_state()
    # Asking for the CUDA generators would start CUDA where nobody has used it.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    cpu = torch.get_rng_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for restore in undo:
                restore()
            for parameter, data in held:
                if replaced(parameter, data):
                    parameter.data = data
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to evaluation, and back to what each one was."""
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(setattr, module, "training", module.training)
            module.training = False
        yield
