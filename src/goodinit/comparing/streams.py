"""The random streams that a model may draw from while it runs: torch's, Python's and NumPy's."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from goodinit.rng import derive_key

__all__ = ["begin", "borrowed", "others", "step_key"]


def step_key(seed: int, step: int) -> int:
    """Return what the streams are set to before a step, whatever the plan, the rate and the engine."""
    return derive_key(seed, f"step/{step}")


def begin(key: int) -> None:
    """Set all streams from a key below 2**64."""
    if torch.accelerator.is_available():
        torch.manual_seed(key)
    else:
        # Which in a build for CUDA writes down a stack trace for every call.
        torch.default_generator.manual_seed(key)
    random.seed(key)
    np.random.seed(key % 2**32)


@contextmanager
def borrowed() -> Iterator[None]:
    """Give all streams back as they were found.

    >>> before = others()
    >>> with borrowed():
    ...     begin(7)
    >>> others() == before
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def others() -> bytes:
    """Return where the streams stand that are not torch's."""
    return pickle.dumps((random.getstate(), np.random.get_state()))
