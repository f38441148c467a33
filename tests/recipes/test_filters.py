"""Transforms to frequencies and back, filters in complex numbers, and kernels of state-space models."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit

# Mean squares of outputs vary from draw to draw: 64 outputs of 64 inputs stay within this factor of 1.
_NEAR = 1.6


class _Between(nn.Module):
    """Something without weights between two layers."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(64, 64), nn.Linear(64, 64), between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.between(self.a(x)))
        return out


class _Diagonal(nn.Module):
    """S4D: a sum of complex exponentials makes a long kernel, which is applied as a product of spectra."""

    def __init__(self, width: int, states: int, exact: bool) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.rand(width) * 4.6 - 6.9)
        self.mix = nn.Parameter(torch.randn(width, states, 2))
        self.turn = nn.Parameter(math.pi * torch.arange(float(states)).repeat(width, 1))
        self.out, self.exact = nn.Linear(width, 64), exact

    def forward(self, u: Tensor) -> Tensor:
        rate = torch.complex(-0.5 * torch.ones_like(self.turn), self.turn)
        step = rate * self.log_step.exp()[:, None]
        mix = torch.view_as_complex(self.mix)
        if self.exact:
            mix = mix * (step.exp() - 1) / rate
        length = u.shape[-1]
        powers = torch.exp(step[..., None] * torch.arange(length))
        kernel = 2 * torch.einsum("hn,hnl->hl", mix, powers).real
        spectrum = torch.fft.rfft(u, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        y: Tensor = self.out(torch.fft.irfft(spectrum, 2 * length)[..., :length].transpose(1, 2))
        return y


class _Filter(nn.Module):
    """GFNet: learned complex factors of the spectrum."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.randn(length // 2 + 1, width, 2) * 0.02)
        self.out = nn.Linear(width, 64)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=1) * torch.view_as_complex(self.factors)
        y: Tensor = self.out(torch.fft.irfft(spectrum, dim=1))
        return y


def _size(model: nn.Module, x: Tensor) -> float:
    goodinit.initialize(model, example=x, seed=0)
    with torch.no_grad():
        return float(model(x).square().mean())


@pytest.mark.parametrize(
    "between",
    [
        lambda z: torch.fft.fft2(z).real,
        lambda z: torch.fft.fft(torch.fft.fft(z, dim=-1), dim=1).imag,
        lambda z: torch.fft.fft2(torch.tanh(z)).real,
        lambda z: torch.relu(torch.fft.fft(z).real),
        lambda z: torch.fft.fft2(z).abs(),
        lambda z: torch.fft.irfft(torch.fft.rfft(z, dim=1), n=16, dim=1),
    ],
    ids=["fft2", "twice", "tanh before", "relu after", "abs", "there and back"],
)
def test_what_a_transform_puts_out_is_counted(between: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _size(_Between(between), torch.randn(8, 16, 64))
    assert 1 / _NEAR < found < _NEAR


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("states", [4, 8])
def test_a_kernel_of_a_state_space_model_is_kept_and_its_size_counted(states: int, exact: bool) -> None:
    torch.manual_seed(0)
    model, x = _Diagonal(64, states, exact), torch.randn(8, 64, 24)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    found = _size(model, x)
    assert 1 / _NEAR < found < _NEAR
    for name in ("log_step", "mix", "turn"):
        assert torch.equal(before[name], model.get_parameter(name).detach()), name


@pytest.mark.parametrize("length", [8, 16])
def test_complex_factors_stay_as_their_author_drew_them(length: int) -> None:
    torch.manual_seed(0)
    model = _Filter(64, length)
    before = model.factors.detach().clone()
    found = _size(model, torch.randn(8, length, 64))
    assert torch.equal(before, model.factors.detach())
    assert 1 / _NEAR < found < _NEAR


def test_complex_factors_without_values_are_asked_for() -> None:
    with torch.device("meta"):
        model = _Filter(8, 8)
    with pytest.raises(goodinit.errors.UncoveredError, match="used after view_as_complex"):
        goodinit.plan(model, example=torch.zeros(2, 8, 8))
