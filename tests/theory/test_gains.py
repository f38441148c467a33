"""Gains and critical points against published numbers and against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from goodinit.errors import ArgumentError
from goodinit.theory import (
    activation_names,
    chi_par,
    chi_perp,
    critical_point,
    gain,
    moments,
    q_map,
    q_star,
)


@pytest.mark.parametrize("objective", ["forward", "backward", "critical"])
def test_scale_invariant_functions_have_one_gain_for_every_objective(objective):
    assert gain("relu", objective) == pytest.approx(math.sqrt(2), rel=1e-12)  # He et al. 2015, equation 10
    assert gain("identity", objective) == pytest.approx(1, rel=1e-12)
    assert gain(None, objective) == gain("linear", objective)
    for slope in (0.01, 0.25, 1.0):  # He et al. 2015, equation 15
        expected = math.sqrt(2 / (1 + slope**2))
        assert gain(f"leaky_relu({slope})", objective) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100))
def test_scaling_the_output_divides_every_gain(a):
    for objective in ("forward", "backward", "critical"):
        scaled = gain(lambda x: a * torch.relu(x), objective)
        assert scaled == pytest.approx(gain("relu", objective) / a, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "sigmoid", "elu", "softsign", "mish", "swiglu"])
def test_a_gain_does_what_its_objective_says(name):
    assert gain(name, "forward") ** 2 * moments(name).second_moment == pytest.approx(1, rel=1e-12)
    assert gain(name, "backward") ** 2 * moments(name).derivative_second_moment == pytest.approx(1, rel=1e-12)
    assert gain(name) != pytest.approx(gain(name, "backward"), rel=1e-3)


def test_selu_has_gain_one():
    assert gain("selu") == pytest.approx(1, rel=1e-10)  # Klambauer et al. 2017, theorem 1


def test_a_gain_keeps_the_second_moment_of_a_real_network():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 400, generator=generator)
    for module in (nn.SiLU(), nn.Tanh(), nn.Hardswish()):
        weight = torch.randn(400, 400, generator=generator) * gain(module) / 20
        out = module(x) @ weight.T
        # The std of the mean square is below √((κ − 1)/400 + 2/400) < 0.13; 5 of those are 6e-7.
        assert abs(float(out.square().mean()) - 1) < 5 * 0.13
        wrong = module(x) @ (weight.T * 2)
        assert abs(float(wrong.square().mean()) - 1) > 5 * 0.13


@pytest.mark.parametrize(
    ("function", "objective", "message"),
    [
        ("relu", "sideways", "objective is 'sideways'"),
        ("sign", "backward", "E\\[φ′²\\] is 0"),
        (lambda x: torch.sqrt(x.abs()), "backward", "E\\[φ′²\\] is inf"),
        (lambda x: x * 0, "forward", "E\\[φ²\\] is 0"),
        (lambda x: x * 0, "critical", "zero almost everywhere"),
    ],
)
def test_a_gain_that_does_not_exist_is_an_error(function, objective, message):
    with pytest.raises(ArgumentError, match=message):
        gain(function, objective)


# Roberts, Yaida and Hanin, The Principles of Deep Learning Theory (2022), section 5.3.3:
# (C_b, C_W) and K* where both susceptibilities are 1.
HALF_STABLE = {
    "silu": (0.55514317, 1.98800468, 14.32017362),
    "gelu": (0.17292239, 1.98305826, (3 + math.sqrt(17)) / 2),
}


@pytest.mark.parametrize("name", HALF_STABLE)
def test_the_published_critical_points_are_found(name):
    bias, weight, q = HALF_STABLE[name]
    found = critical_point(name)
    assert found.exists
    assert found.sigma_b**2 == pytest.approx(bias, abs=1e-8)
    assert found.sigma_w**2 == pytest.approx(weight, abs=1e-8)
    assert found.q_star == pytest.approx(q, abs=1e-7)
    assert found.chi_par == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("name", ["tanh", "sin", "softsign", "hardtanh", "elu", "atan"])
def test_saturating_odd_functions_are_critical_at_unit_slope(name):
    found = critical_point(name)  # Schoenholz et al. 2017: (σ_w², σ_b²) = (1, 0) for tanh
    assert (found.exists, found.sigma_b, found.q_star) == (True, 0.0, 0.0)
    assert found.sigma_w == pytest.approx(1, rel=1e-6)


def test_the_critical_line_of_tanh_goes_through_the_published_points():
    # Schoenholz et al. 2017, figure 2: σ_b² = 0.05 is critical at σ_w² ≈ 1.76.
    q = q_star("tanh", math.sqrt(1.76), math.sqrt(0.05))
    assert chi_perp("tanh", q, math.sqrt(1.76)) == pytest.approx(1, abs=5e-3)
    assert chi_perp("tanh", q_star("tanh", math.sqrt(1.9), math.sqrt(0.05)), math.sqrt(1.9)) > 1.02
    # Xiao et al. 2018, section 4: σ_w² = 1.05, σ_b² = 2.01e-5.
    q = q_star("tanh", math.sqrt(1.05), math.sqrt(2.01e-5))
    assert chi_perp("tanh", q, math.sqrt(1.05)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["tanh", "selu", "elu", "erf", "softsign", "glu"])
@pytest.mark.parametrize("q", [0.1, 1.0])
def test_a_wished_q_gives_a_critical_fixed_point(name, q):
    found = critical_point(name, q)
    assert found.exists
    assert found.chi_par <= 1
    assert q_map(name, q, found.sigma_w, found.sigma_b) == pytest.approx(q, rel=1e-10)
    assert chi_perp(name, q, found.sigma_w) == pytest.approx(1, rel=1e-10)
    if name != "glu":  # its map bends upwards: stable, but only for a start close by
        assert q_star(name, found.sigma_w, found.sigma_b, start=q * 1.5) == pytest.approx(q, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 1e4))
def test_the_critical_line_of_erf_is_its_closed_form(q):
    found = critical_point("erf", q)
    square = math.pi / 4 * math.sqrt(1 + 4 * q)
    assert found.sigma_w == pytest.approx(math.sqrt(square), rel=1e-10)
    assert found.sigma_b**2 == pytest.approx(
        q - square * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-10, abs=1e-10 * q
    )


@pytest.mark.parametrize("name", sorted(activation_names()))
def test_every_named_critical_point_is_what_it_claims(name):
    found = critical_point(name)
    if found.exists and found.q_star:
        assert found.sigma_b >= 0
        assert found.chi_par <= 1 + 1e-6
        assert q_map(name, found.q_star, found.sigma_w, found.sigma_b) == pytest.approx(
            found.q_star, rel=1e-8
        )
        assert chi_perp(name, found.q_star, found.sigma_w) == pytest.approx(1, rel=1e-8)
    elif found.exists:
        assert found.sigma_b == 0
        assert chi_perp(name, 0.0, found.sigma_w) == pytest.approx(1, rel=1e-6)
        assert q_star(name, found.sigma_w) < 0.01  # hardtanh stops where nothing saturates any more
    else:
        assert found.forward_factor == pytest.approx(found.sigma_w**2 * moments(name).second_moment)
        assert found.chi_perp == pytest.approx(chi_perp(name, 1.0, found.sigma_w))
        assert "help" in found.explanation
    assert gain(name, "critical") == found.sigma_w


@pytest.mark.parametrize("function", [lambda x: torch.relu(x) ** 3, "square", "softplus", "hardshrink"])
def test_where_no_point_exists_the_two_passes_err_equally(function):
    found = critical_point(function)
    assert not found.exists
    assert "no critical point that is stable" in found.explanation
    assert found.forward_factor * found.chi_perp == pytest.approx(1, rel=1e-10)
    # It is not for want of looking: on a fine grid no q is both possible and stable.
    for q in np.geomspace(1e-4, 1e3, 29):
        m = moments(function, float(q))
        if q * m.derivative_second_moment > m.second_moment * (1 + 1e-9):
            assert chi_par(function, float(q), 1 / math.sqrt(m.derivative_second_moment)) > 1 - 1e-6


def test_a_step_has_only_a_forward_gain():
    found = critical_point("sign")
    assert (found.exists, found.chi_perp) == (False, 0.0)
    assert found.sigma_w == pytest.approx(gain("sign"))


def test_an_impossible_q_says_so():
    found = critical_point("sigmoid", 1.0)
    assert not found.exists
    assert "sigma_b² < 0" in found.explanation
    with pytest.raises(ArgumentError, match="positive second moment"):
        critical_point("tanh", 0.0)
