"""Members: one network for each plan, learning rate and seed, and the tensors that training changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from goodinit.comparing.optimizers import Optimizer
from goodinit.comparing.streams import begin, borrowed
from goodinit.errors import GoodinitError, ModelSourceError, WrongTypeError
from goodinit.plans import Plan
from goodinit.rng import derive_key

__all__ = ["Layout", "Member", "State", "built", "first_state", "layout_of", "planned"]

State = list[torch.Tensor]
"""What training changes, of one member, or of several with the members in the first dimension."""


@dataclass(frozen=True)
class Member:
    """One network to be trained."""

    plan: str
    lr: float
    seed: int


@dataclass(frozen=True)
class Layout:
    """What the tensors of a `State` are, in order.

    Attributes:
        trained: names of the parameters that the optimizer changes.
        kept: names of buffers and frozen parameters, which the forward pass may change.
        slots: names of the optimizer's tensors; each comes once for every trained parameter.
    """

    trained: tuple[str, ...]
    kept: tuple[str, ...]
    slots: tuple[str, ...]

    def split(self, state: Sequence[torch.Tensor]) -> tuple[State, State, list[State]]:
        """Return the trained tensors, the kept ones, and one list for each slot."""
        trained, kept = len(self.trained), len(self.kept)
        rest = state[trained + kept :]
        slots = [list(rest[start : start + trained]) for start in range(0, len(rest), max(1, trained))]
        return list(state[:trained]), list(state[trained : trained + kept]), slots[: len(self.slots)]

    def named(self, state: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return parameters and buffers by name."""
        return dict(zip((*self.trained, *self.kept), state, strict=False))


def built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a new model in training mode; what `build` draws depends on the seed alone.

    A recipe may keep values that the model's author set, such as biases; they are then those of
    ``torch.manual_seed(derive_key(seed, "build"))``, the same for every plan at that seed; Python's
    and NumPy's streams are set likewise.

    Raises:
        WrongTypeError: if build is not callable.
        ModelSourceError: if it fails or returns no module.
    """
    if isinstance(build, nn.Module) or not callable(build):
        raise WrongTypeError(
            "build must be a function without arguments that returns a new model, "
            f"found {type(build).__name__}"
        )
    with borrowed():
        begin(derive_key(seed, "build"))
        try:
            model = build()
        except GoodinitError:
            raise
        except Exception as error:
            raise ModelSourceError(f"build() failed with {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelSourceError(f"build() must return a torch.nn.Module, found {type(model).__name__}")
    return model.train()


def planned(build: Callable[[], nn.Module], plan: Plan, seed: int) -> nn.Module:
    """Return a new model filled by a plan."""
    model = built(build, seed)
    return plan.apply_(model, seed=seed)


def layout_of(model: nn.Module, optimizer: Optimizer) -> Layout:
    """Return the layout of a model's state."""
    parameters = dict(model.named_parameters())
    frozen = [name for name, value in parameters.items() if not value.requires_grad]
    trained = tuple(name for name, value in parameters.items() if value.requires_grad)
    return Layout(trained, (*frozen, *dict(model.named_buffers())), optimizer.slots)


def first_state(
    build: Callable[[], nn.Module], plans: dict[str, Plan], members: Sequence[Member], layout: Layout
) -> State:
    """Return the stacked state of members before the first step; weights do not depend on the rate."""
    made: dict[tuple[str, int], State] = {}
    for member in members:
        where = (member.plan, member.seed)
        if where not in made:
            model = planned(build, plans[member.plan], member.seed)
            named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            made[where] = [named[name].detach() for name in (*layout.trained, *layout.kept)]
    each = [made[member.plan, member.seed] for member in members]
    state = [torch.stack([tensors[index] for tensors in each]) for index in range(len(each[0]))]
    trained = state[: len(layout.trained)]
    return state + [torch.zeros_like(tensor) for _ in layout.slots for tensor in trained]
