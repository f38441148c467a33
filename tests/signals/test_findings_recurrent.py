"""Recurrent layers that forget, and gates that make them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import goodinit
from goodinit.records import Finding
from goodinit.signals import check


class Reader(nn.Module):
    """A recurrent layer read at its last step, or at all of them."""

    def __init__(self, core: nn.Module, last: bool = True) -> None:
        super().__init__()
        self.core, self.head, self.last = core, nn.Linear(16, 3), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.core(x)[0]
        return self.head(h[:, -1] if self.last else h)


class Celled(nn.Module):
    """The same, a cell at a time."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(len(x), 16)
        for step in x.unbind(1):
            h = self.cell(step, h)
        return self.head(h)


def found(model: nn.Module, steps: int) -> dict[str, Finding]:
    return {
        finding.code: finding for finding in check(model, torch.randn(4, steps, 4), predict=False).findings
    }


def remembering(core: nn.RNNBase) -> nn.RNNBase:
    with torch.no_grad():
        if isinstance(core, nn.LSTM):
            core.bias_ih_l0[16:32] = 6.0
            core.bias_hh_l0[16:32] = 0.0
        else:
            nn.init.orthogonal_(core.weight_hh_l0)
            core.weight_ih_l0 *= 0.1
            core.bias_ih_l0.zero_()
            core.bias_hh_l0.zero_()
    return core


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
@pytest.mark.parametrize("steps", [60, 150])
def test_a_memory_that_fades_before_the_step_that_is_read_is_found(
    kind: type[nn.RNNBase], steps: int
) -> None:
    finding = found(Reader(kind(4, 16, batch_first=True)), steps)["GI127"]
    assert (finding.where, finding.severity) == (("core",), "warning")
    assert finding.effect < 2.0**-48
    assert "GI127" not in found(Reader(remembering(kind(4, 16, batch_first=True))), steps)


@pytest.mark.parametrize("steps", [60, 150, 400])
def test_the_gates_of_a_gru_learn_to_remember_so_that_fading_is_only_noted(steps: int) -> None:
    assert found(Reader(nn.GRU(4, 16, batch_first=True)), steps)["GI127"].severity == "note"
    shut = nn.GRU(4, 16, batch_first=True)
    with torch.no_grad():
        shut.bias_ih_l0[16:32] = -6.0
    assert found(Reader(shut), steps)["GI127"].severity == "warning"


@pytest.mark.parametrize(("kind", "severity"), [(nn.RNN, "error"), (nn.LSTM, "warning"), (nn.GRU, "note")])
def test_an_input_forgotten_by_its_memory_is_as_grave_as_its_gates_allow(
    kind: type[nn.RNNBase], severity: str
) -> None:
    x = torch.zeros(8, 60, 4)
    x[:, :3] = torch.randn(8, 3, 4)
    model = Reader(kind(4, 16, batch_first=True))
    findings = {finding.code: finding for finding in check(model, x, predict=False).findings}
    assert findings["GI108"].severity == severity
    assert "memory of 'core'" in findings["GI108"].cause
    # A head that forgets is no matter of memory.
    cut = nn.Sequential(Reader(kind(4, 16, batch_first=True)), nn.Linear(3, 3), nn.Linear(3, 3))
    nn.init.constant_(cut[1].weight, 1e-9)
    codes = {finding.code: finding for finding in check(cut, torch.randn(8, 8, 4), predict=False).findings}
    assert codes["GI108"].severity == "error"


def test_where_every_step_is_read_a_short_memory_is_only_noted() -> None:
    report = check(Reader(nn.RNN(4, 16, batch_first=True), last=False), torch.randn(4, 80, 4))
    assert {finding.code: finding.severity for finding in report.findings} == {"GI127": "note"}
    assert report.healthy


def test_a_cell_called_step_by_step_is_judged_like_a_layer() -> None:
    finding = found(Celled(nn.RNNCell(4, 16)), 60)["GI127"]
    assert (finding.where, finding.severity) == (("cell",), "warning")
    assert "GI127" not in found(Celled(nn.RNNCell(4, 16)), 8)


@pytest.mark.parametrize("bias", [-2.0, -6.0])
@pytest.mark.parametrize("steps", [16, 40])
def test_forget_gates_that_start_shut_are_found(bias: float, steps: int) -> None:
    core = nn.LSTM(4, 16, batch_first=True)
    assert "GI120" not in found(Reader(core), 16)
    with torch.no_grad():
        core.bias_ih_l0[16:32] = bias
        core.bias_hh_l0[16:32] = 0.0
    finding = found(Reader(core), steps)["GI120"]
    assert (finding.where, finding.severity) == (("core.bias_ih_l0", "core.bias_hh_l0"), "warning")
    assert finding.effect == pytest.approx(float(torch.tensor(bias).sigmoid()), rel=1e-4)


def test_torchs_default_gates_matter_where_the_sequence_is_long() -> None:
    assert found(Reader(nn.LSTM(4, 16, batch_first=True)), 100)["GI120"].severity == "warning"
    assert "GI120" not in found(Reader(nn.LSTM(4, 16, batch_first=True)), 16)


@pytest.mark.parametrize("steps", [50, 100])
def test_a_recurrence_in_which_gradients_grow_is_found(steps: int) -> None:
    core = nn.RNN(4, 16, batch_first=True)
    nn.init.normal_(core.weight_hh_l0, 0.0, 0.6)
    finding = found(Reader(core), steps)["GI105"]
    assert finding.where == ("core",)
    assert finding.effect > 1e6
    assert "GI105" not in found(Reader(remembering(nn.RNN(4, 16, batch_first=True))), steps)


@pytest.mark.parametrize("std", [1.5, 3.0, 10.0])
@pytest.mark.parametrize("steps", [20, 100])
def test_a_recurrence_on_the_flat_part_of_tanh_is_found(std: float, steps: int) -> None:
    core = nn.RNN(4, 16, batch_first=True)
    assert "GI109" not in found(Reader(core), steps)
    nn.init.normal_(core.weight_hh_l0, 0.0, std)
    finding = found(Reader(core), steps)["GI109"]
    assert 0.8 < finding.effect <= 1.0


@pytest.mark.parametrize("steps", [20, 60])
@pytest.mark.parametrize("bias", [-10.0, 3.0])
def test_a_gru_whose_candidate_is_flat_is_found(steps: int, bias: float) -> None:
    torch.manual_seed(steps)
    core = nn.GRU(4, 16, batch_first=True)
    model = Reader(core)
    assert "GI109" not in found(model, steps)
    with torch.no_grad():
        core.bias_ih_l0[32:] = bias
    finding = found(model, steps)["GI109"]
    assert (finding.where, finding.severity) == (("core",), "warning")
    goodinit.initialize(model)
    assert "GI109" not in found(model, steps)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (0.01, False), (1e-4, True), (1e-6, True)])
def test_a_recurrent_layer_that_drowns_its_embedding_in_biases_has_forgotten_it(
    kind: type[nn.RNNBase], factor: float, wrong: bool
) -> None:
    class Characters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.core = nn.Embedding(30, 16), kind(16, 32, batch_first=True)
            self.head = nn.Linear(32, 30)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.core(self.table(ids) * factor)[0])

    torch.manual_seed(0)
    codes = {f.code for f in check(Characters(), torch.randint(30, (16, 20)), predict=False).findings}
    assert ("GI108" in codes) is wrong
