"""The scatter at finite width, against simulation and Hanin's closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.theory import finite_width_fluctuation, gain

FUNCTIONS = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh}
SLOPES = {"relu": lambda h: (h > 0) * 1.0, "tanh": lambda h: 1 / np.cosh(h) ** 2}


@given(st.lists(st.integers(1, 500), max_size=20))
def test_relu_has_the_published_exponent(widths):
    # Hanin and Nica 2020: the second moment of the squared norm is exp(5 Σ 1/n).
    total = 5 * sum(1 / n for n in widths)
    assert finite_width_fluctuation("relu", widths) ** 2 == pytest.approx(math.expm1(total), rel=1e-9)
    backward = finite_width_fluctuation("relu", widths, direction="backward")
    assert backward**2 == pytest.approx(math.expm1(total), rel=1e-9)


def forward_draws(name, width, depth, draws):
    """Log E[h²] after `depth` layers. Given a layer, the next is exactly Gaussian: no matrix is needed."""
    rng = np.random.default_rng(0)
    q = np.ones((draws, 1))
    for _ in range(depth):
        h = rng.standard_normal((draws, width)) * np.sqrt(q)
        q = gain(name) ** 2 * np.mean(FUNCTIONS[name](h) ** 2, axis=1, keepdims=True)
        if name == "tanh":
            # keeps the mean-field q at 1, as sigma_w=None does
            assert abs(float(q.mean()) - 1) < 0.2
    return np.log(q[:, 0])


def agrees(found, predicted, draws):
    """Is a sample std of logs within 6 standard errors, and 8 % for terms of order 1/n², of a prediction?

    The logs are nearly normal: the standard error is 1/√(2 · draws) of the std; beyond 6
    of them lie 2e-9.
    """
    return abs(math.log(found / predicted)) < 0.08 + 6 / math.sqrt(2 * draws)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_forward_scatter_is_as_simulated(name):
    draws, width, depth = 8000, 200, 6
    found = float(forward_draws(name, width, depth, draws).std())
    predicted = math.sqrt(math.log1p(finite_width_fluctuation(name, width, depth) ** 2))
    assert agrees(found, predicted, draws)
    # Forgetting the kurtosis (2 for a Gaussian, not 5) would be noticed.
    assert name != "relu" or not agrees(found, math.sqrt(2 * depth / width), draws)
    # … and so would forgetting that tanh forgets.
    assert name != "tanh" or not agrees(found, predicted * math.sqrt(depth), draws)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_backward_scatter_is_as_simulated(name):
    rng = np.random.default_rng(1)
    draws, width, depth = 1500, 100, 4
    logs = np.empty(draws)
    for draw in range(draws):
        h, chain = rng.standard_normal(width), []
        for _ in range(depth):
            w = rng.standard_normal((width, width)) * gain(name) / math.sqrt(width)
            chain.append((w, SLOPES[name](h)))
            h = w @ FUNCTIONS[name](h)
        g = rng.standard_normal(width)
        g *= math.sqrt(width) / np.linalg.norm(g)
        for w, slope in reversed(chain):
            g = slope * (w.T @ g)
        logs[draw] = math.log(float(np.mean(g**2)))
    predicted = finite_width_fluctuation(name, width, depth, direction="backward")
    predicted = math.sqrt(math.log1p(predicted**2))
    assert agrees(float(logs.std()), predicted, draws)
    assert not agrees(float(logs.std()), predicted * 1.5, draws)


def test_wider_is_calmer_and_saturation_forgets():
    assert finite_width_fluctuation("relu", 400, 10) < finite_width_fluctuation("relu", 100, 10)
    assert finite_width_fluctuation("tanh", 100, 500) == pytest.approx(
        finite_width_fluctuation("tanh", 100, 50), rel=1e-6
    )
    assert finite_width_fluctuation("relu", 100, 0) == 0
    assert finite_width_fluctuation("relu", 1, 1000) == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite_width_fluctuation("relu", 10), "depth is missing"),
        (lambda: finite_width_fluctuation("relu", [10, 10], 3), "width has 2 layers"),
        (lambda: finite_width_fluctuation("relu", 0, 3), "at least one unit"),
        (lambda: finite_width_fluctuation("relu", 5, -3), "at least one unit"),
        (lambda: finite_width_fluctuation("relu", 5, 3, direction="up"), "direction is 'up'"),
    ],
)
def test_impossible_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
