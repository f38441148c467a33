"""Randomized spectra against the full matrix, against theory, and for models of every kind."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from goodinit.errors import ArgumentError, ExampleError, UnknownNameError
from goodinit.records import JacobianSpectrum
from goodinit.signals.jacobians.jacobian import jacobian_spectrum
from goodinit.signals.jacobians.lanczos import bidiagonalize, merged_nodes, quadrature
from goodinit.theory import critical_point, q_trajectory


def chain(width: int, depth: int, activation: type[nn.Module] | None, std: float | None) -> nn.Sequential:
    """A plain network without biases; orthogonal where no std is given."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(width, width, bias=False)
        if std is None:
            nn.init.orthogonal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, std=std)
        layers += [layer] if activation is None else [layer, activation()]
    return nn.Sequential(*layers)


def full(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Singular values of every sample's Jacobian, by rows."""
    rows = []
    for sample in x:
        matrix = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], sample)
        rows.append(torch.linalg.svdvals(matrix.reshape(-1, sample.numel())))
    return torch.stack(rows)


def moment(found: JacobianSpectrum, power: int) -> float:
    return sum(w * v**power for v, w in zip(found.values, found.weights, strict=True))


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 20), (20, 12), (16, 16), (9, 1)])
def test_a_small_network_has_the_spectrum_of_its_full_matrix(inputs: int, outputs: int) -> None:
    """Trace within 6 standard errors (2e-9); the largest value to rounding; as many steps as dimensions."""
    model = nn.Sequential(nn.Linear(inputs, 30), nn.Tanh(), nn.Linear(30, outputs))
    x = torch.randn(4, inputs)
    exact = full(model, x)
    found = jacobian_spectrum(model, x, probes=64, steps=32)
    assert (found.inputs, found.outputs, found.samples, found.joint) == (inputs, outputs, 4, False)
    wanted = float(exact.square().sum(1).mean()) / inputs
    assert found.mean_square == pytest.approx(wanted, abs=6 * found.mean_square_error + 1e-6 * wanted)
    assert found.largest == pytest.approx(float(exact.max()), rel=1e-4)
    assert sum(found.weights) == pytest.approx(1.0)
    # The planted fault: half the weights would be far outside.
    halved = copy.deepcopy(model)
    halved[0].weight.data.mul_(0.5)
    off = jacobian_spectrum(halved, x, probes=64, steps=32)
    assert abs(off.mean_square - wanted) > 6 * off.mean_square_error


def test_the_whole_density_agrees_with_the_full_matrix() -> None:
    model = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))
    x = torch.randn(8, 24)
    exact = full(model, x).flatten()
    found = jacobian_spectrum(model, x, probes=64, steps=24)
    for power in (2, 4, 6):
        assert moment(found, power) == pytest.approx(float((exact**power).mean()), rel=0.05)
    for edge in (0.2, 0.4, 0.8):
        below = sum(w for v, w in zip(found.values, found.weights, strict=True) if v < edge)
        assert below == pytest.approx(float((exact < edge).double().mean()), abs=0.03)


def test_a_deep_orthogonal_linear_network_is_an_isometry() -> None:
    found = jacobian_spectrum(chain(64, 20, None, None))
    assert found.mean_square == pytest.approx(1.0, abs=1e-4)
    assert min(found.values) == pytest.approx(1.0, abs=1e-3)
    assert found.largest == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("depth", [1, 3])
def test_deep_gaussian_linear_networks_have_the_fuss_catalan_moments(depth: int) -> None:
    """The mean of σ^2k tends to binomial((L+1)k, k)/(Lk+1): 1 and L+1. Width 300 scatters by under 3 %."""
    found = jacobian_spectrum(chain(300, depth, None, 300**-0.5), torch.zeros(1, 300), probes=16, steps=40)
    assert found.mean_square == pytest.approx(1.0, abs=0.06)
    assert moment(found, 4) == pytest.approx(depth + 1, rel=0.12)
    # An orthogonal network has 1 there.
    assert moment(jacobian_spectrum(chain(300, depth, None, None), torch.zeros(1, 300)), 4) < 1.01
    if depth == 1:  # Marchenko and Pastur: the largest singular value is 2
        assert found.largest == pytest.approx(2.0, abs=0.1)


