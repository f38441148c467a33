"""Units that compute the same and learn the same, in layers that nobody but their author knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check
from goodinit.signals.judging.twins import twins
from goodinit.signals.probing.probe import probe


class Dense(nn.Module):
    """A linear layer by hand, in one of several spellings."""

    def __init__(self, inputs: int, outputs: int, fill: Callable[[torch.Tensor], object], how: str) -> None:
        super().__init__()
        self.how = how
        self.w = nn.Parameter(torch.empty((outputs, inputs) if how == "linear" else (inputs, outputs)))
        with torch.no_grad():
            fill(self.w if how != "linear" else self.w.T)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "einsum":
            return torch.einsum("ni,io->no", x, self.w)
        return nn.functional.linear(x, self.w) if self.how == "linear" else x @ self.w


def normal(weight: torch.Tensor) -> None:
    weight.normal_(std=(2.0 / len(weight)) ** 0.5)


def alike(weight: torch.Tensor) -> None:
    """Units with equal weights."""
    normal(weight)
    weight.copy_(weight[:, :1].expand_as(weight).clone())


def doubled(weight: torch.Tensor) -> None:
    """Each unit twice, and each input read twice alike."""
    normal(weight)
    block = weight[: len(weight) // 2, : weight.shape[1] // 2].clone()
    weight.copy_(block.repeat(2, 2))


def build(width: int, fill: Callable[[torch.Tensor], object], how: str) -> nn.Module:
    sizes = (16, width, width, width, 6)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Dense(inputs, outputs, fill if outputs == width else normal, how), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def found(model: nn.Module, batch: torch.Tensor) -> dict[str, Finding]:
    return {f.code: f for f in check(model, batch, predict=False).findings if f.severity != "note"}


@pytest.mark.parametrize("how", ["matmul", "linear", "einsum"])
@pytest.mark.parametrize("width", [8, 32, 100])
@pytest.mark.parametrize("fill", [doubled, lambda w: w.fill_(0.05)])
def test_units_that_stay_equal_are_found_in_any_spelling(
    width: int, how: str, fill: Callable[[torch.Tensor], object]
) -> None:
    torch.manual_seed(width)
    batch = torch.randn(16, 16)
    assert "GI110" not in found(build(width, normal, how), batch)
    finding = found(build(width, fill, how), batch)["GI110"]
    seen = int(finding.measure.rpartition(" ")[2])
    assert (finding.severity, finding.effect) == ("error", seen)
    assert seen >= min(width, 50)


def test_equal_units_with_different_gradients_grow_apart_and_are_no_twins() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Dense(16, 32, alike, "matmul"), nn.ReLU(), Dense(32, 6, normal, "matmul"))
    seen = probe(model, torch.randn(16, 16)).layers[0]
    assert max(seen.unit_moments) == pytest.approx(min(seen.unit_moments), rel=1e-6)
    assert twins(seen) == 0


def test_mirrored_units_are_no_twins_though_their_outputs_agree() -> None:
    torch.manual_seed(0)
    layer = probe(nn.Linear(8, 64), torch.randn(16, 8)).layers[0]
    halves = tuple(float(at % 32 + 1) for at in range(64))
    # A pair's gradients within a millionth, as in 1 of 200 networks of 100 layers.
    by_chance = (*(float(at + 1) for at in range(63)), 32.0 * (1 + 7e-7))
    mirrored = dataclasses.replace(layer, unit_moments=halves, unit_gradients=by_chance)
    assert twins(mirrored) == 0
    rounded = (*by_chance[:63], 32.0 * (1 + 1e-7))
    assert twins(dataclasses.replace(mirrored, unit_gradients=rounded)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_independent_units_are_no_twins(dtype: torch.dtype) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        model = build(64, normal, "linear").to(dtype)
        assert "GI110" not in found(model, torch.randn(2, 16, dtype=dtype))


@pytest.mark.parametrize("spelling", [Dense, nn.Linear])
def test_the_cure_for_constants_runs_as_printed(spelling: type[nn.Module]) -> None:
    model = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(16, 16), nn.Tanh())], nn.Linear(16, 4))
    if spelling is Dense:
        model = build(16, lambda w: w.fill_(0.1), "matmul")
    else:
        for module in model[::2]:
            nn.init.constant_(module.weight, 0.1)
            nn.init.zeros_(module.bias)
    batch = torch.randn(16, 16)
    cure = found(model, batch)["GI110"].cure
    statement = cure[cure.index("for name in") :].partition("; then")[0]
    exec(statement, {"torch": torch, "model": model})
    assert "GI110" not in found(model, batch)


@pytest.mark.parametrize(("hidden", "severity"), [(1, "warning"), (3, "error")])
def test_a_constant_weight_is_an_error_where_nothing_parts_its_units(hidden: int, severity: str) -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(hidden) for m in (nn.Linear(16, 16), nn.Tanh())]
    for module in layers[::2]:
        nn.init.constant_(module.weight, 0.1)
        nn.init.zeros_(module.bias)
    finding = found(nn.Sequential(*layers, nn.Linear(16, 4)), torch.randn(16, 16))["GI110"]
    assert finding.severity == severity
