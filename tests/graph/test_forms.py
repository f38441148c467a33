"""Layers that do the same have one form, so that they are run again once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from goodinit.graph import Graph, replaying, trace
from goodinit.graph.drawing import Budget
from goodinit.graph.forms import form_of
from goodinit.graph.mixtures import Mixtures
from goodinit.graph.running import run


class Several(nn.Module):
    """The same on two signals, and variants of it."""

    one: Tensor
    same: Tensor
    other: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(3))
        self.register_buffer("same", torch.ones(3))
        self.register_buffer("other", torch.full((3,), 2.0))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return (
            (x * self.one).softmax(-1),
            (y * self.same).softmax(-1),
            (x * self.one).softmax(0),
            (x * self.other).softmax(-1),
            (x * y).softmax(-1),
            (x * x).softmax(-1),
        )


def test_only_what_is_done_counts() -> None:
    tape = run(Several(), (torch.zeros(2, 3), torch.zeros(2, 3))).tape

    def inputs(index: int) -> tuple[int, ...]:
        node = tape.producer(index)
        return () if node is None else node.inputs

    def leaf(index: int) -> object:
        return "drawn" if tape.values[index].origin == "input" else None

    first, same, *others = (form_of(tape, [index], inputs, leaf) for index in tape.outputs)
    assert first == same
    assert len({first, *others}) == 5


class Experts(nn.Module):
    """Layers of four experts on a stream, each with a router of its own."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.routers = nn.ModuleList(nn.Linear(16, 4) for _ in range(layers))
        self.experts = nn.ParameterList(torch.zeros(4, 16, 16) for _ in range(layers))
        for at in range(layers):
            self.register_buffer(f"shift{at}", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        for router, experts, shift in zip(self.routers, self.experts, self.buffers(), strict=True):
            shares = (router(x) + shift).softmax(-1)
            x = x + (shares[..., None] * torch.einsum("eio,ni->neo", experts, x)).sum(1)
        return x


def test_equal_routers_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    sampled = Mixtures._sampled

    def counted(self: Mixtures, *given: object) -> float:
        asked.append(1)
        return sampled(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Mixtures, "_sampled", counted)
    trace(Experts(5), torch.zeros(8, 16))
    assert len(asked) == 1


class Mixing(nn.Module):
    """Sums over positions on a stream."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(32, 96) for _ in range(layers))
        self.outs = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for one, out in zip(self.maps, self.outs, strict=True):
            q, k, v = one(x).chunk(3, -1)
            x = x + out(q @ (k.transpose(-1, -2) @ v))
        return x


def moments(graph: Graph) -> list[float]:
    """What arrives at each of the maps after a mix, of unit signals."""
    found = []
    for use in graph:
        if use.name.startswith("outs") and use.contracts:
            assert use.source.moment is not None
            found.append(use.source.moment(leaf))
    return found


def leaf(kind: str, names: tuple[str, ...]) -> float:
    return 1.0


def test_a_spent_budget_leaves_the_answer_of_a_layer_before(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for operations in (0, 400, 20_000):
        monkeypatch.setattr(replaying, "Budget", lambda: Budget(operations=operations))  # noqa: B023
        found[operations] = moments(trace(Mixing(12), torch.zeros(2, 20, 32)))
    bound, free = found[400], found[20_000]
    assert len(set(bound)) > 1
    assert len(set(bound[-3:])) == 1
    assert free[0] / 2 < bound[-1] < 2 * free[-1]
    assert not found[0][-1] > free[0] / 2