def test_the_mean_square_of_a_critical_tanh_network_is_chi_to_the_depth() -> None:
    """tr(JᵀJ)/n = Π χ⊥(q_l), Pennington et al. 2017; at q = 0.5 chi is 1. Twelve layers of 256."""
    width, depth = 256, 12
    point = critical_point("tanh", q=0.5)
    model = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.Tanh())])
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=point.sigma_w / width**0.5)
        nn.init.normal_(layer.bias, std=point.sigma_b)
    sizes = q_trajectory("tanh", point.q_star, depth, point.sigma_w, point.sigma_b)
    assert sizes[-1] == pytest.approx(point.q_star)
    # An input whose first pre-activations have q*.
    x = torch.randn(8, width) * math.sqrt((point.q_star - point.sigma_b**2) / point.sigma_w**2)
    found = jacobian_spectrum(model, x, probes=4)
    assert found.mean_square == pytest.approx(1.0, rel=0.35)
    for layer in model[::2]:
        layer.weight.data.mul_(1.3)
    assert jacobian_spectrum(model, x, probes=4).mean_square > 2


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
@settings(max_examples=30)
def test_bidiagonalization_keeps_the_moments_of_any_matrix(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(2, rows, columns, generator=generator, dtype=torch.float64)
    start = torch.randn(2, columns, generator=generator, dtype=torch.float64)
    b = bidiagonalize(
        lambda v: (matrix @ v[:, :, None])[..., 0],
        lambda u: (matrix.mT @ u[:, :, None])[..., 0],
        start,
        min(rows, columns) + 2,
    )
    nodes, weights = quadrature(b)
    unit = start / start.norm(dim=1, keepdim=True)
    once = (matrix @ unit[:, :, None])[..., 0]
    twice = (matrix.mT @ once[:, :, None])[..., 0]
    assert torch.allclose((weights * nodes**2).sum(1), once.square().sum(1), rtol=1e-9)
    assert torch.allclose((weights * nodes**4).sum(1), twice.square().sum(1), rtol=1e-9)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 1)), min_size=1, max_size=60), st.integers(1, 20)
)
@settings(max_examples=30)
def test_merging_nodes_keeps_the_mean_square(pairs: list[tuple[float, float]], most: int) -> None:
    values = torch.tensor([v for v, _ in pairs], dtype=torch.float64)
    weights = torch.tensor([w for _, w in pairs], dtype=torch.float64)
    nodes, shares = merged_nodes(values, weights, most)
    assert len(nodes) <= most
    assert list(nodes) == sorted(nodes)
    assert sum(shares) == pytest.approx(1.0)
    before = float((weights / weights.sum() * values**2).sum())
    assert sum(w * v * v for v, w in zip(nodes, shares, strict=True)) == pytest.approx(before, abs=1e-9)


def test_batch_norm_in_training_is_one_map_of_the_whole_batch() -> None:
    model = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 4))
    x = torch.randn(5, 6)
    found = jacobian_spectrum(model, x, probes=64, steps=20)
    assert (found.joint, found.samples, found.inputs, found.outputs) == (True, 1, 30, 20)
    matrix = torch.autograd.functional.jacobian(copy.deepcopy(model), x).reshape(20, 30)
    exact = float(matrix.square().sum()) / 30
    assert found.mean_square == pytest.approx(exact, abs=6 * found.mean_square_error)
    assert not jacobian_spectrum(model.eval(), x).joint


def test_layer_to_layer_spectra_multiply_along_an_isometry() -> None:
    model = chain(32, 6, None, None)
    for layer in (model[2], model[3]):
        layer.weight.data.mul_(2.0)
    x = torch.randn(3, 32)
    squares = {
        (start, end): jacobian_spectrum(model, x, start=start, end=end).mean_square
        for start, end in (("input", "1"), ("1", "3"), ("3", "output"), ("input", "output"))
    }
    expected = {("input", "1"): 1.0, ("1", "3"): 16.0, ("3", "output"): 1.0, ("input", "output"): 16.0}
    assert squares == pytest.approx(expected, rel=1e-4)


class Once(torch.autograd.Function):
    """x² that can be differentiated once backward, and forward."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * grad

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * tangent


class Squares(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Once.apply(x)


def test_what_has_no_second_derivative_goes_forward() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])
    found = jacobian_spectrum(Squares(), x, probes=32, steps=3)
    assert found.largest == pytest.approx(6.0, rel=1e-4)
    assert found.mean_square == pytest.approx((4 + 16 + 36) / 3, abs=6 * found.mean_square_error)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.LSTM(4, 6, batch_first=True), torch.randn(2, 5, 4)),
        (nn.GRU(4, 6, batch_first=True), torch.randn(2, 5, 4)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8)),
        (
            nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)),
            torch.randn(2, 2, 6, 6),
        ),
    ],
    ids=["lstm", "gru", "attention", "convolution"],
)
def test_recurrent_attention_and_convolution_models_agree_with_the_full_matrix(
    model: nn.Module, x: torch.Tensor
) -> None:
    def run(v: torch.Tensor) -> torch.Tensor:
        out = model(v)
        return out[0] if isinstance(out, tuple) else out

    found = jacobian_spectrum(model, x, probes=32)
    exact = []
    for sample in x:
        matrix = torch.autograd.functional.jacobian(lambda v: run(v[None])[0], sample)
        exact.append(float(matrix.square().sum()) / sample.numel())
    assert found.samples == 2
    wanted = sum(exact) / len(exact)
    assert found.mean_square == pytest.approx(wanted, abs=6 * found.mean_square_error + 1e-5 * wanted)


def test_the_model_and_the_generators_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    x = torch.randn(4, 6)
    torch.set_rng_state(state)
    one = jacobian_spectrum(model, x)
    assert one == jacobian_spectrum(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(ExampleError, match="rejected it"):
        jacobian_spectrum(model, torch.randn(4, 5))
    assert not any(m._forward_hooks for m in model.modules())


def test_mistakes_are_named() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    with pytest.raises(ArgumentError, match="start='<name of the embedding layer>'"):
        jacobian_spectrum(model)
    assert jacobian_spectrum(model, start="0").inputs == 4 * 32
    with pytest.raises(UnknownNameError, match="no layer '2'"):
        jacobian_spectrum(model, start="2")
    with pytest.raises(ArgumentError, match="does not depend on"):
        jacobian_spectrum(model, start="1", end="0")
    with pytest.raises(ArgumentError, match="probes: expected an integer of at least 2, got 1"):
        jacobian_spectrum(model, probes=1)
