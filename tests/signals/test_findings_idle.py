"""Parameters that get no gradient, or zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check


class Branched(nn.Module):
    """A trunk with a side branch whose output is multiplied by a factor."""

    def __init__(self, width: int, factor: float, learned: bool = False) -> None:
        super().__init__()
        self.trunk, self.side, self.head = (nn.Linear(width, width) for _ in range(3))
        self.factor = nn.Parameter(torch.tensor(factor)) if learned else factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.trunk(x)) + self.factor * self.side(x))


def found(model: nn.Module, batch: object = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch, predict=False).findings}


@pytest.mark.parametrize("width", [4, 64])
def test_a_branch_times_zero_has_no_gradient(width: int) -> None:
    finding = found(Branched(width, 0.0), torch.randn(8, width))["GI117"]
    assert (finding.where, finding.severity) == (("side.weight", "side.bias"), "warning")
    assert "GI117" not in found(Branched(width, 0.5), torch.randn(8, width))


def test_a_branch_behind_a_gate_that_starts_at_zero_is_a_choice() -> None:
    report = check(Branched(16, 0.0, learned=True), torch.randn(8, 16))
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("GI117", "note")
    assert "'factor' starts at zero" in finding.cause
    assert report.healthy


@pytest.mark.parametrize("layers", [1, 3])
def test_parameters_that_forward_does_not_use_are_named(layers: int) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(8, 8)
            self.idle = nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    report = check(Idle())
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.effect) == ("GI125", "note", 2.0 * layers)
    assert finding.where[0] == "idle.0.weight"
    assert report.healthy
    model = Idle()
    for parameter in model.idle.parameters():
        parameter.requires_grad_(False)
    assert check(model).findings == ()


def test_an_expert_that_no_row_was_sent_to_is_not_accused() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = [slice(0, None), slice(0, 0)]
            return torch.cat([expert(x[at]) for expert, at in zip(self.experts, rows, strict=True)])

    assert "GI117" not in found(Routed(), torch.randn(8, 8))


class Cut(nn.Module):
    """A network whose output depends on no parameter by a slope."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.how = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), how

    def forward(self, x: torch.Tensor) -> object:
        if self.how == "no_grad":
            with torch.no_grad():
                return self.body(x)
        y = self.body(x)
        return {"detach": y.detach(), "argmax": y.argmax(-1).float(), "item": y.sum().item()}.get(self.how, y)


@pytest.mark.parametrize("how", ["no_grad", "detach", "argmax", "item"])
def test_a_model_of_which_no_parameter_can_learn_is_never_healthy(how: str) -> None:
    batch = torch.randn(8, 8)
    report = check(Cut(how), batch)
    (finding,) = report.findings
    assert (finding.code, finding.severity, len(finding.where)) == ("GI125", "warning", 4)
    assert not report.healthy
    if how != "item":
        (finding,) = check(Cut(how), batch, loss=lambda y: y.square().mean()).findings
        assert (finding.code, finding.severity) == ("GI125", "error")
    assert check(Cut("whole"), batch).healthy


def test_a_frozen_model_has_nothing_that_should_learn() -> None:
    assert check(Cut("whole").requires_grad_(False), torch.randn(8, 8)).healthy


def test_the_cure_for_unused_parameters_runs_as_printed() -> None:
    model = nn.ModuleDict({"used": nn.Linear(8, 4), "idle": nn.Linear(3, 3)})
    model.forward = lambda x: model["used"](x)  # type: ignore[method-assign]
    cure = found(model, torch.randn(4, 8))["GI125"].cure
    exec(cure[cure.index("for name") :], {"model": model})
    assert not found(model, torch.randn(4, 8))


def test_float16_may_have_lost_the_gradient_that_is_zero() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).half()
    report = check(model, torch.randn(8, 8).half(), loss=lambda y: y.float().square().mean() * 1e-9)
    finding = next(finding for finding in report.findings if finding.code == "GI117")
    assert "float16" in finding.cause
    assert "GradScaler" in finding.cure


@pytest.mark.parametrize("std", [1e-4, 1e-6])
def test_gradients_that_rounding_ends_are_said_to_fade(std: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(part for _ in range(14) for part in (nn.Linear(16, 16), nn.Sigmoid())))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=std)
    finding = found(model, torch.randn(8, 16))["GI117"]
    assert finding.where[0] == "0.weight"
    assert "faded to the smallest numbers of float32" in finding.cause
    masked = found(Branched(16, 0.0), torch.randn(8, 16))["GI117"]
    assert "faded" not in masked.cause
