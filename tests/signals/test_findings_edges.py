"""Batches that no network learns from as they are, and outputs that let no gradient in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.records import Finding
from goodinit.signals import check


def mlp(depth: int, width: int, *, norm: bool = False, bias: bool = False, outputs: int = 4) -> nn.Sequential:
    layers: list[nn.Module] = [nn.BatchNorm1d(16)] if norm else []
    inputs = 16
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    model = nn.Sequential(*layers, nn.Linear(inputs, outputs))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if not bias:
                nn.init.zeros_(module.bias)
    return model


class Ended(nn.Module):
    """A network with a function behind its last layer."""

    def __init__(self, body: nn.Module, factor: float) -> None:
        super().__init__()
        self.body, self.factor = body, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * self.factor


def found(model: nn.Module, batch: object, **options: object) -> dict[str, Finding]:
    report = check(model, batch, predict=False, **options)  # type: ignore[arg-type]
    return {finding.code: finding for finding in report.findings if finding.severity != "note"}


@pytest.mark.parametrize("depth", [1, 3, 6])
@pytest.mark.parametrize("mean", [40.0, 100.0, 1e4])
def test_samples_that_differ_by_next_to_nothing_are_found_and_the_batch_is_blamed(
    depth: int, mean: float
) -> None:
    torch.manual_seed(depth)
    model, batch = mlp(depth, 64), torch.randn(64, 16)
    assert not found(model, batch)
    assert not found(model, batch + 3.0)
    finding = found(model, batch + mean)["GI108"]
    assert (finding.where, finding.severity) == (("the batch",), "warning")
    assert finding.effect == pytest.approx(1.0 / (mean**2 + 1), rel=0.2)


def test_a_norm_that_takes_the_mean_away_makes_it_harmless() -> None:
    assert not found(mlp(3, 64, norm=True), torch.randn(64, 16) + 100.0)


@pytest.mark.parametrize(
    ("scale", "code"), [(1e-4, "GI102"), (1e-8, "GI102"), (1e4, "GI103"), (1e6, "GI103")]
)
@pytest.mark.parametrize("depth", [1, 4])
def test_inputs_of_unusual_size_that_no_layer_mends_are_found(depth: int, scale: float, code: str) -> None:
    torch.manual_seed(depth)
    batch = torch.randn(64, 16)
    assert not found(mlp(depth, 64), batch)
    assert found(mlp(depth, 64), scale * batch)[code].where == ("the batch",)
    assert not found(mlp(depth, 64, norm=True), batch * max(scale, 1.0))


@pytest.mark.parametrize("scale", [1e-4, 1e-5])
def test_small_inputs_that_drown_in_the_first_layers_biases_are_forgotten(scale: float) -> None:
    torch.manual_seed(0)
    batch, model = torch.randn(64, 16), mlp(3, 64, bias=True)
    assert not found(model, batch)
    assert found(model, scale * batch)["GI108"].where == ("0", "6")


@pytest.mark.parametrize("factor", [1e-9, 1e-12, -1e-15])
@pytest.mark.parametrize("depth", [1, 5])
def test_a_tiny_factor_behind_the_last_layer_is_found(depth: int, factor: float) -> None:
    torch.manual_seed(depth)
    model, batch = Ended(mlp(depth, 32), factor), torch.randn(16, 16)
    finding = found(model, batch)["GI104"]
    assert (finding.where[0].startswith("body."), finding.severity) == (True, "error")
    assert finding.effect < 1e-16
    labels = torch.randint(0, 4, (16,))
    with_loss = found(model, (batch, labels), loss=functional.cross_entropy)["GI104"]
    assert with_loss.effect == pytest.approx(finding.effect, rel=100)
    assert not found(Ended(mlp(depth, 32), 0.1), batch)


def test_a_softmax_over_many_classes_lets_enough_through() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(mlp(2, 32, outputs=20_000), nn.Softmax(dim=-1))
    assert not found(model, torch.randn(4, 16))


@pytest.mark.parametrize("place", ["first", "second"])
@pytest.mark.parametrize("scale", [1e-2, 1e4, 1e7])
def test_behind_a_norm_the_size_of_the_input_is_no_matter(place: str, scale: float) -> None:
    torch.manual_seed(0)
    norm, batch = nn.BatchNorm1d(64 if place == "second" else 16), scale * torch.randn(64, 16)
    layers: list[nn.Module] = [*mlp(4, 64)]
    layers.insert(1 if place == "second" else 0, norm)
    assert not found(nn.Sequential(*layers), batch)
    behind = next(layer for layer in layers[3:] if isinstance(layer, nn.Linear))
    with torch.no_grad():
        behind.weight.mul_(1e-7)
    assert "GI102" in found(nn.Sequential(*layers), batch)


class Actor(nn.Module):
    """A policy and a value on one trunk; the policy's first action may be sure."""

    def __init__(self, width: int, sure: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(16, width), nn.Tanh())
        self.policy, self.value = nn.Linear(width, 4), nn.Linear(width, 1)
        nn.init.zeros_(self.policy.bias)
        with torch.no_grad():
            self.policy.bias[0] = sure

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.trunk(x)
        return self.policy(h), self.value(h)


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize(("sure", "wrong"), [(0.0, False), (3.0, False), (30.0, True), (60.0, True)])
def test_an_output_that_the_loss_hands_next_to_nothing_is_found(width: int, sure: float, wrong: bool) -> None:
    torch.manual_seed(width)
    returns = torch.randn(32)

    def loss(output: tuple[torch.Tensor, torch.Tensor], actions: torch.Tensor) -> torch.Tensor:
        logits, value = output
        taken = functional.log_softmax(logits, dim=1).gather(1, actions[:, None])[:, 0]
        return -(taken * returns).mean() + (value[:, 0] - returns).square().mean() + 10

    batch = torch.randn(32, 16), torch.zeros(32, dtype=torch.int64)
    findings = found(Actor(width, sure), batch, loss=loss)
    assert ("GI104" in findings) is wrong
    if wrong:
        assert findings["GI104"].where == ("output [0]",)
