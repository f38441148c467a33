"""The nonlinearity between two weights, named or written by hand, as a function of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from goodinit.graph import Elementwise, trace
from goodinit.theory import activation_names
from goodinit.theory.named import GATES

POINTS = torch.linspace(-5, 5, 101, dtype=torch.float64)


class Between(nn.Module):
    """Two linear layers with a function between them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.function(self.first(x)))
        return out


def found(function: Callable[[Tensor], Tensor]) -> Elementwise | None:
    graph = trace(Between(function), torch.rand(5, 4))
    source = graph["second.weight"][0].source
    assert (source.kind, source.weights) == ("weight", ("first.weight",))
    sink = graph["first.weight"][0].sink
    assert (sink.kind, sink.weights) == ("weight", ("second.weight",))
    assert sink.activation == source.activation
    return source.activation


MODULES: dict[str, nn.Module] = {
    "relu": nn.ReLU(inplace=True),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "celu": nn.CELU(alpha=2.0),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "relu6": nn.ReLU6(),
    "logsigmoid": nn.LogSigmoid(),
    "tanhshrink": nn.Tanhshrink(),
    "softshrink": nn.Softshrink(),
    "hardshrink": nn.Hardshrink(),
    "threshold": nn.Threshold(0.1, 0.2),
    "leaky_relu": nn.LeakyReLU(0.2),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_named_and_gives_its_own_values(name: str) -> None:
    function = found(MODULES[name])
    assert function is not None
    assert function.known
    assert function.name.split("(")[0] in activation_names()
    torch.testing.assert_close(function(POINTS), MODULES[name](POINTS.clone()), rtol=1e-12, atol=1e-12)


HAND_WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), "quick_gelu"),
    "swish": (lambda x: x / (1 + torch.exp(-x)), "silu"),
    "gelu by erf": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), "gelu"),
    "leaky by where": (lambda x: torch.where(x > 0, x, 0.1 * x), "leaky_relu(negative_slope=0.1)"),
    "leaky by maximum": (lambda x: torch.maximum(x, 0.3 * x), "leaky_relu(negative_slope=0.3)"),
    "relu by mask": (lambda x: x * (x > 0), "relu"),
    "relu by mask of floats": (lambda x: x * (x > 0).float(), "relu"),
    "relu against zeros": (lambda x: torch.maximum(x, torch.zeros_like(x)), "relu"),
    "relu in place": (lambda x: x.clamp_(min=0), "relu"),
    "relu squared": (lambda x: x.clamp(min=0) ** 2, "relu_squared"),
    "relu by filling": (lambda x: x.masked_fill(x < 0, 0.0), "relu"),
    "through views": (lambda x: torch.tanh(x.view(5, 2, 3)).reshape(5, 6), "tanh"),
    "through a slice that is written": (lambda x: x.clone().copy_(torch.sin(x)), "sin"),
    "in half precision": (lambda x: torch.relu(x.half()).float(), "relu"),
    "through dropout": (lambda x: functional.dropout(torch.relu(x), 0.5), "relu"),
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_code_written_by_hand_is_recognised_by_its_values(name: str) -> None:
    function = found(HAND_WRITTEN[name][0])
    assert function is not None
    assert (function.name, function.known) == (HAND_WRITTEN[name][1], True)


UNNAMED: dict[str, Callable[[Tensor], Tensor]] = {
    "sine of a square": lambda x: torch.sin(x * x) + 0.5 * x,
    "cube": lambda x: x**3,
    "snake": lambda x: x + torch.sin(2 * x) ** 2 / 2,
    "two functions": lambda x: torch.tanh(functional.relu(x) - 1.5),
    "with tensor constants": lambda x: torch.tensor(0.7) * torch.tanh(x) + torch.tensor(0.1),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_code_without_a_name_is_replayed(name: str) -> None:
    function = found(UNNAMED[name])
    assert function is not None
    assert not function.known
    # Constants are stored by torch in float32.
    torch.testing.assert_close(function(POINTS), UNNAMED[name](POINTS.clone()), rtol=1e-6, atol=1e-6)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0.1, 2))
def test_replayed_arithmetic_gives_the_values_of_the_code(a: float, b: float, c: float) -> None:
    def code(x: Tensor) -> Tensor:
        return torch.atan(a * x + b) * c - torch.exp(-c * x * x) / c

    function = found(code)
    assert function is not None
    torch.testing.assert_close(function(POINTS), code(POINTS), rtol=1e-12, atol=1e-12)


def test_the_identity_is_none_and_a_multiple_is_linear() -> None:
    assert found(lambda x: x.view(5, 2, 3).transpose(1, 2).transpose(1, 2).flatten(1)) is None
    assert found(lambda x: x + 0.0) is None
    half = found(lambda x: x * 0.5)
    assert half is not None
    assert half.linear


def test_learned_scales_and_slopes_take_part_in_a_function() -> None:
    prelu = found(nn.PReLU())
    assert prelu is not None
    assert prelu.name == "leaky_relu(negative_slope=0.25)"


def test_pooling_keeps_the_function_before_it() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    source = trace(model, torch.rand(2, 3, 9, 9))["5.weight"][0].source
    assert source.activation is not None
    assert (source.kind, source.activation.name, source.pooled) == ("weight", "relu", True)


def test_every_gated_unit_has_a_gate_and_a_value() -> None:
    for function in GATES.values():
        bend = getattr(functional, function, None) or getattr(torch, function, None)
        if function in ("identity", "gelu_tanh") or bend is None:
            continue

        def unit(x: Tensor, bend: Callable[[Tensor], Tensor] = bend) -> Tensor:
            a, b = x.chunk(2, dim=-1)
            return bend(a) * b

        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.up, self.down = nn.Linear(4, 12), nn.Linear(6, 3)

            def forward(self, x: Tensor, unit: Callable[[Tensor], Tensor] = unit) -> Tensor:
                out: Tensor = self.down(unit(self.up(x)))
                return out

        graph = trace(Gated(), torch.rand(5, 4))
        gate, value = graph["up.weight"]
        assert (gate.gate, value.gate) == ("gate", "value")
        assert gate.sink.activation is not None
        assert gate.sink.activation.name == function
        assert value.sink.activation is None
        assert graph["down.weight"][0].source.kind == "gate"


def test_nn_glu_gates_with_its_second_half() -> None:
    value, gate = trace(nn.Sequential(nn.Linear(4, 12), nn.GLU(), nn.Linear(6, 3)), torch.rand(5, 4))[
        "0.weight"
    ]
    assert (value.gate, gate.gate) == ("value", "gate")
    assert gate.sink.activation is not None
    assert gate.sink.activation.name == "sigmoid"
