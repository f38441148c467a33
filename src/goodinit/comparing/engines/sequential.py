"""Plain PyTorch: members one after another, with the model's own forward pass and torch's own optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from goodinit.comparing.inputs import Batch, called, rows
from goodinit.comparing.members import Layout, Member, State
from goodinit.comparing.objectives import Objective
from goodinit.comparing.optimizers import Optimizer
from goodinit.comparing.streams import begin, borrowed, step_key

__all__ = ["loaded", "sequential"]


def loaded(model: nn.Module, layout: Layout, state: Sequence[torch.Tensor]) -> nn.Module:
    """Write one member's parameters and buffers into a model and return it."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in layout.named(state).items():
            named[name].copy_(value)
    return model


def sequential(
    model: nn.Module,
    layout: Layout,
    optimizer: Optimizer,
    loss: Objective,
    members: Sequence[Member],
    factors: Sequence[float],
    data: Batch,
    order: Callable[[int, int], torch.Tensor],
) -> Callable[[State, int, int], State]:
    """Return the function (state, first, last) -> state that trains members one after another.

    Before every step the random streams are set from (seed, step), so that dropout too is the same
    for all plans at one seed, whatever was run before.

    Args:
        model: a model to load members into; it is changed.
        layout: what the state's tensors are.
        optimizer: what a step does.
        loss: what it minimizes.
        members: rates and seeds.
        factors: of the rate, for each step.
        data: training inputs and targets.
        order: (first, last) -> batches of shape (members, steps, batch).
    """
    inputs, targets = data

    def advance(state: State, first: int, last: int) -> State:
        batches = order(first, last)
        after = [
            _trained([tensor[index] for tensor in state], member, batches[index], first)
            for index, member in enumerate(members)
        ]
        return [torch.stack(list(tensors)) for tensors in zip(*after, strict=True)]

    def _trained(state: State, member: Member, batches: torch.Tensor, first: int) -> State:
        loaded(model, layout, state).train()
        parameters = dict(model.named_parameters())
        trained = [parameters[name] for name in layout.trained]
        rule = optimizer.of_torch({name: parameters[name] for name in layout.trained}, member.lr)
        _, _, slots = layout.split(state)
        if first:
            for index, parameter in enumerate(trained):
                kept = {name: slots[at][index].clone() for at, name in enumerate(layout.slots)}
                rule.state[parameter] = (
                    kept if optimizer.name == "sgd" else {**kept, "step": torch.tensor(float(first))}
                )
        with borrowed():
            for step, batch in enumerate(batches, first):
                begin(step_key(member.seed, step))
                for group in rule.param_groups:
                    group["lr"] = member.lr * factors[step]
                rule.zero_grad()
                loss(called(model, rows(inputs, batch)), targets[batch]).reshape(()).backward()
                rule.step()
        named = {**parameters, **dict(model.named_buffers())}
        slots_after = [
            rule.state[parameter].get(name, torch.zeros_like(parameter))
            for name in layout.slots
            for parameter in trained
        ]
        return [*(named[name].detach().clone() for name in (*layout.trained, *layout.kept)), *slots_after]

    return advance
