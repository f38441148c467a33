"""Gaussian moments against closed forms and against brute force."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, ndtr
from torch import nn

from goodinit.errors import ArgumentError
from goodinit.theory import moments

ACCURACY = 1e-10  # what `moments` promises
PI = math.pi


def pdf(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * PI)


def close(found, expected, scale=1.0):
    return abs(found - expected) <= ACCURACY * max(abs(expected), scale)


def double_factorial(n):
    return math.prod(range(n, 0, -2))


# name, function, E[φ], E[φ²], E[φ′²] for x ~ N(0, 1)
CLOSED = {
    "identity": ("identity", 0, 1, 1),
    "relu": ("relu", 1 / math.sqrt(2 * PI), 1 / 2, 1 / 2),
    "abs": (torch.abs, math.sqrt(2 / PI), 1, 1),
    "leaky": ("leaky_relu(0.3)", 0.7 / math.sqrt(2 * PI), 1.09 / 2, 1.09 / 2),
    "square": ("square", 1, 3, 4),
    "cube": (lambda x: x**3, 0, 15, 27),
    "relu cubed": (lambda x: torch.relu(x) ** 3, 2 / math.sqrt(2 * PI), 15 / 2, 27 / 2),
    "ninth power": (lambda x: x**9, 0, double_factorial(17), 81 * double_factorial(15)),
    "exp": ("exp", math.exp(1 / 2), math.exp(2), math.exp(2)),
    "exp(x²/8)": (lambda x: torch.exp(x * x / 8), 2 / math.sqrt(3), math.sqrt(2), math.sqrt(2) / 8),
    "erf": ("erf", 0, 2 / PI * math.asin(2 / 3), 4 / PI / math.sqrt(5)),
    "sin": ("sin", 0, (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2),
    "sin 100x": (lambda x: torch.sin(100 * x), 0, 1 / 2, 100**2 / 2),
    "cos": ("cos", math.exp(-1 / 2), (1 + math.exp(-2)) / 2, (1 - math.exp(-2)) / 2),
    "sign": ("sign", 0, 1, 0),
    "step": (lambda x: (x > 0.7310585).double(), float(ndtr(-0.7310585)), float(ndtr(-0.7310585)), 0),
    "hardtanh": (
        "hardtanh",
        0,
        math.erf(1 / math.sqrt(2)) - 2 * pdf(1) + 2 * float(ndtr(-1)),
        math.erf(1 / math.sqrt(2)),
    ),
    "hardshrink": (
        "hardshrink",
        0,
        2 * (float(ndtr(-0.5)) + 0.5 * pdf(0.5)),
        2 * float(ndtr(-0.5)),
    ),
    "kink at 1/3": (
        lambda x: torch.relu(x - 1 / 3),
        pdf(1 / 3) - float(ndtr(-1 / 3)) / 3,
        (1 + 1 / 9) * float(ndtr(-1 / 3)) - pdf(1 / 3) / 3,
        float(ndtr(-1 / 3)),
    ),
    "gelu": (
        "gelu",
        1 / (2 * math.sqrt(PI)),
        1 / 4 + (math.asin(1 / 2) + 1 / math.sqrt(3)) / (2 * PI),
        1 / 3 + 2 / (3 * math.sqrt(3) * PI),
    ),
    "narrow bump": (
        lambda x: torch.exp(-(((x - 0.3) / 1e-3) ** 2) / 2),
        1e-3 / math.sqrt(1 + 1e-6) * math.exp(-0.045 / (1 + 1e-6)),
        1e-3 / math.sqrt(2 + 1e-6) * math.exp(-0.09 / (2 + 1e-6)),
        None,
    ),
    "steep erf": (lambda x: torch.erf(1000 * x), 0, 2 / PI * math.asin(2e6 / (1 + 2e6)), None),
    "selu": ("selu", 0, 1, None),  # Klambauer et al. 2017: the fixed point (0, 1)
    "numpy relu": (lambda x: np.maximum(x, 0.0), 1 / math.sqrt(2 * PI), 1 / 2, 1 / 2),
    "numpy step": (lambda x: np.heaviside(x - 0.3, 0.0), float(ndtr(-0.3)), float(ndtr(-0.3)), 0),
    "numpy erf": (lambda x: erf(np.asarray(x)), 0, 2 / PI * math.asin(2 / 3), 4 / PI / math.sqrt(5)),
    "scalar sin": (math.sin, 0, (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2),
}


@pytest.mark.parametrize("case", CLOSED)
def test_moments_equal_their_closed_forms(case):
    function, mean, second, derivative = CLOSED[case]
    found = moments(function)
    assert close(found.mean, mean)
    assert close(found.second_moment, second, 0.0)
    if derivative is not None:
        assert close(found.derivative_second_moment, derivative, 0.0)
    assert found.error <= ACCURACY


def test_the_same_check_catches_a_wrong_value():
    assert not close(moments("gelu").second_moment, CLOSED["gelu"][2] * (1 + 1e-9))
    assert not close(moments("sign").mean, 1e-9)


def test_the_error_bound_holds():
    for function, _, second, derivative in CLOSED.values():
        found = moments(function)
        slack = 20 * 2.3e-16  # summing the panels rounds too
        assert abs(found.second_moment - second) <= (found.error + slack) * second
        if derivative:
            assert abs(found.derivative_second_moment - derivative) <= (found.error + slack) * derivative


# A second, unrelated computation: 2²¹ equal cells on [-8, 8] whose edges, multiples of 2⁻¹⁷,
# meet every kink and jump of torch's functions. Derivatives are differences over a cell.
CELLS = 2**21
EDGES = torch.linspace(-8, 8, CELLS + 1, dtype=torch.float64)
MASS = torch.exp(-(((EDGES[1:] + EDGES[:-1]) / 2) ** 2) / 2) * (16 / CELLS) / math.sqrt(2 * PI)
TORCHS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(),
    nn.PReLU(),
    nn.RReLU().eval(),
    nn.ELU(),
    nn.SELU(),
    nn.CELU(0.5),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Sigmoid(),
    nn.LogSigmoid(),
    nn.Tanh(),
    nn.Tanhshrink(),
    nn.Softplus(),
    nn.Softplus(4.0, 1.0),
    nn.Softsign(),
    nn.Softshrink(),
    nn.Hardshrink(),
    nn.Hardtanh(),
    nn.Hardtanh(-2.0, 0.5),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Threshold(0.25, -1.0),
]


def brute(module):
    with torch.no_grad():
        centres = module.double()((EDGES[1:] + EDGES[:-1]) / 2)
        # Next to an edge and not on it: at a jump the edge has the value of one side.
        inside = 2.0**-30
        rise = (module(EDGES[1:] - inside) - module(EDGES[:-1] + inside)) / (16 / CELLS - 2 * inside)
    return (float(MASS @ centres), float(MASS @ centres**2), float(MASS @ rise**2), float(MASS @ centres**4))


@pytest.mark.parametrize("module", TORCHS, ids=repr)
def test_every_activation_of_torch_agrees_with_brute_force(module):
    mean, second, derivative, fourth = brute(module)
    found = moments(module)
    # The cells' own error: 2⁻³⁴ of a second derivative over 24, and 1e-15·2¹⁷ in a difference.
    assert found.mean == pytest.approx(mean, rel=1e-9, abs=1e-10)
    assert found.second_moment == pytest.approx(second, rel=1e-9)
    assert found.derivative_second_moment == pytest.approx(derivative, rel=1e-9)
    assert found.fourth_moment == pytest.approx(fourth, rel=1e-9)


def test_brute_force_tells_neighbours_apart():
    assert moments("gelu").second_moment != pytest.approx(brute(nn.GELU("tanh"))[1], rel=1e-9)
    assert moments("leaky_relu(0.0100001)").second_moment != pytest.approx(brute(nn.LeakyReLU())[1], rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e6), st.sampled_from(["relu", "abs", "leaky_relu(0.3)", "identity"]))
def test_a_scale_invariant_function_scales_with_q(q, name):
    assert moments(name, q).second_moment == pytest.approx(q * moments(name).second_moment, rel=1e-10)
    assert moments(name, q).derivative_second_moment == pytest.approx(
        moments(name).derivative_second_moment, rel=1e-10
    )
    assert moments(name, q).slope == pytest.approx(moments(name).second_moment, rel=1e-8)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.floats(-3, 3), st.floats(-2, 2))
def test_scale_and_shift_act_as_algebra_says(a, shift, lift):
    base = moments("erf", a * a)
    wide = moments(lambda x: torch.erf(a * x) + lift)
    assert wide.mean == pytest.approx(lift, abs=1e-10)
    assert wide.second_moment == pytest.approx(base.second_moment + lift**2, rel=1e-9)
    assert wide.derivative_second_moment == pytest.approx(a * a * base.derivative_second_moment, rel=1e-9)
    moved = moments(lambda x: torch.erf(x + shift))
    assert moved.mean == pytest.approx(math.erf(shift / math.sqrt(3)), rel=1e-9, abs=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5), st.floats(0.01, 9))
def test_kinks_and_jumps_anywhere_are_found(kink, jump, q):
    s = math.sqrt(q)
    found = moments(lambda x: torch.relu(x - kink) + (x > jump).double(), q)
    k, high = kink / s, max(kink, jump) / s
    ramp = q * ((1 + k * k) * float(ndtr(-k)) - k * pdf(k))
    both = s * pdf(high) - kink * float(ndtr(-high))
    expected = ramp + 2 * both + float(ndtr(-jump / s))
    assert found.second_moment == pytest.approx(expected, rel=1e-10, abs=1e-13)
    assert found.derivative_second_moment == pytest.approx(float(ndtr(-k)), rel=1e-10, abs=1e-13)


@pytest.mark.parametrize(
    "name", ["tanh", "gelu", "relu", "hardshrink", "sign", "selu", "sigmoid", "hardtanh"]
)
@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
def test_the_slope_is_the_derivative_of_the_second_moment(name, q):
    h = 1e-4 * q
    difference = (moments(name, q + h).second_moment - moments(name, q - h).second_moment) / (2 * h)
    scale = moments(name, q).second_moment / q
    assert moments(name, q).slope == pytest.approx(difference, rel=1e-6, abs=1e-7 * scale)


def test_small_and_large_variances_reach_their_limits():
    assert moments("tanh", 0.0).derivative_second_moment == pytest.approx(1, rel=1e-12)
    assert moments("relu", 0.0).derivative_second_moment == pytest.approx(0.5, rel=1e-12)
    assert moments("sigmoid", 0.0).second_moment == pytest.approx(0.25, rel=1e-12)
    assert moments("tanh", 1e10).second_moment == pytest.approx(1 - 2 / math.sqrt(2 * PI * 1e10), rel=1e-9)
    assert moments("erf", 1e8).second_moment == pytest.approx(2 / PI * math.asin(2e8 / (1 + 2e8)), rel=1e-12)


def test_a_function_that_is_zero_where_the_signal_is_has_moments_of_zero():
    for q in (1e-3, 1.8e-4, 1e-4, 0.0):  # E[φ²] ≈ 1e-57, 1e-308, 0, 0
        assert 0 <= moments("hardshrink", q).second_moment < 1e-50
        assert 0 <= moments("hardshrink", q).derivative_second_moment < 1e-50


def test_the_backward_moment_is_autograds():
    def straight_through(x):
        return x + (torch.round(x) - x).detach()

    assert moments(straight_through).derivative_second_moment == pytest.approx(1, rel=1e-12)
    assert moments(torch.round).derivative_second_moment == 0


def test_a_function_without_backward_formula_is_differentiated_anyway():
    class Cubed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x**3

    assert moments(Cubed.apply).derivative_second_moment == pytest.approx(27, rel=1e-10)


def test_an_infinite_gradient_is_said_to_be_infinite():
    found = moments(lambda x: torch.sqrt(x.abs()))
    assert found.second_moment == pytest.approx(math.sqrt(2 / PI), rel=1e-10)
    assert found.derivative_second_moment == math.inf


@pytest.mark.parametrize(
    ("function", "q", "message"),
    [
        (torch.sqrt, 1.0, r"not finite \(NaN or infinite\) for x in \[-64, 0\]"),
        (lambda x: torch.where(x > 1.5, torch.nan, x), 1.0, r"x in \[1.5, 64\]"),
        (lambda x: torch.exp(x * x / 4), 1.0, "does not exist"),
        (lambda x: 1 / x, 1.0, "did not converge"),
        ("relu", -1.0, "q is -1.0"),
        ("relu", math.nan, "q is nan"),
        ("relu", math.inf, "q is inf"),
    ],
)
def test_what_has_no_moments_is_refused_with_the_place(function, q, message):
    with pytest.raises(ArgumentError, match=message):
        moments(function, q)


def test_a_single_undefined_point_does_no_harm():
    assert math.isfinite(moments(lambda x: torch.sin(x) / x).second_moment)


def test_a_coarse_function_is_answered_with_a_warning():
    with pytest.warns(UserWarning, match="float32 inside"):
        found = moments(lambda x: torch.tanh(x.float()))
    assert 1e-10 < found.error < 1e-5
    assert found.second_moment == pytest.approx(moments("tanh").second_moment, rel=found.error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moments("tanh")
