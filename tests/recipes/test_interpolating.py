"""Gates between two signals, in every spelling, and streams to which branches without weights are added."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit

SPELLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "difference": lambda x, y, g: x + g * (y - x),
    "difference first": lambda x, y, g: (y - x) * g + x,
    "taken away": lambda x, y, g: x - g * (x - y),
    "from the other side": lambda x, y, g: y + (1 - g) * (x - y),
    "sum": lambda x, y, g: g * y + (1 - g) * x,
    "sum, earlier first": lambda x, y, g: x * (1 - g) + y * g,
    "lerp": torch.lerp,
}


class Highway(nn.Module):
    def __init__(
        self, width: int, depth: int, how: str, phi: Callable[[Tensor], Tensor], bias: float = 0
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.mix, self.phi = SPELLINGS[how], phi
        for gate in self.gates:
            nn.init.constant_(gate.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = self.mix(x, self.phi(layer(x)), torch.sigmoid(gate(x)))
        return x


def ends(model: nn.Module, x: Tensor, seeds: int = 4) -> list[float]:
    """Second moments of the output, one for each seed."""
    plan = goodinit.plan(model, example=x)
    found = []
    for seed in range(seeds):
        plan.apply_(model, seed=seed)
        with torch.no_grad():
            found.append(float(model(x).square().mean()))
    return found


@pytest.mark.parametrize("how", SPELLINGS)
@pytest.mark.parametrize("phi", [torch.relu, lambda x: x], ids=["relu", "linear"])
def test_every_spelling_of_a_gate_keeps_the_size(how: str, phi: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    found = ends(Highway(128, 8, how, phi), torch.randn(128, 128))
    assert all(1 / 3 < moment < 3 for moment in found), found


@pytest.mark.parametrize("bias", [0.0, -2.0])
def test_fifty_gates_in_a_row_neither_fade_nor_explode(bias: float) -> None:
    torch.manual_seed(0)
    found = ends(Highway(128, 50, "sum", lambda x: x, bias), torch.randn(128, 128))
    # Gates of second moment 1 let such a network grow by 1e8 and more.
    assert all(0.3 < moment < 10 for moment in found), found


def test_what_a_bounded_activation_cannot_hold_gets_unit_scale_and_is_followed() -> None:
    torch.manual_seed(0)
    model, x = Highway(64, 20, "difference", torch.tanh), torch.randn(128, 64)
    plan = goodinit.plan(model, example=x)
    plan.apply_(model, seed=0)
    with torch.no_grad():
        for layer, gate in zip(model.layers, model.gates, strict=True):
            assert 0.6 < float(layer(x).square().mean()) < 1.6
            x = model.mix(x, model.phi(layer(x)), torch.sigmoid(gate(x)))


def test_a_gate_that_scales_a_difference_alone_is_no_mix() -> None:
    class Shrunk(Highway):
        def forward(self, x: Tensor) -> Tensor:
            for layer, gate in zip(self.layers, self.gates, strict=True):
                x = x + torch.sigmoid(gate(x)) * layer(x)
            return x

    plan = goodinit.plan(Shrunk(32, 4, "sum", torch.relu), example=torch.zeros(2, 32))
    assert "residual stream" in plan["layers.2.weight"].why
    assert "mix" not in plan["gates.2.weight"].why


class Mixing(nn.Module):
    """Blocks in which a part without weights mixes positions, as in FNet."""

    def __init__(self, width: int, depth: int, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        for at, layer in enumerate(self.maps):
            x = x + self.mix(self.norms[2 * at](x))
            x = x + layer(self.norms[2 * at + 1](x))
        return x


def _alike(x: Tensor) -> Tensor:
    return torch.softmax(x @ x.transpose(1, 2) / 8, -1) @ x


@pytest.mark.parametrize("depth", [2, 6])
def test_gains_hold_what_a_branch_without_weights_adds(depth: int) -> None:
    torch.manual_seed(0)
    model = Mixing(64, depth, lambda x: torch.fft.fft2(x).real)
    found = ends(model, torch.randn(8, 16, 64))
    assert all(moment < 8 for moment in found), found  # an fft of 16 × 64 numbers makes 512 of 1


def test_a_stream_that_nothing_holds_is_announced_with_its_size() -> None:
    torch.manual_seed(0)
    model, x = Mixing(64, 6, _alike), torch.randn(8, 16, 64)
    rows = [row for row in goodinit.plan(model, example=x) if row.announced is not None]
    assert {row.announced.quantity for row in rows} == {"stream"}
    measured = sum(ends(model, x)) / 4
    assert rows[0].announced.predicted == pytest.approx(measured, rel=0.2)
    assert not any(
        row.announced for row in goodinit.plan(Mixing(64, 6, lambda x: 0.02 * _alike(x)), example=x)
    )


def test_a_gate_packed_with_what_it_weighs_keeps_unit_scale() -> None:
    # Of one parameter one size is known: with 4.8 for one half, the other would make what follows run away.
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 128) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                y, gate = layer(x).chunk(2, -1)
                x = torch.lerp(x, torch.relu(y), torch.sigmoid(gate))
            return x

    torch.manual_seed(0)
    found = ends(Packed(), torch.randn(128, 64))
    assert all(0.1 < moment < 1 for moment in found), found


class Impala(nn.Module):
    """A stream that begins with the largest of nine results, without any normalization."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, channels, 3, padding=1)
        self.block, self.last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first(x), 3, 2, 1)
        return self.last(x + self.block(x))


def test_a_stream_counts_with_what_it_begins_with_where_that_is_the_largest_of_several() -> None:
    torch.manual_seed(0)
    model, x = Impala(), torch.randn(8, 8, 16, 16)
    plan = goodinit.plan(model, example=x)
    assert "that begins at" in plan["block.weight"].why
    plan.apply_(model, seed=0)
    with torch.no_grad():
        start = float(nn.functional.max_pool2d(model.first(x), 3, 2, 1).square().mean())
    std = plan["last.weight"].std
    assert start > 1.5
    assert std is not None
    assert 1 / (std**2 * 32 * 9) == pytest.approx(start, rel=0.35)  # padding takes a fifth


def test_what_is_summed_before_it_is_joined_is_not_made_as_large_as_the_sum() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(8, 16, 1), nn.Conv1d(16, 16, 1)
            self.last = nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            one = torch.relu(self.first(x))
            other = torch.relu(self.second(one))
            return self.last(torch.cat([one.sum(-1), other.sum(-1)], 1))

    plan = goodinit.plan(Crossed(), example=torch.randn(16, 8, 20))
    assert plan["second.weight"].std == pytest.approx((1 / (0.5 * 16)) ** 0.5, rel=0.05)
