"""Faults planted at the end of the network: logits too large, a shared table of the wrong scale."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check, probe

cross_entropy = nn.functional.cross_entropy


def classifier(classes: int, width: int = 64) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, classes))
    nn.init.kaiming_normal_(model[0].weight)
    nn.init.normal_(model[2].weight, 0.0, width**-0.5)
    return model


def found(model: nn.Module, batch: object, loss: object = cross_entropy) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch, loss=loss, predict=False).findings}


def batch(classes: int, count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 16), torch.randint(0, classes, (count,))


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("factor", [100.0, 1000.0])
def test_logits_that_are_sure_at_the_start_are_found(classes: int, factor: float) -> None:
    model, both = classifier(classes), batch(classes)
    assert "GI121" not in found(model, both)
    with torch.no_grad():
        model[2].weight *= factor
    finding = found(model, both)["GI121"]
    loss = float(cross_entropy(model(both[0]), both[1]).detach())
    assert finding.effect == pytest.approx(loss - math.log(classes), rel=1e-4)
    assert finding.where == ("2",)


class Towers(nn.Module):
    """Two towers, normalised, whose cosines are multiplied by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.left, self.right, self.factor = nn.Linear(8, 32), nn.Linear(8, 32), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x[:, :8]), self.right(x[:, 8:])
        normalize = nn.functional.normalize
        return self.factor * normalize(left, dim=-1) @ normalize(right, dim=-1).T


@pytest.mark.parametrize("factor", [1e3, 1e5])
@pytest.mark.parametrize("count", [16, 128])
def test_a_temperature_is_blamed_where_outputs_are_too_small_to_cost_so_much(
    factor: float, count: int
) -> None:
    torch.manual_seed(0)
    pairs = torch.randn(count, 16), torch.arange(count)
    assert "GI121" not in found(Towers(14.0), pairs)
    finding = found(Towers(factor), pairs)["GI121"]
    assert "multiplies them" in finding.cause
    assert "temperature" in finding.cure
    large = classifier(10)
    nn.init.normal_(large[2].weight, 0.0, 20.0)
    finding = found(large, batch(10))["GI121"]
    assert "multiplies" not in finding.cause
    assert "last layer" in finding.cure


def test_a_sum_over_items_is_no_large_loss() -> None:
    model, both = classifier(10), batch(10, 256)
    assert "GI121" not in found(model, both, lambda y, t: cross_entropy(y, t, reduction="sum"))
    with torch.no_grad():
        model[2].weight *= 30.0
    findings = found(model, both, lambda y, t: cross_entropy(y, t, reduction="sum"))
    assert findings["GI121"].effect == pytest.approx(
        float(cross_entropy(model(both[0]), both[1]).detach()) - math.log(10), rel=1e-4
    )


def test_the_baseline_is_the_loss_of_equal_logits() -> None:
    seen = probe(classifier(10), batch(10), loss=cross_entropy)
    assert seen.baseline == pytest.approx(math.log(10))
    assert seen.classes == 10
    tokens = probe(
        nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7)),
        (torch.randint(0, 7, (3, 5)), torch.randint(0, 7, (3, 5))),
        loss=lambda y, t: cross_entropy(y.flatten(0, 1), t.flatten()),
    )
    assert (tokens.baseline, tokens.classes) == (pytest.approx(math.log(7)), 7)
    regression = probe(nn.Linear(16, 1), (torch.randn(4, 16), torch.randn(4, 1)), loss=nn.functional.mse_loss)
    assert (regression.baseline, regression.classes) == (None, None)


def test_a_model_that_returns_its_own_loss_is_held_against_its_logits() -> None:
    class Own(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.body, self.factor = classifier(10), factor

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
            logits = self.body(x) * self.factor
            return {"loss": cross_entropy(logits, labels), "logits": logits}  # type: ignore[return-value]

    x, labels = batch(10)
    assert "GI121" not in found(Own(1.0), {"x": x, "labels": labels}, None)
    assert "GI121" in found(Own(50.0), {"x": x, "labels": labels}, None)


def test_a_loss_that_the_logits_cannot_cost_is_another_loss() -> None:
    class Spelling(nn.Module):
        """As transformers' CTC models: the loss sums what every step of the sequence costs."""

        def __init__(self, factor: float) -> None:
            super().__init__()
            self.net, self.factor = classifier(32), factor

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
            logits = self.net(x) * self.factor
            steps = torch.log_softmax(logits, -1).transpose(0, 1)
            lengths = torch.tensor([len(steps)] * len(x)), torch.tensor([labels.shape[1]] * len(x))
            loss = nn.functional.ctc_loss(steps, labels, *lengths, reduction="sum")
            return SimpleNamespace(loss=loss, logits=logits)

    torch.manual_seed(0)
    given = {"x": torch.randn(4, 50, 16), "labels": torch.randint(1, 32, (4, 5))}
    alone = Spelling(0.1)
    assert float(alone(**given).loss.detach()) > 100 * math.log(32)
    assert "GI121" not in found(alone, given, None)


class Tied(nn.Module):
    """A table that is looked up and multiplied by, as a module's weight or in an operation."""

    def __init__(self, width: int, std: float, functional: bool) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(40, width), nn.LayerNorm(width)
        nn.init.normal_(self.table.weight, 0.0, std)
        if not functional:
            self.head = nn.Linear(width, 40, bias=False)
            self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.table(ids))
        return self.head(h) if hasattr(self, "head") else nn.functional.linear(h, self.table.weight)


@pytest.mark.parametrize("width", [32, 128])
@pytest.mark.parametrize("functional", [False, True])
def test_a_shared_table_that_is_too_large_for_a_head_is_found(width: int, functional: bool) -> None:
    ids = torch.randint(0, 40, (4, 12))
    assert "GI122" not in found(Tied(width, width**-0.5, functional), ids, None)
    finding = found(Tied(width, 1.0, functional), ids, None)["GI122"]
    assert finding.where == (("table.weight",) if functional else ("table.weight", "head.weight"))
    # Each logit has the size of a product of independent rows, d; a token's own is d², one in 40.
    assert finding.effect == pytest.approx(width + width**2 / 40, rel=0.3)


def test_two_tables_of_the_same_scale_are_not_called_tied() -> None:
    model = Tied(32, 1.0, functional=False)
    model.head.weight = nn.Parameter(torch.randn(40, 32))
    assert "GI122" not in found(model, torch.randint(0, 40, (4, 12)), None)
