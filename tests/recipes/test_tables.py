"""Tables whose rows are added up, averaged, multiplied by a constant or by each other, measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit


class Pairs(nn.Module):
    """Scores of users and items."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor], width: int, biased: bool = False) -> None:
        super().__init__()
        self.users, self.items, self.score = nn.Embedding(400, width), nn.Embedding(600, width), score
        self.bias = nn.Embedding(400, 1) if biased else None

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        found = self.score(self.users(user), self.items(item))
        return found if self.bias is None else found + self.bias(user)[:, 0]


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "summed": lambda a, b: (a * b).sum(-1),
    "einsum": lambda a, b: torch.einsum("nd,nd->n", a, b),
    "batched": lambda a, b: torch.bmm(a[:, None], b[:, :, None])[:, 0, 0],
    "matrix": lambda a, b: a @ b.T,
    "halved": lambda a, b: (a * b).sum(-1) * 0.5,
}


@pytest.mark.parametrize("width", [16, 100])
@pytest.mark.parametrize("name", SCORES)
def test_products_of_rows_that_are_the_output_have_unit_size(name: str, width: int) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 400, (512,)), torch.randint(0, 600, (512,))
    model = Pairs(SCORES[name], width)
    goodinit.initialize(model, "auto", example=ids)
    # Left alone, they have second moment `width`.
    assert float(model(*ids).detach().square().mean()) == pytest.approx(1, rel=0.35)


def test_logits_under_a_sigmoid_count_as_the_output() -> None:
    ids = torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)
    made = goodinit.plan(Pairs(lambda a, b: torch.sigmoid((a * b).sum(-1)), 64), "auto", example=ids)
    assert made["users.weight"].std == pytest.approx(64**-0.25, rel=0.1)


def test_a_bias_beside_a_product_changes_nothing() -> None:
    ids = torch.zeros(64, dtype=torch.long), torch.zeros(64, dtype=torch.long)
    made = goodinit.plan(Pairs(SCORES["summed"], 64, biased=True), "auto", example=ids)
    assert made["users.weight"].std == pytest.approx(64**-0.25, rel=0.15)


def test_a_factorization_machine_starts_with_unit_outputs() -> None:
    class Machine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Embedding(5000, 32)

        def forward(self, ids: Tensor) -> Tensor:
            rows = self.rows(ids)
            return 0.5 * (rows.sum(1).square() - rows.square().sum(1)).sum(1)

    torch.manual_seed(0)
    model, ids = Machine(), torch.randint(0, 5000, (512, 8))
    goodinit.initialize(model, "auto", example=ids)
    assert float(model(ids).detach().square().mean()) == pytest.approx(1, rel=0.35)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("offsets", [False, True])
def test_a_bag_of_rows_puts_out_one(mode: str, offsets: bool) -> None:
    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.head = nn.EmbeddingBag(3000, 64, mode=mode), nn.Linear(64, 64)

        def forward(self, ids: Tensor) -> Tensor:
            if offsets:
                return self.head(self.bag(ids.flatten(), torch.arange(0, ids.numel(), ids.shape[1])))
            return self.head(self.bag(ids))

    torch.manual_seed(0)
    model, ids = Bags(), torch.randint(0, 3000, (256, 20))
    made = goodinit.initialize(model, "auto", example=ids)
    terms = 20 if mode == "sum" else 1 / 20
    assert made["bag.weight"].std == pytest.approx(1 / math.sqrt(terms))
    assert float(model(ids).detach().square().mean()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("factor", [8.0, 0.1])
def test_a_factor_after_a_table_is_counted_once(factor: float) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.next = nn.Embedding(500, 64), nn.Linear(64, 64)

        def forward(self, ids: Tensor) -> Tensor:
            return self.next(self.rows(ids) * factor)

    torch.manual_seed(0)
    model, ids = Scaled(), torch.randint(0, 500, (512,))
    made = goodinit.initialize(model, "auto", example=ids)
    assert made["rows.weight"].std == pytest.approx(1 / factor)
    assert float(model(ids).detach().square().mean()) == pytest.approx(1, rel=0.15)
