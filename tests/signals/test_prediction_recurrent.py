"""What theory expects of recurrent layers, step by step, and what it does not follow."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import goodinit
from goodinit.records import LayerSignal
from goodinit.signals.check import check

# As logarithms: the largest error in 216 draws of the first test's families was 0.25; of the second's 0.33,
# and 0.74 in a ReLU recurrence of 32 units under dropout, in 8 draws each.
CLOSE, ROUGH = 0.5, 1.0


class Read(nn.Module):
    """A recurrent layer and a head on its output, or on its last state."""

    def __init__(self, core: nn.RNNBase, before: nn.Module | None = None, final: bool = False) -> None:
        super().__init__()
        self.before, self.core, self.final = before or nn.Identity(), core, final
        width = core.proj_size or core.hidden_size
        self.head = nn.Linear(width * (2 if core.bidirectional and not final else 1), 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, state = self.core(self.before(x))
        if self.final:
            return self.head((state[0] if isinstance(state, tuple) else state)[-1])
        return self.head(output)


def layers(model: nn.Module, x: torch.Tensor) -> dict[str, LayerSignal]:
    return {layer.name: layer for layer in check(model, x).layers}


def off(layer: LayerSignal) -> float:
    """Return the largest error of any step, as a logarithm."""
    assert len(layer.predicted_steps) == len(layer.steps) > 1
    pairs = zip(layer.predicted_steps, layer.steps, strict=True)
    return max(abs(math.log(told / seen)) for told, seen in pairs)


def within(layer: LayerSignal) -> bool:
    told = layer.predicted
    return told is not None and told.low <= layer.output.second_moment <= told.high


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("how", ["default", "auto", "large"])
@pytest.mark.parametrize(("steps", "data"), [(6, "noise"), (40, "noise"), (40, "constant"), (40, "walk")])
def test_every_step_of_a_recurrent_layer_is_foretold(
    kind: type[nn.RNNBase], how: str, steps: int, data: str
) -> None:
    torch.manual_seed(0)
    model = Read(kind(16, 64, batch_first=True))
    if how == "auto":
        goodinit.initialize(model)
    elif how == "large":
        for weight in (model.core.weight_ih_l0, model.core.weight_hh_l0):
            nn.init.normal_(weight, std=1.5 / math.sqrt(weight.shape[1]))
    x = torch.randn(32, steps, 16)
    if data == "constant":
        x = x[:, :1].expand(32, steps, 16).clone()
    elif data == "walk":
        x = x.cumsum(1) / torch.arange(1, steps + 1).sqrt()[None, :, None]
    seen = layers(model, x)
    assert off(seen["core"]) < CLOSE
    assert within(seen["core"])
    assert within(seen["head"])


@pytest.mark.parametrize(
    ("core", "close"),
    [
        (lambda: nn.LSTM(16, 32, 3), CLOSE),
        (lambda: nn.GRU(16, 32, 2, bidirectional=True), CLOSE),
        (lambda: nn.LSTM(16, 64, proj_size=32), CLOSE),
        (lambda: nn.RNN(16, 32, 2, nonlinearity="relu", dropout=0.3), ROUGH),
        (lambda: nn.LSTM(16, 32, 2, bias=False, bidirectional=True), CLOSE),
    ],
)
def test_stacked_projected_and_two_way_layers_are_foretold(
    core: Callable[[], nn.RNNBase], close: float
) -> None:
    torch.manual_seed(0)
    seen = layers(Read(core()), torch.randn(24, 16, 16))
    assert off(seen["core"]) < close
    assert within(seen["core"])
    assert within(seen["head"])


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_the_last_state_and_what_reads_it_are_foretold(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    assert within(layers(Read(kind(16, 64), final=True), torch.randn(20, 32, 16))["head"])


def test_behind_an_embedding_and_behind_a_layer_predictions_go_on() -> None:
    torch.manual_seed(0)
    core = nn.GRU(16, 64, batch_first=True)
    looked_up = layers(Read(core, nn.Embedding(50, 16)), torch.randint(0, 50, (16, 20)))
    assert within(looked_up["core"])
    behind = layers(Read(core, nn.Linear(8, 16)), torch.randn(16, 20, 8))
    assert within(behind["before"])
    assert within(behind["core"])
    # Gradients are not followed through the recurrence.
    assert behind["core"].predicted_gradient is not None
    assert behind["before"].predicted_gradient is None


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_recurrence_whose_steps_are_alike_by_its_weights_is_not_foretold_blindly(
    kind: type[nn.RNNBase],
) -> None:
    """Weights of one sign are no random draw: the measured size leaves the band."""
    torch.manual_seed(0)
    model = Read(kind(16, 64, batch_first=True))
    with torch.no_grad():
        model.core.weight_hh_l0.abs_()
        model.core.weight_ih_l0.abs_()
    assert not within(layers(model, torch.randn(32, 40, 16).abs())["core"])


def test_a_packed_sequence_is_left_out_and_nothing_breaks() -> None:
    class Packed(Read):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, [8, 6, 5, 2], batch_first=True)
            _, (state, _) = self.core(packed)
            return self.head(state[-1])

    seen = layers(Packed(nn.LSTM(16, 32, batch_first=True)), torch.randn(4, 8, 16))
    assert seen["head"].predicted is None


def test_a_model_that_reads_only_the_last_state_can_be_probed_and_monitored() -> None:
    model = Read(nn.LSTM(16, 32, batch_first=True), final=True)
    x = torch.randn(4, 8, 16)
    assert layers(model, x)["core"].gradient is None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with goodinit.Monitor(model, every=1) as monitor:
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
    assert not monitor.log.notes
