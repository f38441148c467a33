"""Operating points: q held exactly, gradients as predicted, and what cannot be held said so."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodinit.errors import ArgumentError, UnknownNameError
from goodinit.theory import (
    OperatingPoint,
    activation,
    chi_par,
    chi_perp,
    finite_width_fluctuation,
    gain,
    moments,
    operating_point,
    q_map,
    q_trajectory,
)

# A factor of 3 for the gradient and of 2 for an error in q, over the whole depth: what `good` promises.
GRADIENT, ERROR = 3.0, 2.0
# One of each kind: saturating, rectifying, shifted by a constant, periodic, hopeless.
NAMES = ("tanh", "sigmoid", "gelu", "relu", "softplus", "sin", "square")
# A slope above and below, a kink, and one that only reverses half of the line.
HOMOGENEOUS = ("relu", "leaky_relu(0.2)", "leaky_relu(-0.5)", "abs", "linear")

names, depths = st.sampled_from(NAMES), st.integers(1, 300)


@given(names, depths)
def test_the_second_moment_is_held_exactly(name: str, depth: int) -> None:
    point = operating_point(name, depth)
    assert q_map(name, point.q, point.sigma_w) == pytest.approx(point.q, rel=1e-12, abs=0)
    # … and the same equation notices a multiplier that is off by 1e-8.
    assert q_map(name, point.q, point.sigma_w * (1 + 1e-8)) > point.q * (1 + 1e-8)


@given(names, depths)
def test_the_factors_are_those_of_the_maps(name: str, depth: int) -> None:
    point = operating_point(name, depth)
    assert point.depth == depth
    assert point.chi_perp == pytest.approx(chi_perp(name, point.q, point.sigma_w), rel=1e-12)
    assert point.chi_par == pytest.approx(chi_par(name, point.q, point.sigma_w), rel=1e-12)
    assert math.log(point.gradient_factor) == pytest.approx(depth * math.log(point.chi_perp), abs=1e-9)


@given(names, depths)
def test_good_means_within_the_bounds_and_nothing_else(name: str, depth: int) -> None:
    point = operating_point(name, depth)
    held = 1 / GRADIENT <= point.gradient_factor <= GRADIENT and abs(point.chi_par) ** depth <= ERROR
    assert point.good == held


@pytest.mark.parametrize("name", HOMOGENEOUS)
@pytest.mark.parametrize("depth", [1, 50, 100_000])
def test_what_is_homogeneous_runs_at_one_at_any_depth(name: str, depth: int) -> None:
    point = operating_point(name, depth)
    assert point.good
    assert point.q == 1
    assert point.sigma_w == pytest.approx(gain(name), rel=1e-12)
    assert point.gradient_factor == pytest.approx(1, abs=1e-9)


@given(st.sampled_from(HOMOGENEOUS), st.floats(1e-4, 1e4))
def test_what_is_homogeneous_keeps_gradients_at_every_q(name: str, q: float) -> None:
    assert chi_perp(name, q, gain(name)) == pytest.approx(1, rel=1e-9)
    assert chi_par(name, q, gain(name)) == pytest.approx(1, rel=1e-9)


def test_the_kink_of_another_function_breaks_that() -> None:
    assert abs(chi_perp("elu", 4.0, gain("elu")) - 1) > 0.05


@pytest.mark.parametrize(
    ("power", "chi"),
    # For xᵏ on either half of the line E[φ′²]·q / E[φ²] = k²/(2k − 1), whatever q is; an error grows by k.
    [(2, 4 / 3), (3, 9 / 5)],
)
def test_powers_are_never_good_and_their_cost_is_known(power: int, chi: float) -> None:
    point = operating_point(lambda x: torch.relu(x) ** power, 20)
    assert not point.good
    assert point.chi_perp == pytest.approx(chi, rel=1e-9)
    assert point.chi_par == pytest.approx(power, rel=1e-9)
    assert point.gradient_factor == pytest.approx(chi**20, rel=1e-7)


@given(st.sampled_from(("square", "softplus", "laplace")), st.floats(-4, 4))
def test_where_nothing_is_good_no_other_q_costs_less(name: str, decade: float) -> None:
    """To 0.02 a layer: q is chosen from quarters of a decade, and 500 layers are too many for all three."""
    point = operating_point(name, 500)
    assert not point.good
    q = 10**decade
    sigma_w = math.sqrt(q / moments(name, q).second_moment)
    assert cost(chi_perp(name, q, sigma_w), chi_par(name, q, sigma_w)) >= cost_of(point) - 0.02


def cost(perp: float, par: float) -> float:
    """What a layer adds to the log of the gradient's change and to that of a growing error."""
    return abs(math.log(perp)) + max(0.0, math.log(max(par, 1e-300)))


def cost_of(point: OperatingPoint) -> float:
    return cost(point.chi_perp, point.chi_par)


def test_the_same_comparison_finds_a_point_that_costs_more() -> None:
    best = operating_point("softplus", 500)
    sigma_w = gain("softplus")  # q = 1
    assert cost(chi_perp("softplus", 1.0, sigma_w), chi_par("softplus", 1.0, sigma_w)) > cost_of(best) + 0.02


