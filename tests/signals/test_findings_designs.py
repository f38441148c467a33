"""Designs that look like faults and train: adapters, pixels, norms by hand, large biases, eval mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import goodinit
from goodinit.records import Finding
from goodinit.signals import check
from goodinit.signals.judging.depth import trend


def found(model: nn.Module, batch: torch.Tensor) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch).findings if finding.severity != "note"}


class Adapted(nn.Module):
    """Norm-first blocks, each followed by a small adapter with a skip connection."""

    def __init__(self, blocks: int, width: int, std: float, start: float = 1.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(blocks)
        )
        self.adapters = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width)) for _ in range(blocks)
        )
        self.head = nn.Linear(width, 5)
        for adapter in self.adapters:
            for layer in (adapter[0], adapter[2]):  # type: ignore[index]
                nn.init.normal_(layer.weight, 0.0, std)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, body, adapter in zip(self.norms, self.bodies, self.adapters, strict=True):
            x = x + body(norm(x))
            x = x + adapter(x)
        return self.head(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("blocks", [2, 3, 5])
@pytest.mark.parametrize("width", [32, 64])
def test_small_adapters_between_large_layers_are_no_vanishing_signal(blocks: int, width: int) -> None:
    """Houlsby et al. 2019 draw adapters with a standard deviation of 0.01 or less."""
    assert not found(Adapted(blocks, width, 1e-3), torch.randn(16, width))


def test_a_course_that_starts_over_is_not_steady_and_one_that_goes_on_is() -> None:
    fall = [1.0, 1e-2, 1e-4, 1e-6, 1e-8]
    assert trend([*fall, *fall]).steady == pytest.approx(trend([*fall, *fall]).total)
    assert abs(trend([*fall, *fall, 1.0]).steady) < abs(trend([*fall, *(1e-10 * v for v in fall)]).steady) / 4


class Pixels(nn.Module):
    """A policy of two choices that brings pixels to size 1 itself."""

    def __init__(self, channels: int, std: float | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(4, channels, 4, 2), nn.ReLU(), nn.Conv2d(channels, channels, 3, 2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(channels * 9, 64), nn.ReLU()),
        )
        self.first, self.second = nn.Linear(64, 9), nn.Linear(64, 9)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight, 0.01 if module in (self.first, self.second) else 2.0**0.5)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        if std is not None:
            nn.init.normal_(self.body[2].weight, 0.0, std)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(x / 255.0)
        return self.first(h), self.second(h)


@pytest.mark.parametrize("channels", [8, 32])
@pytest.mark.parametrize("samples", [4, 32])
def test_pixels_that_the_model_divides_by_255_have_not_vanished(channels: int, samples: int) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        batch = torch.randint(0, 256, (samples, 4, 18, 18)).float()
        assert not found(Pixels(channels), batch)
        assert "GI102" in found(Pixels(channels, 1e-5), batch)


class ChannelsFirst(nn.Module):
    """A norm over channels, written by hand."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = x - x.mean(1, keepdim=True)
        unit = away / (away.square().mean(1, keepdim=True) + 1e-6).sqrt()
        out: torch.Tensor = self.weight[:, None, None] * unit + self.bias[:, None, None]
        return out


class Permuted(nn.Module):
    """A block that ends channels-last inside, so that what follows cannot be told from its order."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.gamma * self.mix(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def convnext(channels: int, fill: float | None = None) -> nn.Sequential:
    model = nn.Sequential(
        *(nn.Conv2d(3, channels, 2, 2), Permuted(channels), ChannelsFirst(channels)),
        *(nn.Conv2d(channels, channels, 2, 2), Permuted(channels)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)),
    )
    if fill is not None:
        for at in (0, 3):
            nn.init.constant_(model[at].weight, fill)  # type: ignore[arg-type]
            nn.init.zeros_(model[at].bias)  # type: ignore[arg-type]
    return model


def test_columns_of_a_picture_behind_a_norm_are_no_twins_and_equal_channels_are() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        batch = torch.randn(8, 3, 8, 8)
        assert not found(convnext(16), batch)
        assert "GI110" in found(convnext(16, 0.1), batch)


def test_units_behind_a_common_bias_that_drowns_their_input_are_no_twins() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 15), nn.Sigmoid())
        nn.init.normal_(model[2].weight, 0.0, 1e-7)  # type: ignore[arg-type]
        nn.init.constant_(model[2].bias, -4.6)  # type: ignore[arg-type]
        report = check(model, torch.randn(64, 16), loss=lambda out: out.sum(), predict=False)
        assert "GI110" not in {finding.code for finding in report.findings}


@pytest.mark.parametrize("depth", [10, 14])
@pytest.mark.parametrize("channels", [8, 16])
def test_norms_in_eval_mode_before_training_are_named_and_train_mode_cures(depth: int, channels: int) -> None:
    layers: list[nn.Module] = []
    for at in range(depth):
        layers += [nn.Conv2d(channels if at else 3, channels, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    batch = torch.randn(16, 3, 8, 8)
    findings = found(model.eval(), batch)
    assert findings
    assert all("no batch has touched" in each.cause for each in findings.values())
    assert all(each.cure.startswith("model.train()") for each in findings.values())
    assert not found(model.train(), batch)
    with torch.no_grad():
        for _ in range(100):
            model(batch)
    assert not found(model.eval(), batch)


@pytest.mark.parametrize("width", [32, 128])
@pytest.mark.parametrize("members", [20, 200])
def test_a_mean_over_members_divides_gradients_that_shared_weights_add_up_again(
    width: int, members: int
) -> None:
    class Sets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = (
                nn.Linear(3, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, width),
            )
            self.each = nn.Sequential(*layers, nn.ReLU())
            self.all = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.all(self.each(x).mean(dim=1))

    for seed in range(5):
        torch.manual_seed(seed)
        batch = torch.randn(16, members, 3)
        model = Sets()
        assert "GI104" not in found(model, batch)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.weight.mul_(0.2)
        assert "GI104" in found(model, batch)


@pytest.mark.parametrize("width", [32, 128])
def test_a_second_head_whose_loss_counts_little_is_no_growth_on_the_way_back(width: int) -> None:
    class Heads(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            layers = [m for at in range(depth) for m in (nn.Linear(width if at else 16, width), nn.ReLU())]
            self.body = nn.Sequential(*layers)
            self.first, self.second = nn.Linear(width, 4), nn.Linear(width, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = self.body(x)
            return self.first(h), self.second(h)

    def loss(outputs: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        return outputs[0].square().mean() + 1e-7 * (outputs[1] - target).square().mean()

    for seed in range(5):
        torch.manual_seed(seed)
        batch = torch.randn(16, 16), torch.randn(16, 4)
        for model in (Heads(2), Heads(10)):
            goodinit.initialize(model)
            assert not {f.code for f in check(model, batch, loss=loss).findings if f.severity != "note"}
        # A true growth stands beside such a head as well.
        with torch.no_grad():
            for module in model.body:
                if isinstance(module, nn.Linear):
                    module.weight.mul_(3.0)
        assert "GI105" in {f.code for f in check(model, batch, loss=loss).findings}
