"""Gains: torch's own for the names that torch knows, 1/sqrt(E[phi(z)^2]) for every other activation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from goodinit import init

TORCH_NAMES = [
    *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
]

# Every elementwise activation of torch.nn that draws nothing, with its default arguments.
MODULES: list[torch.nn.Module] = [
    *(torch.nn.ELU(), torch.nn.CELU(), torch.nn.GELU(), torch.nn.GELU("tanh"), torch.nn.Hardshrink()),
    *(torch.nn.Hardsigmoid(), torch.nn.Hardswish(), torch.nn.Hardtanh(), torch.nn.LeakyReLU()),
    *(torch.nn.LogSigmoid(), torch.nn.Mish(), torch.nn.PReLU(), torch.nn.ReLU(), torch.nn.ReLU6()),
    *(torch.nn.SELU(), torch.nn.SiLU(), torch.nn.Sigmoid(), torch.nn.Softplus(), torch.nn.Softshrink()),
    *(torch.nn.Softsign(), torch.nn.Tanh(), torch.nn.Tanhshrink(), torch.nn.Threshold(0.1, 20.0)),
    *(torch.nn.RReLU().eval(), torch.nn.Identity(), torch.nn.ELU(0.5), torch.nn.LeakyReLU(0.3)),
]
NAMES = {
    type(module).__name__.lower(): module
    for module in (
        *(torch.nn.ELU(), torch.nn.CELU(), torch.nn.GELU(), torch.nn.Hardshrink(), torch.nn.Hardsigmoid()),
        *(
            torch.nn.Hardswish(),
            torch.nn.Hardtanh(),
            torch.nn.LogSigmoid(),
            torch.nn.Mish(),
            torch.nn.PReLU(),
        ),
        *(torch.nn.ReLU6(), torch.nn.SiLU(), torch.nn.Softplus(), torch.nn.Softshrink(), torch.nn.Softsign()),
        torch.nn.Tanhshrink(),
    )
}


def brute_force(function: Any) -> float:
    """1/sqrt(E[phi(z)^2]) by Simpson's rule, piece by piece: the kinks lie at multiples of 1/2 and at 0.1."""
    edges = sorted({*np.arange(-10.0, 10.5, 0.5).tolist(), 0.1})
    total = 0.0
    for low, high in itertools.pairwise(edges):
        # An open interval, so that a jump at an edge belongs to its own side.
        x = np.linspace(np.nextafter(low, high), np.nextafter(high, low), 513)
        with torch.no_grad():
            y = function(torch.from_numpy(x)).numpy()
        total += float(integrate.simpson(y * y * stats.norm.pdf(x), x=x))
    return 1 / math.sqrt(total)


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_a_name_that_torch_knows_has_the_gain_of_torch_to_the_bit(name: str) -> None:
    for slope in (None, 0, 0.01, -0.5, 10, 2**0.5):
        assert init.calculate_gain(name, slope) == torch.nn.init.calculate_gain(name, slope)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_the_gain_that_keeps_its_second_moment(module: torch.nn.Module) -> None:
    expected = brute_force(module.double())
    assert init.calculate_gain(module) == pytest.approx(expected, rel=1e-8)
    assert init.calculate_gain(module) != pytest.approx(1.001 * expected, rel=1e-8)  # planted


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_module(name: str) -> None:
    assert init.calculate_gain(name) == pytest.approx(brute_force(NAMES[name].double()), rel=1e-8)


def test_a_callable_and_a_class_have_gains_too() -> None:
    assert init.calculate_gain(torch.abs) == pytest.approx(1.0, rel=1e-9)
    assert init.calculate_gain(lambda x: x * x) == pytest.approx(1 / math.sqrt(3), rel=1e-9)
    assert init.calculate_gain(torch.nn.SiLU) == init.calculate_gain("silu")


def test_a_number_is_for_leaky_relu_alone_as_in_torch() -> None:
    assert init.calculate_gain("gelu", 0.3) == init.calculate_gain("gelu")
    assert init.calculate_gain("relu", 0.3) == torch.nn.init.calculate_gain("relu", 0.3)


@pytest.mark.parametrize("fill", ["kaiming_uniform_", "kaiming_normal_"])
def test_kaiming_takes_every_nonlinearity(fill: str) -> None:
    def std(nonlinearity: Any) -> torch.Tensor:
        tensor = torch.empty(50, 40, dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        return getattr(init, fill)(tensor, nonlinearity=nonlinearity, generator=generator).std()

    for nonlinearity in ("mish", torch.nn.Mish(), torch.nn.functional.mish):
        ratio = float(std(nonlinearity) / std("linear"))
        assert ratio == pytest.approx(init.calculate_gain("mish"), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("geluu", "Unsupported nonlinearity geluu (did you mean 'gelu'?)"),
        ("leaky_rellu", "Unsupported nonlinearity leaky_rellu (did you mean 'leaky_relu'?)"),
        ("zzzzzzzz", "Unsupported nonlinearity zzzzzzzz"),
    ],
)
def test_an_unknown_name_gets_the_words_of_torch_and_the_nearest_name(name: str, words: str) -> None:
    with pytest.raises(ValueError, match="Unsupported") as caught:
        init.calculate_gain(name)
    assert str(caught.value) == words
    with pytest.raises(ValueError, match="Unsupported"):
        init.kaiming_normal_(torch.empty(3, 3), nonlinearity=name)


def test_what_has_no_gain_is_refused_with_a_reason() -> None:
    for nonlinearity in ("softmax", torch.nn.Softmax(-1), torch.zeros_like):
        with pytest.raises(ValueError, match=r"Unsupported nonlinearity .*: "):
            init.calculate_gain(nonlinearity)
