"""Models that draw random numbers: as plain PyTorch draws them, and the same whatever else is run."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from goodinit.comparing import compare, evaluation
from goodinit.comparing.engines import draws
from goodinit.comparing.streams import step_key
from goodinit.errors import ArgumentError
from goodinit.records.comparisons import Comparison


def numbers() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    return x, x[:, :1] * x[:, 1:]


def symbols() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randint(0, 7, (40, 4), generator=torch.Generator().manual_seed(0))
    return x, x.flip(1)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.b(self.hidden(self.a(x)))
        return out

    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(h, 0.5, self.training)


class Rough(Dropping):
    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return h + torch.randn_like(h) if self.training else h


class Sampling(Dropping):
    """Draws in evaluation mode too."""

    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return nn.functional.gumbel_softmax(h)


class Leaky(Dropping):
    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return nn.functional.rrelu(h, training=self.training)


class Skipping(Dropping):
    def hidden(self, h: torch.Tensor) -> torch.Tensor:
        return h.relu() if not self.training or random.random() + np.random.rand() < 1 else h


class Attending(nn.Module):
    """Its dropout takes tensors that lie in memory in another order than their shapes say."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(7, 8), nn.Linear(8, 7)
        self.body = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.body(self.table(x)))
        return out


def run(build: Callable[[], nn.Module], engine: str, *labels: str) -> Comparison:
    return compare(
        build, labels or ("torch",), symbols() if build is Attending else numbers(), seeds=3, steps=6,
        lr=0.02, batch_size=8, evaluations=2, engine=engine,
    )  # fmt: skip


@pytest.mark.parametrize("build", [Dropping, Rough, Attending])
def test_members_that_draw_while_they_train_are_stacked_and_draw_what_plain_pytorch_draws(
    build: type[nn.Module],
) -> None:
    together, plain = run(build, "auto"), run(build, "sequential")
    assert together.notes[0] == "engine: stacked"
    one, other = (
        torch.tensor([[*each.train, *each.test] for each in made.runs]) for made in (together, plain)
    )
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_random_numbers_of_another_step_are_noticed_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "step_key", lambda seed, step: step_key(seed, step + 1))
    with pytest.raises(ArgumentError, match="disagrees with plain PyTorch"):
        run(Dropping, "stacked")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Sampling, "random numbers while it is evaluated"),
        (Leaky, "random numbers that depend on values"),
        (Skipping, "random numbers that are not torch's"),
    ],
)
def test_other_random_numbers_are_drawn_in_turn_and_the_reason_is_told(
    build: type[nn.Module], reason: str
) -> None:
    made = run(build, "auto")
    assert made.notes[0].startswith("engine: sequential")
    assert any(reason in note for note in made.notes), made.notes


@pytest.mark.parametrize(
    ("build", "engine"),
    [(Dropping, "sequential"), (Dropping, "stacked"), (Sampling, "auto"), (Skipping, "auto")],
)
def test_what_is_drawn_is_the_same_for_all_plans_and_runs_at_a_seed(
    build: type[nn.Module], engine: str
) -> None:
    alone = run(build, engine, "torch")
    torch.rand(1), random.random(), np.random.rand()
    more = run(build, engine, "xavier_normal", "torch")
    one, other = (
        torch.tensor([each.train for each in made.runs if each.plan == "torch"]) for made in (alone, more)
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=0)


def test_a_model_that_samples_in_evaluation_differs_where_streams_are_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "begin", lambda key: None)
    found = [(torch.rand(1), run(Sampling, "sequential").runs)[1] for _ in range(2)]
    assert found[0] != found[1]


def test_the_users_streams_are_left_as_they_were() -> None:
    def drawn() -> list[float]:
        return [torch.rand(1).item(), random.random(), np.random.rand()]

    def begun() -> None:
        torch.manual_seed(5), random.seed(5), np.random.seed(5)

    begun()
    expected = drawn()
    begun()
    for build in (Dropping, Skipping):
        run(build, "auto")
    assert drawn() == expected
