"""Mirrored pairs around a bias hold functions that no scale holds."""

from __future__ import annotations

import math

import pytest
import torch

from goodinit.errors import ArgumentError
from goodinit.theory import (
    activation,
    correlation_map,
    end_correlation,
    mirrored_point,
    moments,
    operating_point,
)

LOST = {
    "x²": (lambda x: x * x, 1.0),
    "relu³": (lambda x: torch.relu(x) ** 3, 1.0),
    "x³": (lambda x: x**3, 1.0),
    "cosh": (torch.cosh, 1.0),
    "exp": (torch.exp, 0.0),
    "x·sin x": (lambda x: x * torch.sin(x), 1.0),
    "x⁴": (lambda x: x**4, 1.0),
}


@pytest.mark.parametrize(("function", "bias"), LOST.values(), ids=LOST.keys())
def test_pairs_hold_what_no_scale_holds(function, bias: float) -> None:
    assert not operating_point(function, 100).good
    found = mirrored_point(function, 100)
    assert found is not None
    assert found.bias == bias
    assert found.point.good
    pair = activation(lambda z: function(bias + z) - function(bias - z))
    assert found.passed == pytest.approx(moments(pair, found.point.q).second_moment, rel=1e-8)
    assert found.point.sigma_w**2 * found.passed == pytest.approx(found.point.q, rel=1e-8)


def test_pairs_of_a_square_are_a_straight_line() -> None:
    found = mirrored_point("square", 1000)
    assert found is not None
    assert (found.bias, found.passed) == (1.0, pytest.approx(16.0, rel=1e-9))


def test_a_function_without_slope_has_no_pairs() -> None:
    assert mirrored_point(torch.sign, 10) is None
    assert mirrored_point("swiglu", 10) is None
    with pytest.raises(ArgumentError, match="depth"):
        mirrored_point("square", 0)


@pytest.mark.parametrize("name", ["relu", "elu", "sigmoid", "exp"])
@pytest.mark.parametrize("start", [-0.5, 0.0, 0.9])
def test_the_end_correlation_is_the_repeated_correlation_map(name: str, start: float) -> None:
    point, c = operating_point(name, 6), start
    for _ in range(5):
        c = correlation_map(name, c, point.q, point.sigma_w)
    assert end_correlation(name, 6, start) == pytest.approx(c, abs=1e-5)
    assert end_correlation(name, 5, start) != pytest.approx(end_correlation(name, 6, start), abs=1e-3) or (
        math.isclose(c, 1.0, abs_tol=0.02)
    )


def test_odd_functions_keep_inputs_apart_and_equal_inputs_stay_equal() -> None:
    assert end_correlation("tanh", 100) == pytest.approx(0.0, abs=1e-9)
    assert end_correlation("relu", 100, 1.0) == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(ArgumentError, match="start"):
        end_correlation("tanh", 10, 1.5)


def test_of_equally_costly_points_the_one_nearest_to_one_is_taken() -> None:
    for name in ("square", lambda x: x**3):
        assert operating_point(name, 50).q == pytest.approx(1.0)
