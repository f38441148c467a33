"""Attention: its projections told apart, whoever wrote it."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from goodinit.graph import Graph, WeightUse, trace


def use(graph: Graph, name: str) -> WeightUse:
    (found,) = graph[name]
    return found


class Attention(nn.Module):
    """Attention written by hand: packed or not, by the fused operation or not, rotary or not."""

    def __init__(self, packed: bool, fused: bool, rotary: bool) -> None:
        super().__init__()
        self.packed, self.fused, self.rotary = packed, fused, rotary
        if packed:
            self.qkv = nn.Linear(8, 24)
        else:
            self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 8)

    def turned(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[-2])[:, None] * torch.ones(x.shape[-1])
        first, second = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).split(8, dim=-1) if self.packed else (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.view(2, 5, 2, 4).transpose(1, 2) for part in parts)
        if self.rotary:
            q, k = self.turned(q), self.turned(k)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
            logits = (q @ k.transpose(-1, -2) / math.sqrt(4)).masked_fill(mask, -math.inf)
            y = functional.dropout(logits.softmax(-1), 0.1) @ v
        return x + self.out(y.transpose(1, 2).reshape(2, 5, 8))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_the_projections_of_attention_are_told_apart(packed: bool, fused: bool, rotary: bool) -> None:
    graph = trace(Attention(packed, fused, rotary), torch.rand(2, 5, 8))
    found = graph["qkv.weight"] if packed else [use(graph, f"{part}.weight") for part in "qkv"]
    assert [u.attention for u in found] == ["q", "k", "v"]
    assert [u.fan_out for u in found] == [8.0, 8.0, 8.0]
    assert [u.sink.kind for u in found] == ["attention_logits", "attention_logits", "attention_mix"]
    out = use(graph, "out.weight")
    assert (out.attention, out.source.kind, out.sink.kind) == ("output", "attention", "residual")
    if packed:
        assert [(u.block or ())[0].start for u in found] == [0, 8, 16]
        assert [(u.block or ())[0].start for u in graph["qkv.bias"]] == [0, 8, 16]


@pytest.mark.parametrize("separate", [False, True])
def test_nn_multihead_attention_is_read_from_its_operations(separate: bool) -> None:
    model = nn.MultiheadAttention(8, 2, kdim=6 if separate else None, vdim=4 if separate else None)
    inputs = (
        torch.rand(5, 2, 8),
        torch.rand(7, 2, 6 if separate else 8),
        torch.rand(7, 2, 4 if separate else 8),
    )
    graph = trace(model, inputs)
    if separate:
        found = [use(graph, f"{part}_proj_weight") for part in "qkv"]
    else:
        found = list(graph["in_proj_weight"])
    assert [u.attention for u in found] == ["q", "k", "v"]
    assert [u.fan_in for u in found] == ([8.0, 6.0, 4.0] if separate else [8.0] * 3)
    assert {u.fan_out for u in found} == {8.0}
    assert use(graph, "out_proj.weight").attention == "output"


def test_nn_transformer_as_the_root() -> None:
    model = nn.Transformer(8, 2, 2, 2, 16, batch_first=True)
    graph = trace(model, (torch.rand(2, 5, 8), torch.rand(2, 4, 8)))
    assert graph.unreached == ()
    assert graph.streams == (4, 6)
    cross = graph["decoder.layers.1.multihead_attn.in_proj_weight"]
    assert [u.attention for u in cross] == ["q", "k", "v"]
    assert [u.norm_before for u in cross] == ["decoder.layers.1.norm1", "encoder.norm", "encoder.norm"]


def test_a_graph_prints_and_goes_into_json() -> None:
    graph = trace(Attention(True, True, True), torch.rand(2, 5, 8))
    text = str(graph)
    for part in (
        "qkv.weight[0:8, 0:8]",
        "attention_logits",
        "branch 1/1 of stream 0",
        "traced on fake tensors",
    ):
        assert part in text
    plain = json.loads(json.dumps(graph.to_json()))
    assert plain["goodinit"] == "graph"
    assert plain["uses"]["out.weight"][0]["fan_in"] == 8.0
    assert plain["ran"] == "fake"
