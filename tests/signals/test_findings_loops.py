"""Depth and time that are written as loops over one layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check


class Looped(nn.Module):
    """One layer, applied many times between two others."""

    def __init__(self, calls: int, width: int, square: float, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(16, width), nn.Linear(width, width), nn.Linear(width, 4)
        self.act, self.calls = act(), calls
        for layer in (self.first, self.again, self.last):
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2.0 if act is nn.ReLU else 1.0))
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.again.weight, std=math.sqrt(square / width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.first(x))
        for _ in range(self.calls):
            x = self.act(self.again(x))
        return self.last(x)


class Elman(nn.Module):
    """A recurrence by hand, read at its end, in two spellings."""

    def __init__(self, width: int, gain: float, raw: bool) -> None:
        super().__init__()
        self.into, self.raw, self.last = nn.Linear(4, width), raw, nn.Linear(width, 2)
        weight = nn.init.orthogonal_(torch.empty(width, width), gain)
        if raw:
            self.u = nn.Parameter(weight)
        else:
            self.again = nn.Linear(width, width)
            self.again.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), self.last.in_features)
        for step in x.unbind(1):
            state = torch.tanh(self.into(step) + (state @ self.u if self.raw else self.again(state)))
        return self.last(state)


def found(model: nn.Module, batch: torch.Tensor) -> dict[str, Finding]:
    return {f.code: f for f in check(model, batch, predict=False).findings if f.severity != "note"}


@pytest.mark.parametrize(("calls", "width"), [(20, 64), (40, 128)])
def test_a_signal_that_grows_from_call_to_call_is_found(calls: int, width: int) -> None:
    torch.manual_seed(0)
    batch = torch.randn(32, 16)
    finding = found(Looped(calls, width, 8.0), batch)["GI103"]
    assert finding.where == ("again",)
    assert math.log(finding.effect) == pytest.approx(math.log(4.0) * (calls - 1), rel=0.2)
    assert "per call" in finding.cause
    assert not found(Looped(calls, width, 2.0), batch)


@pytest.mark.parametrize("calls", [30, 60])
def test_a_loop_that_multiplies_gradients_is_found_though_its_signal_stays(calls: int) -> None:
    torch.manual_seed(0)
    batch = torch.randn(32, 16)
    assert found(Looped(calls, 64, 6.0, nn.Tanh), batch)["GI105"].where == ("again",)
    assert not found(Looped(calls, 64, 1.0, nn.Tanh), batch)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("steps", [40, 90])
def test_a_memory_by_hand_that_fades_before_the_end_is_found(steps: int, raw: bool) -> None:
    torch.manual_seed(0)
    finding = found(Elman(32, 0.4, raw), torch.randn(8, steps, 4))["GI127"]
    assert finding.severity == "warning"
    assert not found(Elman(32, 1.0, raw), torch.randn(8, 12, 4))


class Gated(nn.Module):
    """A GRU by hand, which learns over many steps because it opens its gates first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.again = nn.Linear(4, 3 * width), nn.Linear(width, 3 * width)
        self.last, self.width = nn.Linear(width, 2), width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), self.width)
        for step in x.unbind(1):
            (a, b, c), (d, e, f) = self.into(step).chunk(3, 1), self.again(state).chunk(3, 1)
            keep = torch.sigmoid(b + e)
            state = (1 - keep) * torch.tanh(c + torch.sigmoid(a + d) * f) + keep * state
        return self.last(state)


@pytest.mark.parametrize("steps", [20, 80])
def test_a_loop_whose_gates_learn_is_never_an_error(steps: int) -> None:
    torch.manual_seed(0)
    severities = {f.severity for f in found(Gated(32), torch.randn(8, steps, 4)).values()}
    assert severities <= ({"warning"} if steps > 30 else set())


@pytest.mark.parametrize("calls", [30, 80])
def test_a_fixed_point_that_forgets_where_it_began_is_only_noted(calls: int) -> None:
    class Equilibrium(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.again, self.last = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 4)
            nn.init.normal_(self.again.weight, std=0.02)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = self.into(x)
            state = torch.zeros_like(given)
            for _ in range(calls):
                state = torch.tanh(self.again(state) + given)
            return self.last(state)

    torch.manual_seed(0)
    report = check(Equilibrium(), torch.randn(calls, 16), predict=False)
    assert [(f.code, f.severity) for f in report.findings] == [("GI127", "note")]


def test_calls_side_by_side_are_no_loop() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.last = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = [torch.tanh(self.one(x + 0.1 * number)) for number in range(12)]
            return self.last(torch.stack(parts).mean(0))

    assert not found(Siamese(), torch.randn(32, 16))
