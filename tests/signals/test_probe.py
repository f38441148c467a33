"""What a probe records is what autograd itself would show."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from goodinit.errors import ArgumentError, TensorError, WrongTypeError
from goodinit.signals import probe


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_equal_retained_ones_also_with_in_place_activations(inplace: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(inplace=inplace), nn.Linear(9, 5), nn.Tanh())
    batch, target = torch.randn(7, 6), torch.randn(7, 5)
    seen = probe(model, (batch, target), loss=functional.mse_loss)

    first = model[0](batch)
    second = functional.relu(first)
    third = model[2](second)
    fourth = torch.tanh(third)
    wanted = torch.autograd.grad(functional.mse_loss(fourth, target), (first, second, third, fourth))

    assert seen.loss == pytest.approx(functional.mse_loss(fourth, target).item())
    for layer, output, gradient in zip(seen.layers, (first, second, third, fourth), wanted, strict=True):
        assert layer.output.second_moment == pytest.approx(output.pow(2).mean().item(), rel=1e-5)
        assert layer.output.mean == pytest.approx(output.mean().item(), rel=1e-4, abs=1e-6)
        assert layer.gradient.second_moment == pytest.approx(gradient.pow(2).mean().item(), rel=1e-5)


def test_parameter_gradients_equal_autograds() -> None:
    model = nn.Linear(4, 3)
    batch, target = torch.randn(8, 4), torch.randn(8, 3)
    seen = {p.name: p for p in probe(model, (batch, target), loss=functional.mse_loss).parameters}
    wanted = torch.autograd.grad(functional.mse_loss(model(batch), target), tuple(model.parameters()))
    for (name, _), gradient in zip(model.named_parameters(), wanted, strict=True):
        assert seen[name].gradient.second_moment == pytest.approx(gradient.pow(2).mean().item(), rel=1e-5)


def test_the_default_gradient_has_second_moment_one_at_the_output() -> None:
    # 64,000 standard normals: the mean of squares has std √(2/64000) = 0.0056; 0.03 is 5.4 sigma, 1e-7.
    model = nn.Linear(10, 1000)
    (layer,) = probe(model, torch.randn(64, 10)).layers
    assert layer.gradient.second_moment == pytest.approx(1.0, abs=0.03)
    assert abs(layer.gradient.second_moment - 2.0) > 0.03  # what a doubled cotangent would give


def test_layers_come_in_order_of_execution_with_one_record_per_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late = nn.Linear(4, 4)
            self.early = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.late(self.early(self.early(x)))

    seen = probe(Twice(), torch.randn(3, 4))
    assert [(layer.name, layer.call) for layer in seen.layers] == [("early", 0), ("early", 1), ("late", 0)]
    assert [layer.index for layer in seen.layers] == [0, 1, 2]


def test_containers_are_no_layers_but_modules_with_raw_parameters_are() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
            self.gamma = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.gamma * self.body(x)

    seen = probe(nn.Sequential(Scale(), Block()), torch.randn(3, 4))
    assert [(layer.name, layer.parametric) for layer in seen.layers] == [
        ("0", True),
        ("1.body.0", True),
        ("1.body.1", False),
        ("1.add", False),
        ("1", False),
    ]


def test_activations_called_as_functions_are_recorded_once() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(torch.tanh(functional.relu(self.a(x)).sigmoid()))

    kinds = [layer.kind for layer in probe(nn.Sequential(Functional()), torch.randn(3, 4)).layers]
    assert kinds == ["Linear", "relu", "sigmoid", "tanh", "ReLU"]


def test_recurrent_and_attention_layers_give_their_main_output() -> None:
    (lstm,) = probe(nn.LSTM(3, 5, batch_first=True), torch.randn(2, 7, 3)).layers
    assert (lstm.shape, lstm.units) == ((2, 7, 5), 5)
    (attention,) = probe(nn.MultiheadAttention(8, 2), (torch.randn(5, 2, 8),) * 3).layers
    assert attention.shape == (5, 2, 8)
    assert attention.gradient is not None


def test_parametrized_layers_keep_their_kind_and_are_recorded() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False)), nn.ReLU())
    seen = probe(model, torch.randn(3, 4))
    assert [(layer.name, layer.kind) for layer in seen.layers] == [("0", "Linear"), ("1", "ReLU")]


def test_units_are_channels_after_a_convolution_and_features_after_a_linear() -> None:
    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU())
    assert [layer.units for layer in probe(model, torch.randn(4, 2, 9)).layers] == [6, 6]
    model = nn.Sequential(nn.Linear(9, 5), nn.ReLU())
    assert [layer.units for layer in probe(model, torch.randn(4, 2, 9)).layers] == [5, 5]


def test_dead_and_always_on_units_are_counted_by_channel() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.copy_(torch.tensor([-100.0, 0.0, 100.0]))
    relu = probe(model, torch.randn(8, 1, 4, 4)).layers[1]
    assert (relu.units, relu.dead, relu.always_on) == (3, 1, 1)
    # One of three channels is all zeros and another half: the share is near 1/2.
    assert relu.zeros == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("layer", "value", "share"),
    [
        (nn.Sigmoid(), 6.1, 1.0),
        (nn.Sigmoid(), 5.9, 0.0),
        (nn.Tanh(), 3.0, 1.0),
        (nn.Tanh(), 2.9, 0.0),
        (nn.Hardtanh(-2.0, 2.0), 2.0, 1.0),
        (nn.Hardtanh(-2.0, 2.0), 1.9, 0.0),
        (nn.ReLU6(), 7.0, 1.0),
        (nn.Softsign(), 9.5, 1.0),
        (nn.GELU(), 9.5, None),
    ],
)
def test_saturation_begins_where_the_derivative_is_under_a_hundredth(
    layer: nn.Module, value: float, share: float | None
) -> None:
    model = nn.Sequential(nn.Identity(), layer)
    assert probe(model, torch.full((2, 3), value)).layers[0].saturated == share


def test_a_nan_is_marked_where_it_began() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    model = nn.Sequential(nn.Linear(4, 4), Root(), nn.Linear(4, 4))
    seen = {layer.name: layer for layer in probe(model, torch.randn(8, 4)).layers}
    assert seen["0"].finite_input is None
    assert seen["1"].finite_input is True
    assert seen["2"].finite_input is False


def test_frozen_layers_have_gradients_at_their_outputs() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.requires_grad_(False)
    seen = probe(model, torch.randn(8, 4))
    assert all(layer.gradient is not None and layer.gradient.second_moment > 0 for layer in seen.layers)
    assert all(p.gradient is None and not p.trainable for p in seen.parameters)


def test_layers_behind_a_detach_have_no_gradient_and_the_probe_says_so() -> None:
    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach()

    seen = probe(nn.Sequential(nn.Linear(4, 4), Cut()), torch.randn(8, 4))
    assert seen.layers[0].gradient is None
    assert any("No gradient reached" in note for note in seen.notes)


def test_checkpointed_blocks_are_recorded_once_with_their_gradients() -> None:
    class Saved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    seen = probe(Saved(), torch.randn(3, 4))
    assert [layer.name for layer in seen.layers] == ["inner"]
    assert seen.layers[0].gradient is not None


def test_a_compiled_wrapper_is_looked_through() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for compiled in (torch.compile(model), nn.Sequential(torch.compile(model))):
        seen = probe(compiled, torch.randn(3, 4))
        assert [layer.kind for layer in seen.layers] == ["Linear", "ReLU"]
        assert seen.parameters[0].name.removeprefix("0.").removeprefix("0.") == "weight"


def test_the_graph_tells_residual_normalised_and_attention_networks() -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    assert set(probe(encoder, torch.randn(2, 3, 8)).structure) >= {"normalised", "residual"}
    assert probe(nn.MultiheadAttention(8, 2), (torch.randn(3, 2, 8),) * 3).structure == ("attention",)
    assert probe(nn.LSTM(3, 4), torch.randn(5, 2, 3)).structure == ("recurrent",)
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Softmax(dim=1))
    assert probe(plain, torch.randn(4, 8)).structure == ()


def test_the_same_seed_gives_the_same_measurement_also_with_dropout() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 4))
    assert probe(model, seed=3) == probe(model, seed=3)
    assert probe(model, seed=3) != probe(model, seed=4)


def test_half_precision_is_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU()).to(torch.bfloat16)
    seen = probe(model)
    assert math.isfinite(seen.layers[0].gradient.second_moment)
    assert seen.parameters[0].dtype == "bfloat16"


def test_sparse_embedding_gradients_are_measured() -> None:
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    assert probe(model).parameters[0].gradient.count == 40


def test_a_model_on_the_meta_device_is_refused_with_the_cure() -> None:
    with pytest.raises(TensorError, match=r"'weight' is on the meta device .*to_empty"):
        probe(nn.Linear(2, 2, device="meta"))


def test_a_lazy_model_is_refused_with_the_cure() -> None:
    with pytest.raises(TensorError, match=r"is lazy .* run the model once"):
        probe(nn.LazyLinear(3))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(WrongTypeError, match=r"expected a torch\.nn\.Module, got int"):
        probe(3)


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_a_seed_that_is_no_integer_is_refused(seed: object) -> None:
    with pytest.raises(ArgumentError, match="seed: expected an integer"):
        probe(nn.Linear(2, 2), seed=seed)


def test_a_probe_is_frozen() -> None:
    seen = probe(nn.Linear(2, 2))
    with pytest.raises(FrozenInstanceError):
        seen.loss = 1.0
