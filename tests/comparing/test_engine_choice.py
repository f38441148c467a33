"""Which engine is taken, and what is told of the others."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from goodinit.comparing import compare
from goodinit.errors import ArgumentError

Pair = tuple[torch.Tensor, torch.Tensor]


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def regression() -> Pair:
    x = numbers(50, 2)
    return x, 2 * x[:, :1] ** 2 - x[:, 1:] ** 2


def images() -> Pair:
    return numbers(40, 2, 6, 6), torch.arange(40) % 3


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        out: torch.Tensor = self.b(h.relu() if h.mean() > 0 else h.tanh())
        return out


class Writing(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        h[:, 0] = 0
        out: torch.Tensor = self.b(h.relu_())
        return out


class Selecting(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        out: torch.Tensor = self.b(h) + h[h > 0].mean()
        return out


class Leaving(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        out: torch.Tensor = self.b(h) + torch.from_numpy(h.detach().numpy()).mean()
        return out


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Rounding(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.b(Straight.apply(self.a(x)))
        return out


class Checkpointing(Branching):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.b(checkpoint(lambda h: self.a(h).tanh(), x, use_reentrant=False))
        return out


class Halved(Branching):
    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()


class Counting(Branching):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.b(self.a(x) * self.calls)
        return out


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Branching, "depend on values"),
        (Counting, "not do the same twice"),
        (Writing, "changes part of a tensor in place"),
        (Selecting, "shapes depend on values"),
        (Leaving, "takes tensors out of torch"),
        (Rounding, "autograd.Function without setup_context"),
        (Checkpointing, "uses checkpointing"),
        (Halved, "bfloat16, to which each member's rate would be rounded"),
    ],
)
def test_what_cannot_be_stacked_is_trained_in_turn_and_the_reason_is_told(
    build: type[nn.Module], reason: str
) -> None:
    made = compare(build, ["torch"], regression(), seeds=2, steps=3, lr=0.1)
    assert made.notes[0].startswith("engine: sequential")
    assert any(reason in note for note in made.notes), made.notes
    with pytest.raises(ArgumentError, match=reason):
        compare(build, ["torch"], regression(), seeds=2, steps=3, lr=0.1, engine="stacked")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.LSTM(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.body(x)[0][:, -1])
        return out


def convolutions(width: int) -> nn.Module:
    """A Conv2d of 2 × 3 × 3 × width multiplications at 16 places of 28 examples, and one back."""
    return nn.Sequential(
        nn.Conv2d(2, width, 3), nn.ReLU(), nn.ConvTranspose2d(width, 1, 1), nn.Flatten(), nn.Linear(16, 3)
    )


SLOW_STACKED = {
    "of 4.3 million multiplications a batch are faster one after another": functools.partial(
        convolutions, 500
    ),
    "into its time steps, LSTM takes longer": Recurrent,
}


@pytest.mark.parametrize("reason", SLOW_STACKED)
def test_what_is_slower_stacked_is_stacked_only_where_that_is_asked_for(reason: str) -> None:
    data = (numbers(40, 6, 1), numbers(40, 1)) if "LSTM" in reason else images()
    notes = {
        engine: compare(SLOW_STACKED[reason], ["torch"], data, seeds=2, steps=2, lr=0.1, engine=engine).notes
        for engine in ("auto", "stacked")
    }
    assert notes["auto"][0].startswith("engine: sequential")
    assert reason in notes["auto"][1]
    assert notes["stacked"][0] == "engine: stacked"


def test_small_convolutions_are_stacked() -> None:
    made = compare(functools.partial(convolutions, 2), ["torch"], images(), seeds=2, steps=2, lr=0.1)
    assert made.notes[0] == "engine: stacked"
