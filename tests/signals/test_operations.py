"""Functional code is seen: products with raw parameters, residual sums, several calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.signals import probe


def _names(model: nn.Module, batch: torch.Tensor) -> list[tuple[str, str, bool]]:
    return [(layer.name, layer.kind, layer.parametric) for layer in probe(model, batch).layers]


class Functional(nn.Module):
    """Three layers without a module, each multiplying in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(5, 5))
        self.bias = nn.Parameter(torch.randn(5))
        self.stack = nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(functional.linear(x, self.a, self.bias))
        x = x @ self.b.t() + self.bias
        return torch.einsum("bi,io->bo", x, self.stack[1])


def test_products_with_raw_parameters_are_layers_under_the_parameters_names() -> None:
    model = Functional()
    assert _names(model, torch.randn(3, 4)) == [
        ("a", "linear", True),
        ("relu", "relu", False),
        ("b", "matmul", True),
        ("stack", "einsum", True),
        ("Functional", "Functional", False),
    ]


def test_their_outputs_and_gradients_equal_autograds() -> None:
    model, x = Functional(), torch.randn(7, 4)
    seen = {layer.name: layer for layer in probe(model, x, loss=lambda y: y.square().sum()).layers}
    first = functional.linear(x, model.a, model.bias)
    second = functional.relu(first) @ model.b.t()
    third = (second + model.bias) @ model.stack[1]
    wanted = torch.autograd.grad(third.square().sum(), (first, second, third))
    for name, output, gradient in zip(("a", "b", "stack"), (first, second, third), wanted, strict=True):
        assert seen[name].output.second_moment == pytest.approx(output.square().mean().item(), rel=1e-5)
        assert seen[name].gradient.second_moment == pytest.approx(gradient.square().mean().item(), rel=1e-5)


def test_a_module_that_is_one_product_keeps_its_own_record() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, x, self.weight)

    assert _names(nn.Sequential(Own(), nn.ReLU(), Own()), torch.randn(3, 4)) == [
        ("0", "Own", True),
        ("1", "ReLU", False),
        ("2", "Own", True),
    ]


def test_convolutions_and_batched_products_of_raw_parameters_are_seen() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.experts = nn.Parameter(torch.randn(6, 2, 3)), nn.Parameter(torch.randn(4, 6, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = functional.conv1d(x, self.kernel)
            return torch.bmm(x.transpose(1, 2), self.experts * 2)

    assert [name for name, _, _ in _names(Mixed(), torch.randn(4, 2, 9))] == ["kernel", "experts", "Mixed"]


def test_products_of_signals_and_lookups_of_rows_are_no_layers() -> None:
    class Similar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(10, 4))
            self.head = nn.Linear(4, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.head(self.table[ids])
            return x @ x.transpose(1, 2)

    layers = probe(Similar(), torch.randint(0, 10, (3, 5))).layers
    assert [layer.name for layer in layers] == ["head", "Similar"]


class Residual(nn.Module):
    """A pre-norm block; its sums are plain additions."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.norm, self.body, self.in_place = nn.LayerNorm(4), nn.Linear(4, 4), in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self.norm(x))
        if self.in_place:
            y += x
            return y
        return x + y


@pytest.mark.parametrize("in_place", [False, True])
def test_residual_sums_are_recorded_by_module(in_place: bool) -> None:
    model, x = nn.Sequential(Residual(in_place), Residual(in_place)), torch.randn(6, 4)
    layers = [layer for layer in probe(model, x).layers if layer.kind == "add"]
    assert [layer.name for layer in layers] == ["0.add", "1.add"]
    stream = x
    for block, layer in zip(model, layers, strict=True):
        stream = block(stream)
        assert layer.output.second_moment == pytest.approx(stream.square().mean().item(), rel=1e-5)
        assert layer.gradient is not None


def test_sums_that_are_no_residuals_are_not_recorded() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.bias = nn.Linear(4, 4), nn.Parameter(torch.zeros(3, 4))
            self.register_buffer("shift", torch.ones(3, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            y = y + self.bias + self.shift + 1.0
            # Rotary positions and gates add two products.
            return y * 0.5 * y.cos() + y.sin() * y

    assert not [kind for _, kind, _ in _names(Sums(), torch.randn(3, 4)) if kind == "add"]


def test_a_sum_in_a_loop_is_recorded_a_bounded_number_of_times() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            for _ in range(100):
                x = x + y
            return x

    layers = probe(Loop(), torch.randn(3, 4)).layers
    assert sum(layer.kind == "add" for layer in layers) == 64


def test_a_layer_that_passes_its_input_on_shows_the_same_output_and_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval()
    first, second = probe(model, torch.randn(5, 4)).layers
    assert second.kind == "Dropout"
    assert (first.output, first.gradient) == (second.output, second.gradient)
    assert second.gradient is not None


def test_a_transformers_model_is_read_whole() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16)
    seen = probe(transformers.GPT2LMHeadModel(config))
    kinds = [layer.kind for layer in seen.layers if layer.name.startswith("transformer.h.1.")]
    assert kinds.count("Conv1D") == 4
    assert kinds.count("add") == 2
    assert [each.name for each in seen.attention] == ["transformer.h.0.attn", "transformer.h.1.attn"]
    assert all(layer.parametric for layer in seen.layers if layer.kind == "Conv1D")


@pytest.mark.parametrize(
    "parts",
    [
        lambda stack: stack,
        lambda stack: stack.unbind(),
        lambda stack: [part[0] for part in stack.chunk(3)],
        lambda stack: [part.view(4, 4) for part in torch.split(stack, 1)],
    ],
)
def test_weights_taken_from_a_stack_one_by_one_are_weights(parts: Any) -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for weight in parts(self.stack):
                x = torch.tensordot(x, weight, 1).tanh()
            return x

    kinds = [(kind, parametric) for _, kind, parametric in _names(Stacked(), torch.randn(3, 4))]
    assert kinds == [("tensordot", True), ("tanh", False)] * 3 + [("Stacked", False)]


def test_layers_inside_a_function_transform_are_left_out() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(torch.func.vmap(lambda row: torch.tanh(self.inner(row)))(x))

    assert _names(Mapped(), torch.randn(3, 4)) == [("outer", "Linear", True)]
