"""Reversible networks: couplings b·exp(s) + t share what all of them add."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import goodinit


class _Coupling(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        half = width // 2
        self.net = nn.Sequential(nn.Linear(half, 64), nn.ReLU(), nn.Linear(64, width))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s)
        if self.how == "add first":
            return torch.cat([(b + t) * torch.exp(s), a], 1)
        if self.how == "flipped":
            return torch.cat([a, t + s.exp() * b], 1).flip(1)
        return torch.cat([b * s.exp() + t, a], 1)


class _Free(nn.Module):
    """Attention without softmax: an exponential that meets its own values, and is divided out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.both, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.both(self.norm(x)).chunk(2, -1)
        mixed = (k.exp() * v).cumsum(1) / k.exp().cumsum(1)
        return x + self.out(mixed)


@pytest.mark.parametrize("how", ["multiply first", "add first", "flipped"])
@pytest.mark.parametrize(("width", "count"), [(16, 4), (16, 12), (32, 20)])
def test_signals_keep_their_size_through_couplings(width: int, count: int, how: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(*(_Coupling(width, how) for _ in range(count))), torch.randn(512, width)
    goodinit.initialize(model, example=x, seed=0)
    with torch.no_grad():
        # At unit outputs 12 couplings make it hundreds.
        assert 0.5 < float(model(x).square().mean()) < 3


def test_an_exponential_that_meets_its_own_values_is_no_coupling() -> None:
    plan = goodinit.plan(nn.Sequential(_Free(16), _Free(16), _Free(16)), example=torch.randn(2, 8, 16))
    assert not any("coupling" in row.why for row in plan.rows)


class _Two(nn.Module):
    """Scale and shift from a network each, in halves or under a mask."""

    def __init__(self, width: int, how: str, odd: bool) -> None:
        super().__init__()
        size = width if how == "masked" else width // 2
        nets = [[nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, size)] for _ in range(2)]
        self.s, self.t = (nn.Sequential(*net) for net in nets)
        self.register_buffer("mask", (torch.arange(width) % 2 == odd).float())
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "masked":
            assert isinstance(self.mask, Tensor)
            a, rest = x * self.mask, 1 - self.mask
            return a + rest * (x * torch.tanh(self.s(a)).exp() + self.t(a))
        a, b = x.chunk(2, 1)
        if self.how == "backwards":
            return torch.cat([(b - self.t(a)) * (-torch.tanh(self.s(a))).exp(), a], 1)
        scale = self.s(a) if self.how == "unbounded" else torch.tanh(self.s(a))
        return torch.cat([b * scale.exp() + self.t(a), a], 1)


@pytest.mark.parametrize("how", ["masked", "halves", "backwards", "unbounded"])
@pytest.mark.parametrize(("width", "count"), [(16, 12), (32, 6)])
def test_signals_keep_their_size_where_two_networks_make_scale_and_shift(
    width: int, count: int, how: str
) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(*(_Two(width, how, at % 2 > 0) for at in range(count))), torch.randn(512, width)
    goodinit.initialize(model, example=x, seed=0)
    with torch.no_grad():
        # At unit outputs 12 couplings make it 30 to 10⁵, or infinite.
        assert 0.5 < float(model(x).square().mean()) < 3


class _Gated(nn.Module):
    """A gated unit beside a linear map of one number, as in a temporal fusion transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lift, self.both = (
            nn.ModuleList(nn.Linear(1, width) for _ in range(3)),
            nn.Linear(width, 2 * width),
        )
        self.units = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for at, (lift, unit) in enumerate(zip(self.lift, self.units, strict=True)):
            y = lift(x[:, at : at + 1])
            a, b = unit(torch.tanh(self.both(y).chunk(2, -1)[0])).chunk(2, -1)
            rows.append(y + a * torch.sigmoid(b))
        return torch.stack(rows).sum(0)


def test_a_gated_unit_that_is_added_to_a_weights_result_is_no_coupling() -> None:
    plan = goodinit.plan(_Gated(16), example=torch.randn(4, 3))
    assert not any("coupling" in row.why for row in plan)
    assert plan["lift.1.weight"].std == pytest.approx(1.0)
