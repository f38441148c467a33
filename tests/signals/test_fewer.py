"""A part of a large batch stands for all of it in predictions."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn

from goodinit.graph.examples import given
from goodinit.records import LayerSignal
from goodinit.signals import fewer as room
from goodinit.signals import prediction
from goodinit.signals.expectations import Passing
from goodinit.signals.fewer import Share, fewer
from goodinit.signals.prediction import predictions, with_predictions
from goodinit.signals.probing.probe import probe


def convnet() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10))


def unlike_images() -> Tensor:
    """Sixty-four images whose sizes differ by a factor of 7.4 in the second moment, smallest first."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.linspace(-1, 1, 64).exp()
    return torch.randn(64, 3, 8, 8, generator=generator) * sizes[:, None, None, None]


def inside(model: nn.Module, images: Tensor) -> list[bool]:
    layers: tuple[LayerSignal, ...] = with_predictions(
        probe(model, images).layers, predictions(model, images)
    )
    bands = [(layer.predicted, layer.output.second_moment) for layer in layers if layer.predicted is not None]
    assert len(bands) >= 10
    return [band.low <= found <= band.high for band, found in bands]


def test_predictions_from_a_part_of_unlike_images_hold_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_NUMBERS", 1 << 16)
    model, images = convnet(), unlike_images()
    found = fewer(model, given(images))
    assert found is not None
    assert 4 <= found[1][0] < 16
    assert all(inside(model, images))


def test_the_first_images_alone_would_not_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # The planted fault: no order by size, and no room in the band for the choice.
    monkeypatch.setattr(room, "_NUMBERS", 1 << 16)
    monkeypatch.setattr(room, "_evenly", lambda example, count, taken: torch.arange(taken))
    monkeypatch.setattr(Share, "noise", lambda self, q: 0.0)
    assert not all(inside(convnet(), unlike_images()))


def test_a_small_batch_is_followed_whole() -> None:
    assert fewer(convnet(), given(torch.randn(4, 3, 8, 8))) is None
    assert fewer(convnet(), given(torch.randn(64, 3, 8, 8))) is None


def test_all_tensors_are_cut_at_the_same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_NUMBERS", 64)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            out: Tensor = self.layer(x) + y
            return out

    x = torch.randn(32, 4) * torch.rand(32, 1)
    found = fewer(Two(), given((x, x * 2)))
    assert found is not None
    one, other = found[0].args
    assert one.shape == (16, 4)
    assert torch.equal(one * 2, other)
    assert all(any(torch.equal(row, known) for known in x) for row in one)


@pytest.mark.parametrize("case", ["time first", "unlike first dimensions"])
def test_what_is_no_batch_is_not_cut(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_NUMBERS", 1)
    if case == "time first":
        assert fewer(nn.LSTM(3, 5), given(torch.randn(40, 8, 3))) is None
        assert fewer(nn.LSTM(3, 5, batch_first=True), given(torch.randn(40, 8, 3))) is not None
    else:
        attention = nn.MultiheadAttention(8, 2)
        x = torch.randn(12, 3, 8)
        assert fewer(attention, given((x, x[:6], x[:6]))) is None


def test_a_model_that_takes_no_fewer_is_followed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x.view(32, 4))
            return out

    x, model = torch.randn(32, 4), Stubborn()
    whole = predictions(model, x)
    monkeypatch.setattr(room, "_NUMBERS", 1)
    assert fewer(model, given(x)) is not None
    assert predictions(model, x) == whole != {}


def test_moments_are_let_go_of_when_the_layer_is_past(monkeypatch: pytest.MonkeyPatch) -> None:
    # Held until the end they took five times the memory of a training step of ResNet-50.
    met: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Counted(Passing):
        def __init__(self, q: Tensor) -> None:
            super().__init__(q)
            met.append(weakref.ref(q))

        def _note(self, gradient: Tensor) -> None:
            super()._note(gradient)
            alive.append(sum(each() is not None for each in met))

    monkeypatch.setattr(prediction, "Passing", Counted)
    found = predictions(convnet(), unlike_images())
    assert len(found) == len(met) >= 10
    assert all(each.gradient is not None and each.gradient.value > 0 for each in found.values())
    assert alive
    assert max(alive) <= 1  # the output, where gradients start


def test_no_gradient_reaches_the_models_own_numbers() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
            self.shift, self.shifts = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last((self.layer(x) + self.shift).relu() + self.shifts)
            return out

    model = Shifted()
    nn.init.zeros_(model.layer.weight)
    nn.init.zeros_(model.layer.bias)
    assert predictions(model, torch.randn(8, 6))
    assert all(parameter.grad is None for parameter in model.parameters())