@given(st.sampled_from(("tanh", "sin", "softsign", "gelu")), st.floats(0.0, 1.0))
def test_nearer_to_one_it_would_not_be_good(name: str, share: float) -> None:
    """From the next quarter of a decade on, up to q = 1, a bound is broken: gradient 3, or error 1.25."""
    depth = 50
    point = operating_point(name, depth)
    log_q = math.log(point.q)
    q = math.exp(share * (log_q - math.copysign(math.log(10) / 4, log_q)))
    sigma_w = math.sqrt(q / moments(name, q).second_moment)
    perp, par = chi_perp(name, q, sigma_w) ** depth, chi_par(name, q, sigma_w) ** depth
    assert not (1 / GRADIENT <= perp <= GRADIENT and par <= 1.25)


@given(st.sampled_from(("tanh", "sin", "softsign")), depths, depths)
def test_deeper_runs_saturating_functions_at_smaller_moments(name: str, one: int, other: int) -> None:
    shallow, deep = sorted((one, other))
    assert operating_point(name, deep).q <= operating_point(name, shallow).q <= 1


@given(names, depths, depths)
def test_what_is_good_for_many_layers_is_good_for_fewer(name: str, one: int, other: int) -> None:
    shallow, deep = sorted((one, other))
    assert operating_point(name, shallow).good or not operating_point(name, deep).good


def drift(name: str, q: float, sigma_w: float, depth: int) -> float:
    """How many times larger an error of 1 % in q has become."""
    return abs(float(q_trajectory(name, 1.01 * q, depth, sigma_w)[-1]) / q - 1) / 0.01


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "relu", "softplus", "sigmoid"])
@pytest.mark.parametrize("depth", [10, 50])
def test_a_small_error_in_q_at_most_doubles_over_the_depth(name: str, depth: int) -> None:
    point = operating_point(name, depth)
    assert point.good
    assert (
        drift(name, point.q, point.sigma_w, depth) < 1.05 * ERROR
    )  # 5 %: an error of 1 % is not infinitesimal


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_at_unit_scale_the_same_error_grows(name: str) -> None:
    assert drift(name, 1.0, gain(name), 50) > 10


WIDTH, DEPTH, SEEDS = 512, 20, 12


@lru_cache
def simulated(name: str, q: float, sigma_w: float) -> float:
    """Mean over the seeds of the log of the gradient's factor from the last of 20 layers to the first."""
    function, logs = activation(name), []
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        first = (torch.randn(16, WIDTH, generator=generator) * math.sqrt(q)).requires_grad_()
        x = first
        for _ in range(DEPTH):
            weight = torch.randn(WIDTH, WIDTH, generator=generator) * (sigma_w / math.sqrt(WIDTH))
            x = function(x) @ weight.T
        sent = torch.randn(x.shape, generator=generator)
        (gradient,) = torch.autograd.grad((x * sent).sum(), first)
        logs.append(math.log(float(gradient.double().square().mean())))
    return math.fsum(logs) / SEEDS


def allowance(name: str, q: float) -> float:
    """How far the mean log may lie from the prediction: 5 standard errors (6e-7), and the bias of a log.

    The scatter over seeds is that of a single input, which averaging over 16 can only lower.
    """
    relative = finite_width_fluctuation(name, WIDTH, DEPTH, q=q, direction="backward")
    variance = math.log1p(relative**2)
    return 5 * math.sqrt(variance / SEEDS) + variance / 2


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus", "laplace"])
def test_wide_networks_change_gradients_by_the_predicted_factor(name: str) -> None:
    point = operating_point(name, DEPTH)
    found = simulated(name, point.q, point.sigma_w)
    allowed = allowance(name, point.q)
    assert abs(found - math.log(point.gradient_factor)) < allowed
    # A prediction that is wrong by a tenth per layer is refused,
    assert abs(found - math.log(point.gradient_factor * 1.1**DEPTH)) > allowed
    assert abs(found - math.log(point.gradient_factor / 1.1**DEPTH)) > allowed


def test_the_predicted_growth_is_seen_and_not_taken_for_none() -> None:
    for name in ("tanh", "laplace", "softplus"):
        point = operating_point(name, DEPTH)
        assert abs(simulated(name, point.q, point.sigma_w)) > allowance(name, point.q)


@pytest.mark.parametrize("depth", [0, -3])
def test_a_network_without_layers_is_refused(depth: int) -> None:
    with pytest.raises(ArgumentError, match=f"depth must be at least 1, found {depth}"):
        operating_point("tanh", depth)


@pytest.mark.parametrize("function", ["sign", lambda x: 0.0 * x])
def test_what_passes_no_signal_or_no_gradient_is_refused(function: object) -> None:
    with pytest.raises(ArgumentError, match=r"passes no signal at any second moment from 0\.0001 to 10000"):
        operating_point(function, 10)  # type: ignore[arg-type]


def test_an_unknown_name_is_offered_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tanh'"):
        operating_point("tahn", 10)
