"""What a forward pass changes inside of a module's attributes is put back."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import goodinit
from goodinit.signals import probe
from goodinit.signals.probing.untouched import kept_model


class Hoarder(nn.Module):
    """Keeps in plain attributes what its forward pass writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.seen: list[Any] = [1]
        self.nested = {"counts": Counter(a=1), "last": deque([1], maxlen=2), "kinds": {1}}
        self.average = torch.zeros(6)
        self.generator = torch.Generator().manual_seed(3)
        self.python = random.Random(3)
        self.numpy = np.random.default_rng(3)
        self.old_numpy = np.random.RandomState(3)
        self.config = SimpleNamespace(problem_type=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        self.seen.append(out)
        self.nested["counts"]["a"] += 1  # type: ignore[index]
        self.nested["last"].append(2)  # type: ignore[union-attr]
        self.nested["kinds"].add(2)  # type: ignore[union-attr]
        self.average.mul_(0.9).add_(out.detach().mean(0))
        torch.rand((), generator=self.generator)
        self.python.random()
        self.numpy.random()
        self.old_numpy.rand()
        self.config.problem_type = "single_label_classification"
        return out


def _contents(model: Hoarder) -> dict[str, Any]:
    return {
        "seen": list(model.seen),
        "nested": repr(model.nested),
        "average": model.average.tolist(),
        "torch": model.generator.get_state().tolist(),
        "python": model.python.getstate(),
        "numpy": str(model.numpy.bit_generator.state),
        "old": str(model.old_numpy.get_state()),
        "config": vars(model.config).copy(),
    }


def test_containers_tensors_generators_and_configs_hold_what_they_held() -> None:
    model = Hoarder()
    before = _contents(model)
    held = [model.seen, model.nested, model.average, model.config]
    goodinit.check(model, torch.randn(4, 6))
    assert _contents(model) == before
    assert all(
        a is b for a, b in zip(held, [model.seen, model.nested, model.average, model.config], strict=True)
    )
    model(torch.randn(4, 6))
    after = _contents(model)
    assert all(after[name] != before[name] for name in before)


def test_a_buffer_whose_elements_share_memory_is_no_trouble() -> None:
    model = nn.BatchNorm1d(4)
    model.register_buffer("mask", torch.ones(1).expand(4))
    probe(model, torch.randn(3, 4))
    assert model.mask.stride() == (0,)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.resize_(5).fill_(1),
        lambda b: setattr(b, "data", b.data.double() + 1),
        lambda b: setattr(b, "data", torch.ones(2, 2)),
    ],
)
def test_a_buffer_that_is_resized_or_given_other_data_is_as_it_was(
    change: Callable[[torch.Tensor], object],
) -> None:
    model = nn.BatchNorm1d(3)
    held = model.running_mean
    with kept_model(model):
        change(held)
    assert model.running_mean is held
    assert held.dtype == torch.float32
    assert held.tolist() == [0.0, 0.0, 0.0]


def _saved_buffer() -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("scale", torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * self.scale

    return Scaled()


@pytest.mark.parametrize("make", [_saved_buffer, lambda: nn.BatchNorm1d(4)])
def test_a_graph_that_the_user_still_holds_can_be_differentiated_afterwards(
    make: Callable[[], nn.Module],
) -> None:
    model = make()
    loss = model(torch.randn(3, 4)).square().mean()
    probe(model, torch.randn(3, 4))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
