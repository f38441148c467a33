"""What members have learned: losses, the metric, and whether an output still depends on its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.func import vmap
from torch.fx import GraphModule

from goodinit.comparing.engines.sequential import loaded
from goodinit.comparing.engines.step import plain_kernels, refuse_random, traced
from goodinit.comparing.inputs import Batch, Inputs, blocks, called, leaves, rebuilt
from goodinit.comparing.members import Layout, State
from goodinit.comparing.objectives import Objective
from goodinit.comparing.streams import begin, borrowed

__all__ = ["Scores", "Shapes", "evaluate"]

#: Examples times members in one forward pass; bounds the memory of activations.
BLOCK = 2**16

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Scores:
    """float64 of one number for each member; `dead` says whose output is constant."""

    train: torch.Tensor
    test: torch.Tensor
    metric: torch.Tensor
    dead: torch.Tensor


def evaluate(
    model: nn.Module,
    layout: Layout,
    state: State,
    loss: Objective,
    metric: Objective,
    train: Batch,
    test: Batch,
    *,
    keys: Sequence[int],
    together: bool,
    known: dict[Shapes, GraphModule],
) -> Scores:
    """Return the scores of all members, in evaluation mode.

    Args:
        model: a model of the members' kind; where not `together`, members are loaded into it.
        layout: what the state's tensors are.
        state: of all members.
        loss: of (outputs of all examples, targets).
        metric: likewise, on the test set.
        train: inputs and targets.
        test: inputs and targets.
        keys: what the random streams are set to for each member, which may draw even in evaluation mode.
        together: run all members at once.
        known: forward passes by shape of input, as far as they had to be traced.
    """
    mode = model.training
    model.eval()
    try:
        with torch.no_grad(), borrowed():
            run = partial(_together, known) if together else partial(_in_turn, keys)
            seen, unseen = (run(model, layout, state, inputs) for inputs, _ in (train, test))
            return Scores(
                _each(loss, seen, train[1]),
                _each(loss, unseen, test[1]),
                _each(metric, unseen, test[1]),
                torch.tensor([_constant(output) for output in seen]),
            )
    finally:
        model.train(mode)


def _together(
    known: dict[Shapes, GraphModule],
    model: nn.Module,
    layout: Layout,
    state: State,
    inputs: Inputs,
) -> torch.Tensor:
    members = state[: len(layout.trained) + len(layout.kept)]

    def forward(*tensors: torch.Tensor) -> torch.Tensor:
        x = rebuilt(inputs, tensors[len(members) :])
        output: torch.Tensor = called(model, x, layout.named(tensors))
        return output

    def all_members(block: Sequence[torch.Tensor]) -> torch.Tensor:
        places = (*(0 for _ in members), *(None for _ in block))
        shape = tuple(tuple(tensor.shape) for tensor in block)
        try:
            forward_pass = known.get(shape, forward)
            found: torch.Tensor = vmap(forward_pass, in_dims=places)(*members, *block)
        except RuntimeError:
            if shape in known:
                raise
            # Layers that torch runs as one operation, such as LSTMs, come apart when they are traced.
            graph = traced(forward, [*(tensor[0] for tensor in members), *block])
            known[shape] = refuse_random(graph, "is evaluated")
            found = vmap(known[shape], in_dims=places)(*members, *block)
        return found

    with plain_kernels():
        size = max(1, BLOCK // len(state[0]))
        return torch.cat([all_members([*leaves(block).values()]) for block in blocks(inputs, size)], 1)


def _in_turn(
    keys: Sequence[int], model: nn.Module, layout: Layout, state: State, inputs: Inputs
) -> Sequence[torch.Tensor]:
    outputs = []
    for index, key in enumerate(keys):
        begin(key)
        loaded(model, layout, [tensor[index] for tensor in state])
        outputs.append(torch.cat([called(model, block) for block in blocks(inputs, BLOCK)]))
    return outputs


def _each(
    objective: Objective, outputs: torch.Tensor | Sequence[torch.Tensor], targets: torch.Tensor
) -> torch.Tensor:
    """Return a loss or metric of every member as float64."""
    if isinstance(outputs, torch.Tensor) and not objective.own:
        together: torch.Tensor = vmap(objective, in_dims=(0, None))(outputs, targets)
        return together.double()
    # The user's own may write into what it is given.
    each = [float(objective(output.clone(), targets.clone())) for output in outputs]
    return torch.tensor(each, dtype=torch.float64)


def _constant(output: torch.Tensor) -> bool:
    """Say whether an output is the same for all examples, up to the rounding of its last operations."""
    if not output.is_floating_point() or not bool(output.isfinite().all()):
        return False
    spread = (output.amax(0) - output.amin(0)).max()
    return bool(spread <= 8 * torch.finfo(output.dtype).eps * output.abs().max())
