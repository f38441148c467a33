"""Forecasts of lost networks, against networks with real weight matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from goodinit.errors import ArgumentError
from goodinit.theory import activation, forecast, moments

WIDTHS = [48, 96, 32, 32, 64, 64, 32, 48]  # wide, narrow and square weights


def haar(rows: int, columns: int, draws: int, generator: torch.Generator) -> torch.Tensor:
    size = max(rows, columns)
    q, r = torch.linalg.qr(torch.randn(draws, size, size, generator=generator, dtype=torch.float64))
    return (q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None, :])[:, :rows, :columns]


def network(name: str, widths: list[int], q: float, orthogonal: bool, draws: int) -> dict[str, np.ndarray]:
    """Two inputs through `draws` networks: layers in range and last second moment of one, their cosine."""
    generator, phi = torch.Generator().manual_seed(7), activation(name)
    x = torch.randn(draws, widths[0], 2, generator=generator, dtype=torch.float64)
    arriving, signals = 1.0, []
    for units in widths:
        reads = x.shape[1]
        if orthogonal:
            w = haar(units, reads, draws, generator) * math.sqrt(max(units, reads) / reads)
        else:
            w = torch.randn(draws, units, reads, generator=generator, dtype=torch.float64) / math.sqrt(reads)
        signals.append((w * math.sqrt(q / arriving) @ x).requires_grad_())
        x, arriving = phi(signals[-1]), moments(name, q).second_moment
    ratios = np.array([(h[..., 0] ** 2).mean(1).detach().numpy() for h in signals]) / q
    inside = np.cumprod((ratios >= 1 / 3) & (ratios <= 3), axis=0)
    last = signals[-1].detach()
    cosine = torch.nn.functional.cosine_similarity(last[..., 0], last[..., 1], dim=1)
    return {"layers": inside.sum(0), "last": ratios[-1], "signals": signals, "cosine": cosine.numpy()}


def gradient(signals: list[torch.Tensor]) -> np.ndarray:
    generator = torch.Generator().manual_seed(8)
    g = torch.zeros_like(signals[-1])
    g[..., 0] = torch.randn(g.shape[:2], generator=generator, dtype=torch.float64)
    (back,) = torch.autograd.grad((signals[-1] * g).sum(), signals[0])
    return ((back[..., 0] ** 2).mean(1) / (g[..., 0] ** 2).mean(1)).numpy()


def apart(mean: float, found: np.ndarray, spread: float | None = None) -> float:
    """Standard errors between a forecast of 2,000 chains and a measured mean; over 5.5 by chance < 1e-7."""
    spread = float(found.std()) if spread is None else spread
    return abs(mean - float(found.mean())) / (spread * math.sqrt(1 / len(found) + 1 / 2000))


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize(("name", "q"), [("square", 1.0), ("exp", 1.0)])
def test_lost_signals_are_forecast_as_real_networks_lose_them(name: str, q: float, orthogonal: bool) -> None:
    found = network(name, WIDTHS, q, orthogonal, 1500)
    expected = forecast(name, WIDTHS, q=q, orthogonal=orthogonal, samples=2000)
    assert apart(expected.layers, found["layers"]) < 5.5
    fell, rose = found["last"] < 1 / 3, ~(found["last"] <= 3)
    assert apart(expected.fell, fell) < 5.5
    assert apart(expected.rose, rose) < 5.5
    wider = forecast(name, 200, 8, q=q, orthogonal=orthogonal, samples=2000)  # the planted fault
    assert apart(wider.layers, found["layers"]) > 5.5


@pytest.mark.parametrize("orthogonal", [False, True])
def test_gradients_and_likeness_are_forecast_as_in_real_networks(orthogonal: bool) -> None:
    name, q = "relu", 1.0
    found = network(name, WIDTHS, q, orthogonal, 1500)
    expected = forecast(name, WIDTHS, q=q, orthogonal=orthogonal, samples=2000)
    logs = np.log(gradient(found["signals"]))
    # The error of a median of nearly normal logarithms is 1.25 times that of the mean.
    assert expected.over == len(WIDTHS)
    off = abs(math.log(expected.gradient) - np.median(logs)) / (
        1.25 * logs.std() * math.sqrt(1 / 1500 + 1 / 2000)
    )
    assert off < 5.5
    likeness = np.log(1 - found["cosine"])
    error = 1.25 * likeness.std() * math.sqrt(1 / 1500 + 1 / 2000)
    assert abs(math.log(1 - expected.correlation) - np.median(likeness)) < 5.5 * error
    planted = forecast(name, WIDTHS[:-3], q=q, orthogonal=orthogonal, samples=2000)
    assert abs(math.log(1 - planted.correlation) - np.median(likeness)) > 5.5 * error


def test_a_gradient_that_no_scale_holds_follows_its_finite_width_forecast() -> None:
    expected = forecast(lambda x: torch.sin(x) ** 2, 64, 15, q=0.56, samples=2000)
    assert expected.over == 15
    assert 10 < expected.gradient < 1.3**14 * 2
    assert forecast("tanh", 64, 15, q=0.1).gradient < 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans(), st.integers(0, 5))
def test_a_forecast_is_a_distribution_over_the_depth(widths: list[int], orthogonal: bool, seed: int) -> None:
    found = forecast("square", widths, orthogonal=orthogonal, samples=50, seed=seed)
    assert 0 <= found.layers <= found.depth == len(widths)
    assert 0 <= found.fell + found.rose <= 1
    assert found == forecast("square", widths, orthogonal=orthogonal, samples=50, seed=seed)


def test_an_orthogonal_linear_network_keeps_everything() -> None:
    found = forecast("identity", 200, 30, orthogonal=True)
    assert (found.layers, found.fell, found.rose) == (30.0, 0.0, 0.0)
    assert found.gradient == pytest.approx(1.0, rel=1e-6)
    assert abs(found.correlation) < 0.05
    independent = forecast("identity", 200, 30)  # the planted difference: independent draws lose isometry
    assert abs(independent.gradient - 1) > 0.05


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("square", 64), "depth"),
        (("square", [64, 0]), "width"),
        (("square", [64], 2), "depth"),
        ((["square"], 64, 2), "functions"),
        (("swiglu", 64, 2), "gated"),
    ],
)
def test_what_cannot_be_followed_is_refused(arguments: tuple[object, ...], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        forecast(*arguments)
    with pytest.raises(ArgumentError, match="q"):
        forecast("square", 64, 2, q=0.0)
