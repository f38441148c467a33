"""One small run of each experiment for the whole session."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from goodinit import lab
from goodinit.records import ExperimentResult


def _states() -> tuple[object, ...]:
    return random.getstate(), repr(np.random.get_state()), torch.random.get_rng_state().tolist()


@pytest.fixture(scope="session")
def small_run() -> Callable[[str], tuple[ExperimentResult, bool]]:
    """Return the run of a name at its smallest size, and whether the random states were left alone."""

    @functools.cache
    def made(name: str) -> tuple[ExperimentResult, bool]:
        before = _states()
        result = lab.run(name, "small")
        return result, before == _states()

    return made
