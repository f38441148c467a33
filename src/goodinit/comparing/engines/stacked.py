"""All members at once: the operations of one member's step, each on tensors that hold every member."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.func import vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from goodinit.comparing.engines.draws import Draw, draw_for
from goodinit.comparing.engines.step import NotStackable, plain_kernels, reason
from goodinit.comparing.inputs import Batch, leaves
from goodinit.comparing.members import Member, State
from goodinit.comparing.optimizers import Optimizer
from goodinit.comparing.streams import borrowed

__all__ = ["scalar_table", "stacked"]


def scalar_table(
    optimizer: Optimizer, rates: Sequence[float], factors: Sequence[float], first: int, last: int
) -> torch.Tensor:
    """Return the optimizer's numbers as float64 of shape (steps, rates, numbers)."""
    rows = [[optimizer.scalars(rate * factors[step], step) for rate in rates] for step in range(first, last)]
    return torch.tensor(rows, dtype=torch.float64)


def stacked(
    graph: GraphModule,
    draws: Sequence[Draw],
    known: dict[int, GraphModule],
    optimizer: Optimizer,
    members: Sequence[Member],
    factors: Sequence[float],
    data: Batch,
    order: Callable[[int, int], torch.Tensor],
    dtype: torch.dtype,
) -> Callable[[State, int, int], State]:
    """Return the function (state, first, last) -> state that trains members together.

    Args:
        graph: one member's step (`one_step`, traced, its draws taken out).
        draws: its random numbers, the same for all members of a seed.
        known: that step for so many members, as far as it has been made.
        optimizer: what the step does.
        members: rates and seeds.
        factors: of the rate, for each step.
        data: training inputs and targets.
        order: (first, last) -> batches of shape (members, steps, batch).
        dtype: of the parameters.

    Raises:
        NotStackable: when the first step runs, if torch cannot do an operation for all members.
    """
    examples = (*leaves(data[0]).values(), data[1])
    rates = [member.lr for member in members]
    seeds = list(dict.fromkeys(member.seed for member in members))
    rows = torch.tensor([seeds.index(member.seed) for member in members])

    def advance(state: State, first: int, last: int) -> State:
        batches = order(first, last)
        scalars = scalar_table(optimizer, rates, factors, first, last).to(dtype)
        with borrowed():
            for step in range(first, last):
                batch = batches[:, step - first].long()
                drawn = [each[rows] for each in draw_for(draws, seeds, step)]
                seen = (tensor[batch] for tensor in examples)
                flat = [*state, *scalars[step - first].unbind(1), *seen, *drawn]
                if len(members) not in known:
                    known[len(members)] = _together(graph, flat)
                state = list(known[len(members)](*flat))[:-1]
        return state

    return advance


def _together(graph: GraphModule, flat: Sequence[torch.Tensor]) -> GraphModule:
    """Return the step of one member as operations on all members."""
    with plain_kernels():
        try:
            return make_fx(vmap(graph))(*flat)
        except Exception as error:
            raise NotStackable(reason(error, "do its step for all members")) from error
