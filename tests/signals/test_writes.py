"""A model whose forward pass writes to its own parameters has the old ones again after a probe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.signals import probe

NOTE = "The model's own forward pass wrote to its parameters; they were put back."


def _norm(layer: nn.Linear) -> None:
    layer.weight.data = torch.renorm(layer.weight.data, 2, 0, 0.1)


def _clip(layer: nn.Linear) -> None:
    layer.weight.data.clamp_(-0.01, 0.01)


def _scale(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight /= 2
        layer.bias[0] = 7.0


def _each(layer: nn.Linear) -> None:
    with torch.no_grad():
        torch._foreach_mul_([layer.weight, layer.bias], 0.5)


def _into(layer: nn.Linear) -> None:
    with torch.no_grad():
        torch.mul(layer.weight, 2, out=layer.weight)


class Writing(nn.Module):
    def __init__(self, write: Callable[[nn.Linear], None], fail: bool = False) -> None:
        super().__init__()
        self.layer, self.write, self.fail = nn.Linear(6, 6), write, fail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.write(self.layer)
        if self.fail:
            raise KeyboardInterrupt
        out: torch.Tensor = self.layer(x)
        return out.relu_()


def _values(model: nn.Module) -> list[tuple[int, int, list[float]]]:
    return [(id(p), p.data_ptr(), p.detach().flatten().tolist()) for p in model.parameters()]


@pytest.mark.parametrize("write", [_norm, _clip, _scale, _each, _into])
def test_parameters_have_their_values_again(write: Callable[[nn.Linear], None]) -> None:
    model = Writing(write)
    before = _values(model)
    seen = probe(model, batches=[torch.randn(4, 6), torch.randn(3, 6)])
    assert _values(model) == before
    assert NOTE in seen.notes
    model(torch.randn(4, 6))
    assert _values(model) != before


def test_also_after_an_interruption() -> None:
    model = Writing(_clip, fail=True)
    before = _values(model)
    with pytest.raises(KeyboardInterrupt):
        probe(model, torch.randn(4, 6))
    assert _values(model) == before


@pytest.mark.parametrize("functionally", [False, True])
def test_embeddings_of_bounded_norm_have_their_rows_again(functionally: bool) -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4, max_norm=0.5)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            if functionally:
                return functional.embedding_bag(ids, self.table.weight, None, 0.5)
            return self.table(ids)

    model = Bounded()
    before = _values(model)
    seen = probe(model, torch.randint(0, 10, (4, 3)))
    assert _values(model) == before
    assert NOTE in seen.notes


def test_a_model_that_writes_to_none_has_no_note_and_no_copies() -> None:
    assert NOTE not in probe(nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))).notes
