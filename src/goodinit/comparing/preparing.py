"""What all chunks of a run share: the model, and its step in the engine's form. Made once in a process."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.fx import GraphModule

from goodinit.comparing.engines.compiled.running import Step, compile_step
from goodinit.comparing.engines.draws import Draw, taken_out
from goodinit.comparing.engines.step import NotStackable, one_step, refuse_random, traced
from goodinit.comparing.evaluation import Shapes
from goodinit.comparing.inputs import called, leaves, rows
from goodinit.comparing.members import Layout, State, built, layout_of
from goodinit.comparing.training import Training

__all__ = ["Prepared", "prepared"]


@dataclass(frozen=True)
class Prepared:
    """A model to load members into, and one member's step.

    Attributes:
        model: of the members' kind.
        layout: of a member's state.
        dtype: of the first trained parameter.
        graph: the step as operations; None where members train one after another.
        draws: the random numbers that it is given.
        step: the step compiled; None in other engines.
        together: the step for so many members, as far as it has been made.
        forwards: forward passes by shape of input, likewise.
    """

    model: nn.Module
    layout: Layout
    dtype: torch.dtype
    graph: GraphModule | None = None
    draws: tuple[Draw, ...] = ()
    step: Step | None = None
    together: dict[int, GraphModule] = field(default_factory=dict)
    forwards: dict[Shapes, GraphModule] = field(default_factory=dict)


# Of the latest run.
_latest: dict[tuple[str, str], Prepared] = {}
# The graph of the latest run, which two engines may be tried with.
_graphs: dict[str, GraphModule] = {}


def prepared(training: Training) -> Prepared:
    """Return what a run's chunks share.

    Raises:
        NotStackable: if the engine cannot take the model.
    """
    name = (training.key, training.engine)
    if name not in _latest:
        made = _prepare(training)
        _latest.clear()
        _latest[name] = made
    return _latest[name]


def _prepare(training: Training) -> Prepared:
    model = built(training.build, 0)
    layout = layout_of(model, training.optimizer)
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    dtype = named[layout.trained[0]].dtype
    if training.engine == "sequential":
        return Prepared(model, layout, dtype)
    if dtype.itemsize < 4:
        raise NotStackable(f"its parameters are {dtype}, to which each member's rate would be rounded")
    state = _state(layout, named)
    x, y = rows(training.train, slice(training.batch_size))
    scalars = [torch.ones((), dtype=dtype) for _ in training.optimizer.scalars(1.0, 0)]
    example = [*state, *scalars, *leaves(x).values(), y]
    if training.key not in _graphs:
        graph = traced(one_step(model, training.loss, training.optimizer, layout, x), example)
        _graphs.clear()
        _graphs[training.key] = graph
    graph = _graphs[training.key]
    if training.engine == "compiled":
        refuse_random(graph, "trains")
        step = compile_step(graph, example, len(state), len(scalars))
        return Prepared(model, layout, dtype, graph, step=step)
    plain = built(training.build, 0)
    graph, draws = taken_out(graph, lambda: training.loss(called(plain, x), y))
    return Prepared(model, layout, dtype, graph, draws)


def _state(layout: Layout, named: dict[str, torch.Tensor]) -> State:
    tensors = [named[name].detach().clone() for name in (*layout.trained, *layout.kept)]
    return tensors + [
        torch.zeros_like(tensors[at]) for _ in layout.slots for at in range(len(layout.trained))
    ]
