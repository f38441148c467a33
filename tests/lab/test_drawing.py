"""Curves, violins and heat maps hold the numbers that they were made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from goodinit.errors import ExampleError
from goodinit.lab.drawing import banded, grid, violin, weights_vp
from goodinit.lab.nets import normal_batch, small


def test_a_band_holds_the_middle_80_percent() -> None:
    line = banded("x", (1,), torch.arange(101.0)[:, None])
    assert (line.low, line.y, line.high) == ((10.0,), (50.0,), (90.0,))


def test_a_violin_counts_every_value() -> None:
    found = violin("x", torch.randn(37, 3))
    assert found.histogram.sampled == 111


def test_a_heat_map_has_its_first_row_at_the_top() -> None:
    cells = grid("k", "t", "s", {"a": {"c": 1.0}, "b": {"c": 2.0}}, x="", y="", unit="").grid
    assert cells is not None
    assert (cells.rows, cells.values) == (("b", "a"), ((2.0,), (1.0,)))


class _Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(self.embedding(tokens))
        return out


@pytest.mark.parametrize(
    ("build", "batch"),
    [
        (lambda: small(4, nn.ReLU), normal_batch(6, 2)),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3, groups=2)), normal_batch(2, 3, 9, 9)),
        (lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True), normal_batch(7, 2, 3)),
        (_Tokens, torch.arange(10).reshape(2, 5)),
        (lambda: nn.Bilinear(3, 4, 2), (normal_batch(5, 3), normal_batch(5, 4))),
    ],
)  # fmt: skip
def test_any_model_has_a_violin_for_every_matrix_and_for_its_gradient(
    build: Callable[[], nn.Module], batch: torch.Tensor
) -> None:
    model = build()
    matrices = {name: parameter for name, parameter in model.named_parameters() if parameter.dim() > 1}
    weights, gradients = weights_vp(model, batch)
    assert [each.label for each in weights.violins] == list(matrices)
    assert [each.label for each in gradients.violins] == list(matrices)
    for each in weights.violins:
        assert each.moments.std == pytest.approx(
            matrices[each.label].detach().std(correction=0).item(), rel=1e-5
        )


def test_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(0)
    model, x, y = small(2, nn.Tanh), torch.randn(20, 2), torch.randn(20, 1)
    drawn = weights_vp(model, (x, y), nn.functional.mse_loss)[1]
    nn.functional.mse_loss(model(x), y).backward()
    for each in drawn.violins:
        true = model.get_parameter(each.label).grad
        assert true is not None
        assert each.moments.second_moment == pytest.approx(true.square().mean().item(), rel=1e-5)
    # The planted fault: another loss has other gradients.
    other = weights_vp(model, (x, y), nn.functional.l1_loss)[1]
    assert other.violins[0].moments.second_moment != pytest.approx(
        drawn.violins[0].moments.second_moment, rel=0.01
    )


def test_models_stand_side_by_side_by_their_labels() -> None:
    weights, _ = weights_vp({"a": small(1, nn.ReLU), "b": small(1, nn.Tanh)}, torch.randn(4, 2))
    assert [(each.group, each.label) for each in weights.violins] == [
        ("a", "0.weight"), ("a", "2.weight"), ("b", "0.weight"), ("b", "2.weight"),
    ]  # fmt: skip


def test_a_frozen_weight_has_no_gradient_to_show() -> None:
    model = small(1, nn.ReLU)
    model[0].weight.requires_grad_(False)
    weights, gradients = weights_vp(model, torch.randn(4, 2))
    assert (len(weights.violins), len(gradients.violins)) == (2, 1)


def test_the_model_is_left_as_it_was() -> None:
    model = small(1, nn.ReLU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights_vp(model, torch.randn(4, 2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ExampleError, match="batch"):
        weights_vp(small(1, nn.ReLU), torch.randn(4, 3))
