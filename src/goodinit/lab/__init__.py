"""Experiments that teach: each a question, a run over the public API, pictures, and the measured answer.

Example:
    >>> from goodinit import lab
    >>> lab.names()[0]
    'xavier-by-hand'
"""

from __future__ import annotations

import importlib

from goodinit.errors import UnknownNameError, did_you_mean
from goodinit.lab.drawing import weights_vp
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.records import ExperimentResult

__all__ = ["Experiment", "Found", "Size", "find", "names", "run", "weights_vp"]

# In the order in which they are read; an experiment `a-b` is `EXPERIMENT` of the module `a_b`.
_NAMES = (
    "xavier-by-hand",
    "whole-model",
    "garbage",
    "kernel-moments",
    "relu-halves",
    "three-roads",
    "building-blocks",
    "recurrent-start",
    "violins",
    "sigmoid-vanishes",
    "glorot-condition",
    "chosen-layer",
    "textbook-gains",
    "torch-default-by-depth",
    "saxe",
    "side-by-side",
    "xavier-on-s4",
    "kaiming-on-s4",
    "tanh-unsteady",
    "dead-relu",
    "seed-lottery",
    "depth-sweep",
    "he-2015",
    "batch-norm-irrelevant",
    "residual-scaling",
    "forget-bias",
    "drift",
    "mup-widths",
)


def names() -> tuple[str, ...]:
    """Return the names of all experiments, in the order in which they are read."""
    return _NAMES


def find(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        UnknownNameError: if there is none.

    >>> find("sigmoid-vanishes").covers
    ('S4.2',)
    """
    if name not in _NAMES:
        raise UnknownNameError(
            f"experiment: there is no {name!r}{did_you_mean(name, _NAMES)}; goodinit lab list shows all"
        )
    found: Experiment = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT
    return found


def run(name: str, size: Size = "default") -> ExperimentResult:
    """Run the experiment of that name; see `Experiment.run`."""
    return find(name).run(size)
