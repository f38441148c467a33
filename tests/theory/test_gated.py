"""Gated units against closed forms and an independent rule in two dimensions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.errors import ArgumentError
from goodinit.theory import gated_moments, moments


def test_gated_units_have_the_moments_of_two_inputs():
    for name, gate in (("swiglu", "silu"), ("glu", "sigmoid"), ("reglu", "relu")):
        inner, both = moments(gate, 2.0), moments(name, 2.0)
        assert both.second_moment == pytest.approx(2 * inner.second_moment, rel=1e-12)
        assert both.derivative_second_moment == pytest.approx(
            (2 * inner.derivative_second_moment + inner.second_moment) / 2, rel=1e-12
        )
        assert both.inputs == 2
        h = 1e-4
        rise = (moments(name, 2 + h).second_moment - moments(name, 2 - h).second_moment) / (2 * h)
        assert both.slope == pytest.approx(rise, rel=1e-6)


def test_gated_moments_with_correlation_have_closed_forms():
    for r in (-1.0, -0.4, 0.0, 0.7):
        found = gated_moments("identity", 2.0, 3.0, r)
        assert found.mean == pytest.approx(math.sqrt(6) * r, abs=1e-12)
        assert found.second_moment == pytest.approx(6 * (1 + 2 * r * r), rel=1e-12)
        assert found.gate_gradient == pytest.approx(3, rel=1e-12)
        assert found.value_gradient == pytest.approx(2, rel=1e-12)
    # ReLU: half of the same, by symmetry.
    assert gated_moments("relu", 2.0, 3.0, 0.5).second_moment == pytest.approx(4.5, rel=1e-12)
    assert gated_moments("swiglu").second_moment == pytest.approx(moments("silu").second_moment, rel=1e-12)
    with pytest.raises(ArgumentError, match=r"correlation is 1\.5"):
        gated_moments("relu", correlation=1.5)


def two_dimensions(unit, q_gate, q_value, r):
    """E[u²] by 220 × 220 points of Gauss and Hermite: for smooth units only."""
    z, w = np.polynomial.hermite_e.hermegauss(220)
    x, y = (torch.from_numpy(item) for item in np.meshgrid(z, z, indexing="ij"))
    u = unit(math.sqrt(q_gate) * x, math.sqrt(q_value) * (r * x + math.sqrt(1 - r * r) * y))
    return float(w @ u.square().numpy() @ w / (2 * math.pi))


UNITS = {
    "swiglu": lambda a, b: functional.silu(a) * b,
    "geglu": lambda a, b: functional.gelu(a) * b,
    "bilinear": lambda a, b: a * b,
    "lifted": lambda a, b: functional.silu(a) * (b + 1),
    "a line in b": lambda a, b: torch.tanh(a) * (3 - 2 * b),
}


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("r", [0.0, 0.6, -1.0])
def test_a_callable_of_two_tensors_agrees_with_a_rule_in_two_dimensions(name, r):
    expected = two_dimensions(UNITS[name], 0.7, 1.6, r)
    assert gated_moments(UNITS[name], 0.7, 1.6, r).second_moment == pytest.approx(expected, rel=1e-10)
    assert gated_moments(UNITS[name], 0.7, 1.6 + 1e-8, r).second_moment != pytest.approx(expected, rel=1e-10)


def test_a_callable_and_the_name_of_its_unit_agree():
    for name in ("swiglu", "geglu"):
        for r in (0.0, 0.4):
            named, given = gated_moments(name, 2.0, 3.0, r), gated_moments(UNITS[name], 2.0, 3.0, r)
            for one, other in zip(vars(named).values(), vars(given).values(), strict=True):
                assert other == pytest.approx(one, rel=1e-10)


class Clamped(nn.Module):
    """The gated unit of gpt-oss: both inputs clamped, and one added to the value."""

    def forward(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
        return (up + 1) * gate * torch.sigmoid(1.702 * gate)


def test_a_value_that_enters_through_a_curve_is_integrated_too():
    found = gated_moments(lambda a, b: torch.relu(a) * torch.exp(b), 2.0, 0.5)
    assert found.mean == pytest.approx(math.sqrt(2) / math.sqrt(2 * math.pi) * math.exp(0.25), rel=1e-10)
    assert found.second_moment == pytest.approx(math.exp(1.0), rel=1e-10)
    assert found.gate_gradient == pytest.approx(math.exp(1.0) / 2, rel=1e-10)
    assert found.value_gradient == pytest.approx(math.exp(1.0), rel=1e-10)
    gate = moments(lambda a: a.clamp(max=7.0) * torch.sigmoid(1.702 * a.clamp(max=7.0)), 9.0)
    clipped = moments(lambda b: b.clamp(-7.0, 7.0), 9.0).second_moment
    assert clipped < 9 * (1 - 1e-3)  # the clamp counts here
    assert gated_moments(Clamped(), 9.0, 9.0).second_moment == pytest.approx(
        gate.second_moment * (1 + clipped), rel=1e-10
    )


@pytest.mark.parametrize(
    ("unit", "r", "message"),
    [
        (torch.maximum, 0.0, "failed|not a product"),
        (lambda a, b: torch.maximum(a, b), 0.0, "not a product"),
        (lambda a, b: a + b, 0.0, "not a product"),
        (lambda a, b: a * 0 * b, 0.0, "not a product"),
        (lambda a, b: a * b.exp(), 0.5, "no straight line in its second input"),
        (Clamped(), 0.5, "no straight line in its second input"),
        (lambda a, b: a @ b, 0.0, "failed on two float64 tensors"),
    ],
)
def test_what_is_no_gated_unit_is_refused_with_the_reason(unit, r, message):
    with pytest.raises(ArgumentError, match=message):
        gated_moments(unit, correlation=r)


def test_a_unit_given_where_one_tensor_is_expected_is_pointed_here():
    with pytest.raises(ArgumentError, match="use gated_moments"):
        moments(UNITS["swiglu"])
