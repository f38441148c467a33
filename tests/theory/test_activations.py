"""Names, modules and callables become the same `Activation`."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError
from goodinit.theory import activation, activation_names, moments

X = torch.linspace(-4, 4, 101, dtype=torch.float64)

MODULES = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.PReLU(),
    nn.ELU(0.5),
    nn.SELU(),
    nn.CELU(2.0),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Sigmoid(),
    nn.LogSigmoid(),
    nn.Tanh(),
    nn.Tanhshrink(),
    nn.Softplus(2.0, 10.0),
    nn.Softsign(),
    nn.Softshrink(0.3),
    nn.Hardshrink(0.7),
    nn.Hardtanh(-2.0, 1.0),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Threshold(0.1, -2.0),
    nn.Identity(),
    nn.RReLU().eval(),
    nn.Dropout(0.3).eval(),
    nn.Sequential(nn.Linear(1, 1), nn.Tanh())[1],
]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_a_module_and_its_activation_compute_the_same(module):
    expected = module.double()(X.clone()).detach()
    torch.testing.assert_close(activation(module)(X).detach(), expected, rtol=1e-14, atol=1e-14)
    assert len(activation(module).branches) == 1


def test_every_elementwise_activation_class_of_torch_is_among_them():
    from torch.nn.modules import activation as torchs

    covered = {type(module).__name__ for module in MODULES} | {"RReLU"}
    elsewhere = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}
    assert set(torchs.__all__) - covered == elsewhere


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LeakyReLU", "leaky_relu"),
        ("leaky_relu(0.2)", nn.LeakyReLU(0.2)),
        ("leaky_relu(negative_slope=0.2)", nn.LeakyReLU(0.2)),
        ("torch.nn.functional.gelu", "GELU"),
        ("gelu(approximate='tanh')", "gelu_tanh"),
        ("swish", nn.SiLU),
        ("relu_", "relu"),
        ("hard-tanh", nn.Hardtanh()),
        ("linear", nn.Identity()),
        ("conv2d", None),
        ("prelu", nn.PReLU(7)),
        ("rrelu", nn.RReLU()),
        ("rrelu(0.1, 0.2)", nn.RReLU(0.1, 0.2)),
        ("dropout(0.25)", nn.Dropout(0.25)),
        ("glu", nn.GLU()),
    ],
)
def test_spellings_of_one_function_are_one_value(one, other):
    assert activation(one) == activation(other)
    assert hash(activation(one)) == hash(activation(other))


def test_every_listed_name_resolves():
    for name in activation_names():
        assert activation(name).branches, name


def test_parameters_may_be_given_beside_the_name():
    assert activation("elu", alpha=0.5) == activation(nn.ELU(0.5)) != activation("elu")


@pytest.mark.parametrize(
    "function",
    [
        torch.tanh,
        functional.tanh,
        np.tanh,
        math.tanh,
        lambda x: 2 * torch.sigmoid(2 * x) - 1,
        lambda x: np.tanh(np.asarray(x)) if isinstance(x, np.ndarray) else np.sinh(x) / np.cosh(x),
        nn.Sequential(nn.Identity(), nn.Tanh()),
    ],
)
def test_any_callable_is_understood(function):
    torch.testing.assert_close(activation(function)(X).detach(), X.tanh(), rtol=1e-12, atol=1e-12)
    assert moments(function).second_moment == pytest.approx(moments("tanh").second_moment, rel=1e-10)
    assert moments(function).derivative_second_moment == pytest.approx(
        moments("tanh").derivative_second_moment, rel=1e-10
    )


def test_a_closure_that_changes_is_seen():
    slope = 0.1
    function = lambda x: torch.where(x > 0, x, slope * x)  # noqa: E731
    before = moments(function).second_moment
    slope = 0.9
    assert before == pytest.approx((1 + 0.01) / 2)
    assert moments(function).second_moment == pytest.approx((1 + 0.81) / 2)


def test_an_in_place_module_leaves_no_trace():
    module = nn.Sequential(nn.ReLU(inplace=True))
    module.register_forward_hook(lambda *_: pytest.fail("the model's own hook was called"))
    assert moments(module).second_moment == pytest.approx(0.5)


def test_the_users_generator_is_not_moved():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(ArgumentError, match="random"):
        activation(lambda x: x + torch.rand_like(x))
    assert torch.equal(torch.rand(3), expected)
    np.random.seed(5)
    drawn = np.random.rand()
    np.random.seed(5)
    with pytest.raises(ArgumentError, match="random"):
        activation(lambda x: np.asarray(x) + np.random.rand())
    assert np.random.rand() == drawn


def test_the_callers_mode_does_not_matter():
    function = lambda x: torch.tanh(x) * 1.0  # noqa: E731
    with torch.inference_mode():
        assert moments(function).derivative_second_moment > 0.4
    with torch.no_grad(), torch.device("meta"):
        assert moments(lambda x: torch.tanh(x) * 3.0).derivative_second_moment > 3.6


def test_prelu_with_many_slopes_averages_over_its_units():
    module = nn.PReLU(4)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 0.0, 0.5, 1.0]))
    found = moments(module)
    assert found.second_moment == pytest.approx((1 + (0.25 + 1) / 4) / 2)


def test_rrelu_in_training_is_averaged_over_its_slopes():
    low, high = 0.2, 0.8
    found = moments(f"rrelu({low}, {high})")
    square = (high**3 - low**3) / (3 * (high - low))
    fourth = (high**5 - low**5) / (5 * (high - low))
    assert found.second_moment == pytest.approx((1 + square) / 2, rel=1e-12)
    assert found.fourth_moment == pytest.approx(3 * (1 + fourth) / 2, rel=1e-12)
    assert found.mean == pytest.approx((1 - 0.5) / math.sqrt(2 * math.pi), rel=1e-12)


def test_dropout_scales_the_second_moment_by_what_it_keeps():
    assert moments("dropout(0.2)").second_moment == pytest.approx(1 / 0.8, rel=1e-12)
    assert moments("dropout(0.2)").mean == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("relo", UnknownNameError, "did you mean 'relu'"),
        ("", UnknownNameError, "unknown"),
        (3, WrongTypeError, "activation is a int"),
        ("leaky_relu(slope=1)", ArgumentError, "no parameter 'slope'; its parameters: negative_slope"),
        ("relu(1)", ArgumentError, "at most 0"),
        ("elu(open('x'))", ArgumentError, "cannot be read"),
        ("softmax", ArgumentError, "not elementwise"),
        (nn.Softmax(dim=-1), ArgumentError, "not elementwise"),
        (lambda x: x - x.mean(), ArgumentError, "not elementwise"),
        (lambda x: torch.cumsum(x, 0), ArgumentError, "not elementwise"),
        (lambda x: x.flip(0), ArgumentError, "not elementwise"),
        (lambda x: functional.glu(torch.cat([x, x])[:-2], 0), ArgumentError, "must be elementwise"),
        (functional.dropout, ArgumentError, "random"),
        (lambda x: x + 1j, ArgumentError, "complex"),
        (lambda x: x.nothing, ArgumentError, "AttributeError"),
        (nn.Threshold, ArgumentError, "give an instance"),
        ("rrelu(0.9, 0.1)", ArgumentError, "swap them"),
        ("dropout(1.0)", ArgumentError, r"probability in \[0, 1\)"),
        ("gelu(approximate='cubic')", ArgumentError, "'none' or 'tanh'"),
    ],
)
def test_what_is_no_activation_is_refused_with_the_reason(function, error, message):
    with pytest.raises(error, match=message):
        activation(function)


def test_a_function_that_draws_numbers_seldom_is_random_too():
    import random

    for function in (
        lambda x: torch.where(torch.rand_like(x) < 1e-3, 0.0, x),
        lambda x: np.where(np.random.rand(len(x)) < 1e-3, 0.0, np.asarray(x)),
        lambda x: 0.0 if random.random() < 1e-3 else math.tanh(x),
    ):
        # 65,536 draws at a rate of 1e-3 all miss with a probability of e^-65.
        with pytest.raises(ArgumentError, match="random"):
            activation(function)
    # Drawing alone does no harm: what counts is whether the values differ.
    assert activation(lambda x: (torch.rand(3), torch.relu(x))[1]).branches


class Unpicklable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.derived = self.weight * 2  # no leaf: cannot be copied

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.derived


def test_a_module_that_cannot_be_copied_says_so():
    with pytest.raises(ArgumentError, match="Unpicklable cannot be copied to float64"):
        activation(Unpicklable())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_understood():
    scripted = torch.jit.script(nn.Sequential(nn.SiLU()))
    assert moments(scripted).second_moment == pytest.approx(moments("silu").second_moment, rel=1e-12)


def test_parameters_beside_a_callable_are_refused():
    with pytest.raises(ArgumentError, match="already has its own"):
        activation(torch.tanh, alpha=1.0)


def test_the_room_opens_without_scipy():
    code = (
        "import sys, goodinit.theory as t; t.linear_fans(2, 3); t.gain('gelu'); "
        "assert 'scipy' not in sys.modules, 'scipy was imported'; t.gain('gelu', 'critical'); "
        "assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists():
    import goodinit.theory as room

    for name in room.__all__:
        assert getattr(room, name) is not None
    assert set(room._HOME) == set(room.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        room.nonsense  # noqa: B018
