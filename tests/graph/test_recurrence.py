"""Recurrent weights: gate by gate from torch's modules, block by block from code written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from goodinit.graph import trace

GATES = {
    "LSTM": ["input", "forget", "cell", "output"],
    "GRU": ["reset", "update", "new"],
    "RNN": [""],
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("cell", [False, True])
def test_gates_of_torchs_modules(kind: str, cell: bool) -> None:
    model = getattr(nn, f"{kind}Cell")(3, 5) if cell else getattr(nn, kind)(3, 5)
    graph = trace(model, torch.rand(2, 3) if cell else torch.rand(4, 2, 3))
    assert graph.unreached == ()
    suffix = "" if cell else "_l0"
    for part, name, fan_in in (("input", "weight_ih", 3.0), ("hidden", "weight_hh", 5.0)):
        uses = graph[name + suffix]
        assert [u.recurrence.gate for u in uses if u.recurrence] == GATES[kind]
        assert {u.recurrence.part for u in uses if u.recurrence} == {part}
        assert {(u.fan_in, u.fan_out) for u in uses} == {(fan_in, 5.0)}
        if len(uses) > 1:
            assert [(u.block or ())[0].start for u in uses] == [5 * i for i in range(len(uses))]
    assert [u.of for u in graph["bias_ih" + suffix]] == [("weight_ih" + suffix,)] * len(GATES[kind])


def test_layers_directions_and_projections() -> None:
    model = nn.Sequential(nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2))
    graph = trace(model, torch.rand(4, 1, 3))
    assert graph.unreached == ()
    first, second = graph["0.weight_ih_l0_reverse"][0], graph["0.weight_ih_l1"][0]
    assert first.recurrence is not None
    assert (first.fan_in, first.recurrence.reverse, first.source.kind) == (3.0, True, "data")
    # Both directions of the layer below, two projected features each.
    assert (second.fan_in, second.source.kind) == (4.0, "recurrence")
    projection = graph["0.weight_hr_l0"][0]
    assert (projection.fan_in, projection.fan_out) == (5.0, 2.0)


def test_what_reads_a_recurrent_layer_knows_it() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = (
                nn.Embedding(9, 3),
                nn.GRU(3, 5, batch_first=True),
                nn.Linear(5, 2),
            )

        def forward(self, ids: Tensor) -> Tensor:
            hidden, _ = self.rnn(self.embed(ids))
            out: Tensor = self.head(hidden[:, -1])
            return out

    graph = trace(Reader(), torch.zeros(2, 4, dtype=torch.long))
    assert graph["rnn.weight_ih_l0"][0].source.kind == "embedding"
    assert graph["head.weight"][0].source.kind == "recurrence"
    assert graph["embed.weight"][0].sink.kind == "weight"


def test_a_parametrized_recurrent_weight_is_reached() -> None:
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.RNN(3, 4), "weight_hh_l0"))
    graph = trace(model, torch.rand(5, 2, 3))
    assert graph.unreached == ()
    assert graph["0.parametrizations.weight_hh_l0.original"][0].fan_in == 4.0


class HandLSTM(nn.Module):
    """An LSTM written out: one packed weight for the input, one for the state."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(3, 16), nn.Linear(4, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            i, f, g, o = (self.x(x[:, t]) + self.h(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


def test_an_lstm_written_by_hand_falls_into_its_gates() -> None:
    graph = trace(HandLSTM(), torch.rand(2, 6, 3))
    for name, fan_in, calls in (("x.weight", 3.0, 6), ("h.weight", 4.0, 5)):
        uses = graph[name]
        assert [(u.block or ())[0].start for u in uses] == [0, 4, 8, 12]
        assert {(u.fan_in, u.fan_out, u.calls) for u in uses} == {(fan_in, 4.0, calls)}
        names = [u.sink.activation.name for u in uses if u.sink.activation is not None]
        assert names == ["sigmoid", "sigmoid", "tanh", "sigmoid"]
        assert [u.gate for u in uses] == ["gate", "gate", "value", "gate"]
    assert graph.streams == ()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_recurrence_written_by_hand_is_no_residual_stream(ahead: bool) -> None:
    class HandRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x, self.h = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            projected = self.x(x)
            h = x.new_zeros(len(x), 4)
            for t in range(x.shape[1]):
                h = torch.tanh((projected[:, t] if ahead else self.x(x[:, t])) + self.h(h))
            return h

    graph = trace(HandRNN(), torch.rand(2, 6, 3))
    assert graph.streams == ()
    assert sum(u.calls for u in graph["h.weight"]) == 5
    source = graph["h.weight"][0].source
    assert source.activation is not None
    assert source.activation.name == "tanh"


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("cell", [False, True])
def test_torchs_modules_on_meta_are_traced_like_real_ones(kind: str, cell: bool) -> None:
    x = torch.rand(2, 3) if cell else torch.rand(4, 2, 3)

    def built() -> nn.Module:
        return getattr(nn, f"{kind}Cell")(3, 5) if cell else getattr(nn, kind)(3, 5, 2, bidirectional=True)

    real = trace(built(), x)
    with torch.device("meta"):
        model = built()
    for example in (x, x.to("meta"), None):
        found = trace(model, example)
        assert [use.name for use in found] == [use.name for use in real]
        assert [use.recurrence for use in found] == [use.recurrence for use in real]
    assert all(parameter.is_meta for parameter in model.parameters())
    assert all(weight.is_meta for weight in getattr(model, "_flat_weights", []))
