"""The map of the second moment, its fixed points and phases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.theory import Phase, chi_par, chi_perp, gain, phase, q_map, q_star, q_trajectory


def erf_map(q, sigma_w, sigma_b):
    """Closed form (Williams 1998, with E[erf²] = 2/π asin(2q/(1+2q)))."""
    return sigma_w**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + sigma_b**2


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e5), st.floats(0, 4), st.floats(0, 2))
def test_the_map_of_erf_is_its_closed_form(q, sigma_w, sigma_b):
    assert q_map("erf", q, sigma_w, sigma_b) == pytest.approx(erf_map(q, sigma_w, sigma_b), rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e5), st.floats(0.01, 4))
def test_the_slopes_of_erf_are_their_closed_forms(q, sigma_w):
    assert chi_perp("erf", q, sigma_w) == pytest.approx(
        sigma_w**2 * 4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-10
    )
    assert chi_par("erf", q, sigma_w) == pytest.approx(
        sigma_w**2 * 4 / math.pi / (1 + 2 * q) / math.sqrt(1 + 4 * q), rel=1e-8
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 10), st.floats(1e-4, 0.3), st.booleans())
def test_the_phases_of_erf_part_at_its_closed_form_critical_line(q, away, chaotic):
    square = math.pi / 4 * math.sqrt(1 + 4 * q)  # σ_w² where chi_perp is 1 at q
    bias = math.sqrt(q - square * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)))
    sigma_w = math.sqrt(square) * (1 + away if chaotic else 1 - away)
    assert phase("erf", sigma_w, bias) is (Phase.CHAOTIC if chaotic else Phase.ORDERED)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 4), st.floats(0.05, 2), st.floats(0.01, 50))
def test_the_fixed_point_is_where_iteration_leads(sigma_w, sigma_b, start):
    q = start
    for _ in range(3000):
        q = erf_map(q, sigma_w, sigma_b)
    assert q_star("erf", sigma_w, sigma_b, start=start) == pytest.approx(q, rel=1e-6)


def test_fixed_points_at_the_ends_of_the_scale():
    assert q_star("relu", 1.0) == 0
    assert q_star("relu", 2.0) == math.inf
    assert q_star("relu", math.sqrt(2), start=0.37) == 0.37
    assert q_star("relu", 1.0, 1.0) == pytest.approx(2, rel=1e-12)  # q = q/2 + 1
    assert q_star("tanh", 1.0) == 0  # though a network needs a depth of 1/q to get there
    assert q_star(lambda x: x**3, 0.1) == 0
    assert q_star(lambda x: x**3, 3.0) == math.inf
    assert q_star(lambda x: torch.exp(x * x / 8), 3.0) == math.inf


def test_published_susceptibilities():
    # Klambauer et al. 2017: SELU's fixed point (0, 1) is stable.
    assert q_star("selu", 1.0, start=1.7) == pytest.approx(1, rel=1e-9)
    assert chi_par("selu", 1.0, 1.0) == pytest.approx(0.7826478832, rel=1e-9)
    # torch's gain of 5/3 for tanh lets gradients grow, and Xavier's 1 for sigmoid kills them.
    assert chi_perp("tanh", q_star("tanh", 5 / 3), 5 / 3) == pytest.approx(1.21, abs=5e-3)
    assert chi_perp("sigmoid", q_star("sigmoid", 1.0), 1.0) == pytest.approx(0.056, abs=5e-4)


def test_phases_of_tanh_are_those_of_the_diagram():
    assert phase("tanh", 0.99) is Phase.ORDERED
    assert phase("tanh", 1.0) is Phase.CRITICAL
    assert phase("tanh", 1.1) is Phase.CHAOTIC
    assert phase("tanh", 1.1, 0.5) is Phase.ORDERED  # Poole et al. 2016, figure 1: biases order
    assert phase("relu", math.sqrt(2)) is Phase.CRITICAL
    assert phase("relu", 1.5) is Phase.CHAOTIC  # q grows without bound
    assert phase("relu", 1.0, 3.0) is Phase.ORDERED
    assert phase("sign", 1.0) is Phase.ORDERED


@pytest.mark.parametrize("name", ["tanh", "gelu", "selu", "swiglu"])
def test_chi_par_is_the_slope_of_the_map(name):
    h = 1e-5
    slope = (q_map(name, 0.7 + h, 1.3, 0.2) - q_map(name, 0.7 - h, 1.3, 0.2)) / (2 * h)
    assert chi_par(name, 0.7, 1.3) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("name", ["tanh", "gelu", "swiglu"])
def test_a_wide_network_follows_the_trajectory_and_the_gradient_factor(name):
    """Width 1500: each mean square scatters by √(6/1500) = 6 % at most; 5 of those per layer."""
    from goodinit.theory import activation

    width, depth, sigma_w, sigma_b = 1500, 4, 1.3, 0.3
    function = activation(name)
    inputs = width * (2 if function.gated else 1)
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    h = normal(inputs).requires_grad_()
    pre, layer = [h], h
    for _ in range(depth):
        layer = normal(inputs, width) * sigma_w / math.sqrt(width) @ function(layer)
        layer = layer + normal(inputs) * sigma_b
        pre.append(layer)
    expected = q_trajectory(name, 1.0, depth, sigma_w, sigma_b)
    found = np.array([float(item.detach().square().mean()) for item in pre])
    assert np.abs(np.log(found / expected)).max() < 5 * 0.06 * 2
    (gradient,) = torch.autograd.grad((pre[-1] * normal(inputs)).sum(), h)
    factors = [chi_perp(name, q, sigma_w) for q in expected[:-1]]
    assert abs(math.log(float(gradient.square().mean()) / math.prod(factors))) < 5 * 0.06 * 2
    # The same check refuses a gain that is 1.5 times too large.
    wrong = q_trajectory(name, 1.0, depth, sigma_w * 1.5, sigma_b)
    assert np.abs(np.log(found / wrong)).max() > 5 * 0.06 * 2


def test_a_trajectory_that_explodes_ends_in_infinity():
    found = q_trajectory(lambda x: x**3, 1.0, 8, 3.0)
    assert found.shape == (9,)
    assert found[0] == 1
    assert found[-1] == math.inf
    assert q_trajectory("relu", 1.0, 50, gain("relu"))[-1] == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: q_map("relu", 1.0, -1.0), "sigma_w is -1.0"),
        (lambda: q_map("relu", 1.0, 1.0, math.nan), "sigma_b is nan"),
        (lambda: q_star("relu", 1.0, start=0.0), "start is 0.0"),
        (lambda: q_trajectory("relu", 1.0, -1, 1.0), "depth is -1"),
        (lambda: q_map("relu", -1.0, 1.0), "q is -1.0"),
    ],
)
def test_impossible_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
