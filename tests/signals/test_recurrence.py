"""Time steps are seen one by one, and how much the end still depends on each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.signals import probe
from goodinit.signals.probing.recurrence import is_cell

B, T, X, H = 4, 12, 3, 5


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_output_and_its_gradient_are_measured_by_step(kind: type[nn.RNNBase], batch_first: bool) -> None:
    model = kind(X, H, batch_first=batch_first)
    x = torch.randn(B, T, X) if batch_first else torch.randn(T, B, X)
    (layer,) = probe(model, x, loss=lambda out: out[0].pow(3).sum()).layers
    output = model(x)[0]
    gradient = 3 * output**2
    other = (0, 2) if batch_first else (1, 2)
    assert layer.steps == pytest.approx(output.square().mean(dim=other).tolist(), rel=1e-5)
    # The gradient at the output, not what flows back through the recurrence.
    assert layer.step_gradients == pytest.approx(gradient.square().mean(dim=other).tolist(), rel=1e-5)
    samples = output if batch_first else output.transpose(0, 1)
    assert layer.varying == pytest.approx(samples.var(dim=0, correction=0).mean().item(), rel=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_memory_is_the_last_outputs_gradient_with_respect_to_each_input(layers: int) -> None:
    model, x = nn.GRU(X, H, num_layers=layers, batch_first=True), torch.randn(B, T, X)
    (seen,) = probe(model, x).layers
    # The mean over all sign vectors of a functional's squared gradient is the sum over outputs.
    leaf = x.clone().requires_grad_()
    last = model(leaf)[0][:, -1]
    exact = torch.zeros(T)
    for unit in range(H):
        (gradient,) = torch.autograd.grad(last[:, unit].sum(), leaf, retain_graph=True)
        exact += gradient.square().mean(dim=(0, 2))
    # Signs of B·H outputs leave the square of a sum of H terms: within a factor of 4 of its mean here.
    for found, wanted in zip(seen.memory, exact.tolist(), strict=True):
        assert wanted / 4 < found < wanted * 4


def test_a_fading_memory_is_told_from_a_kept_one() -> None:
    def with_recurrence(gain: float) -> nn.RNN:
        model = nn.RNN(X, H, batch_first=True)
        nn.init.orthogonal_(model.weight_hh_l0, gain)
        nn.init.normal_(model.weight_ih_l0, std=0.01)
        nn.init.zeros_(model.bias_ih_l0)
        nn.init.zeros_(model.bias_hh_l0)
        return model

    x = torch.randn(B, 40, X)
    kept, faded = (probe(with_recurrence(gain), x).layers[0].memory for gain in (1.0, 0.5))
    assert len(kept) == 40
    assert kept[0] / kept[-1] > 0.5
    # Half the weight over 39 steps: 0.25³⁹ of the second moment.
    assert faded[0] / faded[-1] == pytest.approx(0.25**39, rel=0.5)


def test_long_sequences_keep_sixty_four_steps_with_the_last() -> None:
    model, x = nn.RNN(X, H, batch_first=True), torch.randn(2, 300, X)
    (layer,) = probe(model, x).layers
    assert len(layer.steps) == len(layer.memory) == 60
    assert layer.steps[-1] == pytest.approx(model(x)[0][:, -1].square().mean().item(), rel=1e-5)


def test_a_bidirectional_layer_remembers_by_its_forward_direction() -> None:
    model, x = nn.GRU(X, H, batch_first=True, bidirectional=True), torch.randn(B, T, X)
    (layer,) = probe(model, x).layers
    # The backward direction's last step saw the last input alone and would hide the rest.
    assert len(layer.memory) == T
    assert layer.memory[0] > 0


class Loop(nn.Module):
    """A cell called by hand for each step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(H, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], H)
        for step in range(x.shape[1]):
            h = self.cell(x[:, step], h)
        return self.head(h)


class OwnCell(nn.Module):
    """A cell made of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.from_input, self.from_state = nn.Linear(X, H), nn.Linear(H, H, bias=False)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.from_input(x) + self.from_state(h))


@pytest.mark.parametrize("make", [lambda: nn.GRUCell(X, H), OwnCell])
def test_a_cell_called_by_hand_has_one_record_a_call_and_its_memory_in_the_last(make: object) -> None:
    model, x = Loop(make()), torch.randn(B, T, X)
    calls = [layer for layer in probe(model, x).layers if layer.name == "cell"]
    assert [layer.call for layer in calls] == list(range(T))
    assert all(not layer.memory for layer in calls[:-1])
    assert len(calls[-1].memory) == T
    assert calls[-1].memory[-1] == 1.0

    states = [torch.zeros(B, H)]
    for step in range(T):
        states.append(model.cell(x[:, step], states[-1]))
    jacobian = torch.zeros(())
    for unit in range(H):
        (gradient,) = torch.autograd.grad(states[-1][:, unit].sum(), states[1], retain_graph=True)
        jacobian = jacobian + gradient.square().mean()
    assert jacobian.item() / 4 < calls[-1].memory[0] < jacobian.item() * 4


def test_the_extra_gradients_do_not_count_as_the_layers_own() -> None:
    model, x = Loop(nn.RNNCell(X, H)), torch.randn(B, T, X)
    calls = [layer for layer in probe(model, x, loss=lambda y: y.sum()).layers if layer.name == "cell"]
    last = model.head.weight.sum(dim=0)
    assert calls[-1].gradient.second_moment == pytest.approx(last.square().mean().item(), rel=1e-5)

    class Unused(Loop):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach() + x.sum()

    cells = [layer for layer in probe(Unused(nn.RNNCell(X, H)), x).layers if layer.name == "cell"]
    assert len(cells[-1].memory) == T
    assert all(layer.gradient is None for layer in cells)


def test_cells_are_known_by_type_or_name() -> None:
    assert is_cell(nn.LSTMCell(2, 2))
    assert is_cell(OwnCell())
    assert not is_cell(nn.LSTM(2, 2))
