"""Covariances of recurrent states from step to step, against networks of torch's own layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from goodinit.errors import ArgumentError, UnknownNameError
from goodinit.theory import moments, recurrent_states

WIDTH, STEPS = 256, 24


def simulated(kind: str, forget: float, inputs: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The hidden states of a random layer with orthogonal recurrent maps, steps × examples × units."""
    torch.manual_seed(seed)
    layer = getattr(nn, kind)(inputs.shape[-1], WIDTH)
    with torch.no_grad():
        for block in layer.weight_hh_l0.split(WIDTH):
            nn.init.orthogonal_(block)
        layer.weight_ih_l0.normal_(std=inputs.shape[-1] ** -0.5)
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()
        if kind == "LSTM":
            layer.bias_ih_l0[WIDTH : 2 * WIDTH] = forget
        found: torch.Tensor = layer(inputs)[0]
    return found


# 24 steps × 16 examples × 256 units: one network's mean scatters by about 3 %, so 15 % is five sigma.
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("common", [0.0, 0.8])
def test_states_are_as_large_as_those_of_a_random_layer(kind: str, common: float) -> None:
    torch.manual_seed(1)
    shared, own = torch.randn(1, 16, 128), torch.randn(STEPS, 16, 128)
    inputs = math.sqrt(common) * shared + math.sqrt(1 - common) * own
    covariance = np.full((STEPS, STEPS), common) + (1 - common) * np.eye(STEPS)
    found = recurrent_states(kind, STEPS, forget_bias=1.0, inputs=covariance)
    measured = simulated(kind, 1.0, inputs).square().mean((1, 2)).numpy()
    assert np.mean(found.moments) == pytest.approx(measured.mean(), rel=0.15)
    assert found.moments[-1] == pytest.approx(measured[-1], rel=0.2)


def test_the_same_measurement_finds_independent_steps_and_another_bias_out() -> None:
    torch.manual_seed(1)
    inputs = torch.randn(1, 16, 128).expand(STEPS, 16, 128)
    measured = float(simulated("LSTM", 1.0, inputs).square().mean())
    assert np.mean(recurrent_states("LSTM", STEPS, forget_bias=1.0).moments) < 0.5 * measured
    independent = float(simulated("LSTM", 4.0, torch.randn(STEPS, 16, 128)).square().mean())
    assert np.mean(recurrent_states("LSTM", STEPS, forget_bias=1.0).moments) < 0.5 * independent


def test_a_plain_layer_settles_where_its_scalar_map_does() -> None:
    q = 1.0
    for _ in range(200):
        q = 1.0 + moments("tanh", q).second_moment
    assert recurrent_states("RNN", 40).moments[-1] == pytest.approx(q - 1, rel=0.05)


def test_states_repeat_beyond_the_steps_that_are_followed() -> None:
    found = recurrent_states("GRU", 200).hidden
    assert found.shape == (200, 200)
    assert found[199, 199] == found[159, 159]


def test_what_is_no_recurrent_layer_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="kind must be one of LSTM, GRU, RNN, found 'LSMT'"):
        recurrent_states("LSMT", 3)
    with pytest.raises(ArgumentError, match="steps must be at least 1"):
        recurrent_states("RNN", 0)
    with pytest.raises(ArgumentError, match="inputs must be 3 × 3"):
        recurrent_states("RNN", 3, inputs=np.eye(2))
