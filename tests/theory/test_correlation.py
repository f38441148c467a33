"""Two inputs: closed-form kernels, fixed points, depth scales."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf as special_erf
from scipy.special import owens_t

from goodinit.errors import ArgumentError
from goodinit.theory import (
    activation,
    c_star,
    chi_perp,
    correlation_map,
    correlation_slope,
    depth_scales,
    q_star,
)
from goodinit.theory.overlap import overlap

CORRELATIONS = [-1.0, -0.999, -0.5, 0.0, 0.1, 0.9, 0.9999, 1 - 1e-9, 1.0]


def arc_cosine(order, c):
    """E[relu(u)ⁿ relu(v)ⁿ] (Cho and Saul 2009), halved: theirs is twice the mean."""
    t = math.acos(c)
    sine = math.sqrt((1 - c) * (1 + c))
    return {
        0: (math.pi - t) / (2 * math.pi),
        1: (sine + (math.pi - t) * c) / (2 * math.pi),
        2: (3 * sine * c + (math.pi - t) * (1 + 2 * c * c)) / (2 * math.pi),
    }[order]


KERNELS = {
    "step": (lambda x: (x > 0).double(), 1.0, lambda c: arc_cosine(0, c)),
    "relu": ("relu", 1.0, lambda c: arc_cosine(1, c)),
    "relu²": ("relu_squared", 1.0, lambda c: arc_cosine(2, c)),
    "numpy relu": (lambda x: np.maximum(x, 0.0), 1.0, lambda c: arc_cosine(1, c)),
    "sign": ("sign", 4.0, lambda c: 2 / math.pi * math.asin(c)),
    "erf": ("erf", 1.0, lambda c: 2 / math.pi * math.asin(2 * c / 3)),  # Williams 1998
    "erf, wide": ("erf", 100.0, lambda c: 2 / math.pi * math.asin(200 * c / 201)),
    "square": ("square", 2.0, lambda c: 4 * (1 + 2 * c * c)),
    "exp": ("exp", 1.0, lambda c: math.exp(1 + c)),
    "sin": ("sin", 1.0, lambda c: math.exp(-1) * math.sinh(c)),
    # P(u > k, v > k) at k = 0.3 by Owen's T; a jump off the origin.
    "step at 0.3": (
        lambda x: (x > 0.3).double(),
        1.0,
        lambda c: (
            0.5 * math.erfc(0.3 / math.sqrt(2)) - 2 * float(owens_t(0.3, math.sqrt((1 - c) / (1 + c))))
            if c > -1
            else 0.0
        ),
    ),
}


@pytest.mark.parametrize("case", KERNELS)
@pytest.mark.parametrize("c", CORRELATIONS)
def test_overlaps_equal_their_closed_forms(case, c):
    function, q, kernel = KERNELS[case]
    expected, size = kernel(c), kernel(1.0)
    assert abs(overlap(activation(function), c, q) - expected) <= 1e-10 * size


# E[φ′ φ′]: for smooth functions the kernel's derivative by q c, for ReLU² four arc-cosine kernels of order 1.
SLOPES = {
    "relu": ("relu", 1.0, lambda c: arc_cosine(0, c)),
    "relu²": ("relu_squared", 1.0, lambda c: 4 * arc_cosine(1, c)),
    "numpy relu": (lambda x: np.maximum(x, 0.0), 1.0, lambda c: arc_cosine(0, c)),
    "numpy erf": (special_erf, 2.0, lambda c: 4 / math.pi / math.sqrt(25 - (4 * c) ** 2)),
    "erf": ("erf", 2.0, lambda c: 4 / math.pi / math.sqrt(25 - (4 * c) ** 2)),
    "square": ("square", 2.0, lambda c: 8 * c),
    "exp": ("exp", 1.0, lambda c: math.exp(1 + c)),
    "sin": ("sin", 1.0, lambda c: math.exp(-1) * math.cosh(c)),
    "He₃": (lambda x: x**3 - 3 * x, 1.0, lambda c: 9 * 2 * c * c),
}


@pytest.mark.parametrize("case", SLOPES)
@pytest.mark.parametrize("c", CORRELATIONS)
def test_overlaps_of_derivatives_equal_their_closed_forms(case, c):
    function, q, kernel = SLOPES[case]
    found = overlap(activation(function), c, q, derivative=True)
    assert abs(found - kernel(c)) <= 1e-10 * kernel(1.0)


def test_hermite_polynomials_are_orthogonal_at_every_correlation():
    sum_of_both = lambda x: (x**3 - 3 * x) + 2 * (x**2 - 1)  # noqa: E731
    for c in (-0.8, 0.3, 0.97):  # Mehler: E[Heₙ(u) Heₘ(v)] = n! cⁿ where n = m, and 0 elsewhere
        found = overlap(activation(sum_of_both), c, 1.0)
        assert found == pytest.approx(6 * c**3 + 4 * 2 * c**2, rel=1e-10, abs=1e-9)


def test_the_same_check_catches_a_wrong_kernel():
    found = overlap(activation("relu"), 0.9, 1.0)
    assert abs(found - arc_cosine(1, 0.9 + 1e-9)) > 1e-10 * arc_cosine(1, 1.0)


@pytest.mark.parametrize("c", [-0.7, 0.0, 0.5, 0.99])
def test_the_slope_is_the_derivative_of_the_map(c):
    for name in ("relu", "tanh", "gelu", "swiglu"):
        # At a fixed point with σ_b = 0, so that the power is q.
        q, h = 1.0, 1e-4 * (1 - c)
        sigma_w = 1 / math.sqrt(correlation_power(name))
        rise = (correlation_map(name, c + h, q, sigma_w) - correlation_map(name, c - h, q, sigma_w)) / (2 * h)
        assert correlation_slope(name, c, q, sigma_w) == pytest.approx(rise, rel=1e-5)


def correlation_power(name):
    from goodinit.theory import moments

    return moments(name).second_moment


@settings(max_examples=10, deadline=None)
@given(st.floats(-1, 1), st.floats(0.05, 5), st.floats(0.2, 3), st.floats(0, 1))
def test_the_map_keeps_to_correlations_and_fixes_one(c, q, sigma_w, sigma_b):
    found = correlation_map("hardtanh", c, q, sigma_w, sigma_b)
    assert -1 - 1e-12 <= found <= 1 + 1e-12
    assert correlation_map("hardtanh", 1.0, q, sigma_w, sigma_b) == pytest.approx(1, abs=1e-12)
    # Odd functions: c → −c without biases.
    opposite = correlation_map("hardtanh", -c, q, sigma_w)
    assert opposite == pytest.approx(-correlation_map("hardtanh", c, q, sigma_w), abs=1e-11)


def test_independent_randomness_parts_equal_inputs():
    # Dropout: two passes of one input agree only as far as their means do.
    assert correlation_map("dropout(0.2)", 1.0) == pytest.approx(0.8, rel=1e-10)
    # PReLU's slopes differ by unit, not by pass.
    module = torch.nn.PReLU(2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 1.0]))
    assert correlation_map(module, 1.0) == pytest.approx(1, rel=1e-10)
    expected = (arc_cosine(1, 0.3) + 0.3) / 2 / 0.75
    assert correlation_map(module, 0.3) == pytest.approx(expected, rel=1e-10)


def test_chaos_has_a_fixed_point_below_one_and_order_has_not():
    sigma_w, sigma_b = 2.0, 0.3
    q = q_star("erf", sigma_w, sigma_b)
    power = sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + sigma_b**2
    c = 0.5
    for _ in range(2000):
        c = (sigma_w**2 * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)) + sigma_b**2) / power
    assert c_star("erf", sigma_w, sigma_b) == pytest.approx(c, abs=1e-8)
    assert c < 0.9
    assert c_star("erf", 0.7, sigma_b) == 1.0


def test_depth_scales_follow_from_the_slopes():
    sigma_w, sigma_b = 0.8, 0.3
    found = depth_scales("erf", sigma_w, sigma_b)
    chi = chi_perp("erf", q_star("erf", sigma_w, sigma_b), sigma_w)
    assert found.correlation == pytest.approx(-1 / math.log(chi))
    assert found.gradient == pytest.approx(found.correlation)
    critical = depth_scales("relu", math.sqrt(2))
    assert critical.gradient == critical.correlation == critical.second_moment == math.inf
    assert depth_scales("erf", 1.2, sigma_b).gradient > found.gradient


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(0.8, 0.3), (1.1, 0.2), (1.9, 0.4)])
def test_the_closed_form_network_forgets_at_the_depth_scales(sigma_w, sigma_b):
    """The maps of erf in closed form, iterated until only the slowest factor is left."""

    def after(c, q):
        return sigma_w**2 * 2 / math.pi * math.asin(2 * c * q / (1 + 2 * q)) + sigma_b**2

    q = 1.0
    for _ in range(500):
        q = after(1.0, q)
    off, c_end = q * 1.001, 0.5
    for _ in range(5000):
        c_end = after(c_end, q) / q
    c = c_end - 1e-4
    errors, gaps = [], []
    for _ in range(3):
        errors.append(abs(off - q))
        gaps.append(abs(c - c_end))
        off, c = after(1.0, off), after(c, q) / q
    found = depth_scales("erf", sigma_w, sigma_b)
    # The first step is off by the curvature of the map, of the size of the error itself.
    assert found.second_moment == pytest.approx(-1 / math.log(errors[1] / errors[0]), rel=2e-3)
    assert found.correlation == pytest.approx(-1 / math.log(gaps[1] / gaps[0]), rel=2e-3)
    assert found.gradient == pytest.approx(
        1 / abs(math.log(sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q))), rel=1e-8
    )
    wrong = depth_scales("erf", sigma_w * 1.02, sigma_b)
    assert wrong.correlation != pytest.approx(-1 / math.log(gaps[1] / gaps[0]), rel=2e-3)
    assert wrong.second_moment != pytest.approx(-1 / math.log(errors[1] / errors[0]), rel=2e-3)


def test_dropout_keeps_equal_inputs_apart_at_every_depth():
    # Schoenholz et al. 2017, section 5. Linear: q = σ_w² q / ρ + σ_b², c q = σ_w² c q + σ_b², with ρ kept.
    kept, sigma_w, sigma_b = 0.8, 0.8, 0.3
    q = sigma_b**2 / (1 - sigma_w**2 / kept)
    name = "dropout(0.2)"
    assert q_star(name, sigma_w, sigma_b) == pytest.approx(q, rel=1e-9)
    assert c_star(name, sigma_w, sigma_b) == pytest.approx(sigma_b**2 / q / (1 - sigma_w**2), rel=1e-8)
    assert correlation_slope(name, 1.0, q, sigma_w) == pytest.approx(sigma_w**2, rel=1e-10)
    assert depth_scales(name, sigma_w, sigma_b).correlation == pytest.approx(-1 / math.log(sigma_w**2))
    assert c_star("rrelu", 1.0, 0.5) < c_star("rrelu", 0.5, 0.5) < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correlation_map("relu", 1.5), "c is 1.5"),
        (lambda: correlation_slope("relu", math.nan), "c is nan"),
        (lambda: correlation_map(lambda x: x * 0, 0.5), "gives no signal"),
        (lambda: depth_scales("relu", 2.0), "grows without bound"),
    ],
)
def test_impossible_questions_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
