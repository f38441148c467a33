"""Causes named beside gradients that do not keep their size, and gradients lost in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check
from goodinit.signals.judging.causes import is_torch_default
from goodinit.signals.probing.probe import probe


def chain(depth: int, width: int, act: type[nn.Module], std: float | None) -> nn.Sequential:
    """An MLP with weights of std/√fan_in; None leaves torch's default."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), act()]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear) and std is not None:
            nn.init.normal_(layer.weight, 0.0, std / width**0.5)
            nn.init.zeros_(layer.bias)
    return model


def found(model: nn.Module, batch: object = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch).findings}


@pytest.mark.parametrize(("depth", "width"), [(20, 64), (20, 128), (40, 32)])
def test_tanh_with_a_gain_that_holds_its_signal_is_in_conflict(depth: int, width: int) -> None:
    findings = found(chain(depth, width, nn.Tanh, 5 / 3))
    assert "GI105" in findings
    assert findings["GI111"].effect > 20
    assert not found(chain(depth, width, nn.Tanh, 1.0))


def test_relu_that_is_too_large_is_no_conflict_of_directions() -> None:
    findings = found(chain(20, 64, nn.ReLU, 2.0))
    assert {"GI103", "GI105"} <= findings.keys()
    assert "GI111" not in findings


@pytest.mark.parametrize(("depth", "width"), [(10, 64), (30, 32), (20, 128)])
def test_torchs_default_is_recognised_in_a_deep_plain_net(depth: int, width: int) -> None:
    finding = found(chain(depth, width, nn.ReLU, None))["GI119"]
    assert len(finding.where) == depth
    assert finding.effect == pytest.approx(1 / 3, rel=0.05)
    assert not found(chain(3, width, nn.ReLU, None))


def test_weights_of_the_same_size_but_another_law_are_not_called_the_default() -> None:
    layer = nn.Linear(64, 64)

    def judged() -> bool:
        return is_torch_default(probe(layer).parameters[0])

    assert judged()
    nn.init.normal_(layer.weight, 0.0, (3 * 64) ** -0.5)
    assert not judged()
    nn.init.uniform_(layer.weight, -1.2 / 8, 1.2 / 8)
    assert not judged()
    nn.init.xavier_uniform_(layer.weight)
    assert not judged()


@pytest.mark.parametrize("depth", [40, 60])
def test_batch_norm_without_skips_multiplies_gradients(depth: int) -> None:
    class Skipped(nn.Module):
        def __init__(self, skips: bool) -> None:
            super().__init__()
            self.linear = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))
            self.norm = nn.ModuleList(nn.BatchNorm1d(32) for _ in range(depth))
            self.skips = skips

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for linear, norm in zip(self.linear, self.norm, strict=True):
                y = torch.relu(norm(linear(x)))
                x = x + y if self.skips else y
            return x

    x = torch.randn(64, 32)
    findings = found(Skipped(skips=False), x)
    assert {"GI105", "GI124"} <= findings.keys()
    # Yang et al. 2019, section 4: π/(π − 1) = 1.47 for ReLU at infinite width and batch.
    assert 1.2 < findings["GI124"].effect < 1.8
    assert "GI124" not in found(Skipped(skips=True), x)


@pytest.mark.parametrize("scale", [1e-6, 1e-8])
def test_gradients_below_half_precision_are_found(scale: float) -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.body, self.factor = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)), factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) * self.factor

    x = torch.randn(16, 32)
    finding = found(Scaled(scale).half(), x.half())["GI123"]
    assert finding.effect > 0.1
    assert "GradScaler" in finding.cure
    assert "GI123" not in found(Scaled(1.0).half(), x.half())
    # bfloat16 reaches as far down as float32 does.
    assert "GI123" not in found(Scaled(scale).bfloat16(), x.bfloat16())


@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (0.1, False), (1e-3, True)])
def test_subnormal_numbers_of_float16_are_not_lost_until_few_digits_are_left(
    factor: float, wrong: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, norm_first=True, batch_first=True)
    body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(16 * 32, 10)).half()

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, target) * factor

    batch = torch.randn(16, 16, 32).half(), torch.randint(0, 10, (16,))
    codes = {finding.code for finding in check(model, batch, loss=loss, predict=False).findings}
    assert ("GI123" in codes) is wrong


def test_zeros_that_relu_makes_are_no_underflow() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).half()
    assert "GI123" not in found(model, torch.randn(16, 32).half())


class Bottleneck(nn.Module):
    """A block of ResNet-50, with or without its skip connection."""

    def __init__(self, inputs: int, width: int, skip: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        self.side = nn.Identity() if inputs == 4 * width else nn.Conv2d(inputs, 4 * width, 1, bias=False)
        self.skip = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.side(x) if self.skip else self.body(x))


def bottlenecks(stages: tuple[int, ...], *, skip: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    inputs = 8
    for stage, blocks in enumerate(stages):
        for _ in range(blocks):
            layers.append(Bottleneck(inputs, 4 * 2**stage, skip))
            inputs = 16 * 2**stage
        layers.append(nn.AvgPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


@pytest.mark.parametrize("stages", [(3, 4, 6, 3), (3, 4, 23, 3)])
def test_the_gradients_of_resnets_grow_by_design_and_without_their_skips_are_found(
    stages: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    batch = torch.randn(8, 3, 16, 16)
    assert check(bottlenecks(stages, skip=True), batch).healthy
    assert {"GI105", "GI124"} <= {f.code for f in check(bottlenecks(stages, skip=False), batch).findings}
