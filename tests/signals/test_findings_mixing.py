"""Faults planted in attention and residual streams."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from goodinit.records import Finding
from goodinit.signals import check, probe
from goodinit.signals.judging.mixing import token_difference


class Attention(nn.Module):
    """Layers of self-attention, with skips and norms or without."""

    def __init__(self, depth: int, width: int, skips: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.skips = skips

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = norm(x)
            mixed = layer(y, y, y, need_weights=False)[0]
            x = x + mixed if self.skips else mixed
        return x


class Stream(nn.Module):
    """x + f(x), over and over."""

    def __init__(self, depth: int, width: int, branch: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for layer in self.branches:
            nn.init.normal_(layer.weight, 0.0, branch / width**0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.branches:
            x = x + torch.relu(layer(x))
        return x


def found(model: nn.Module, batch: torch.Tensor) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(model, batch).findings}


class Graph(nn.Module):
    """Attention of nodes over their neighbours, dense."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.project, self.head = nn.Linear(8, 32), nn.Linear(32, 4)
        self.out, self.back = nn.Linear(32, 1), nn.Linear(32, 1)
        self.factor = factor

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        h = self.project(x)
        logits = nn.functional.leaky_relu(self.out(h) + self.back(h).T, 0.2) * self.factor
        weights = logits.masked_fill(~edges, -1e9).softmax(dim=1)
        return self.head(torch.relu(weights @ h))


@pytest.mark.parametrize("nodes", [40, 150])
def test_graph_attention_that_has_decided_is_found(nodes: int) -> None:
    torch.manual_seed(nodes)
    edges = (torch.rand(nodes, nodes) < 0.2) | torch.eye(nodes, dtype=torch.bool)
    batch = (torch.randn(nodes, 8), edges)
    for factor, wrong in ((1.0, False), (30.0, True), (1000.0, True)):
        codes = {f.code for f in check(Graph(factor), batch, predict=False).findings}
        assert ("GI113" in codes) is wrong


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("width", [16, 32])
def test_attention_without_skips_collapses_in_rank_and_with_them_does_not(depth: int, width: int) -> None:
    x = torch.randn(4, 12, width)
    sick = found(Attention(depth, width, skips=False), x)["GI112"]
    assert sick.effect < 1e-3
    assert sick.where[-1] == f"layers.{depth - 1}"
    assert "GI112" not in found(Attention(depth, width, skips=True), x)


@pytest.mark.parametrize("queries", [4, 20])
def test_learned_queries_that_start_equal_are_not_blamed_on_attention(queries: int) -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 32).expand(queries, -1).clone())
            layer = nn.TransformerDecoderLayer(32, 4, 64, 0.0, batch_first=True)
            self.memory, self.decoder = nn.Linear(8, 32), nn.TransformerDecoder(layer, 3)
            self.head = nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.decoder(self.queries.expand(len(x), -1, -1), self.memory(x)))

    torch.manual_seed(0)
    assert "GI112" not in found(Decoder(), torch.randn(8, 12, 8))


def test_tokens_that_are_alike_already_are_not_blamed_on_attention() -> None:
    x = torch.randn(4, 1, 16).expand(4, 12, 16).clone()
    assert "GI112" not in found(Attention(4, 16, skips=True), x)


def test_tokens_of_one_number_have_no_direction_that_could_collapse() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 12, 16)
    assert "GI112" not in found(nn.Sequential(Attention(4, 16, skips=True), nn.Linear(16, 1)), x)
    assert "GI112" in found(nn.Sequential(Attention(8, 16, skips=False), nn.Linear(16, 2)), x)


class Encoder(nn.Module):
    """Post-norm blocks with queries and keys of their own, as in BERT; all weights of one std."""

    def __init__(self, depth: int, width: int, std: float) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, width) for _ in range(6 * depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.out = nn.Linear(width, 100)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, std)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, (first, second) in enumerate(zip(self.norms[::2], self.norms[1::2], strict=True)):
            query, key, value, mix, up, down = self.parts[6 * i : 6 * i + 6]
            heads = (part(x).unflatten(-1, (4, -1)).transpose(1, 2) for part in (query, key, value))
            mixed = nn.functional.scaled_dot_product_attention(*heads)
            x = first(x + mix(mixed.transpose(1, 2).flatten(2)))
            x = second(x + down(torch.nn.functional.gelu(up(x))))
        return self.out(self.head(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("depth", "width"), [(2, 32), (3, 64), (4, 128)])
def test_a_gradient_that_passes_by_queries_and_keys_has_not_vanished(depth: int, width: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 24, width)
    assert "GI104" not in found(Encoder(depth, width, 0.02), x)


def test_a_gradient_that_fades_in_every_block_is_still_found() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 24, 64)
    model = Encoder(4, 64, 0.02)
    for norm in model.norms:
        nn.init.constant_(norm.weight, 1e-3)
    assert "GI104" in found(model, x)


def test_the_difference_of_tokens_follows_from_their_common_cosine() -> None:
    shared, own = torch.randn(1, 1, 4096), torch.randn(2, 10, 4096)
    x = 3.0 * shared + own  # the cosine between two tokens is 9/10
    (layer, *_) = probe(nn.LayerNorm(4096, elementwise_affine=False), x).layers
    difference = token_difference(layer)
    assert difference == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("factor", [30.0, 300.0])
@pytest.mark.parametrize("width", [16, 64])
def test_logits_of_attention_that_are_too_large_are_found(factor: float, width: int) -> None:
    model, x = Attention(2, width, skips=True), torch.randn(4, 12, width)
    assert "GI113" not in found(model, x)
    with torch.no_grad():
        for layer in model.layers:
            layer.in_proj_weight[: 2 * width] *= math.sqrt(factor)
    finding = found(model, x)["GI113"]
    assert finding.where == ("layers.0", "layers.1")
    assert finding.effect < 0.3


def test_attention_that_forgot_to_scale_its_logits_is_found() -> None:
    class Unscaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
            for layer in (self.q, self.k, self.v):
                nn.init.normal_(layer.weight, 0.0, 64**-0.5)
            self.scale = scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.q(x) @ self.k(x).transpose(1, 2) * self.scale).softmax(-1) @ self.v(x)

    x = torch.randn(4, 16, 64)
    assert "GI113" in found(Unscaled(1.0), x)
    assert "GI113" not in found(Unscaled(64**-0.5), x)


@pytest.mark.parametrize("depth", [8, 24])
def test_a_stream_that_multiplies_with_depth_is_found_and_one_that_adds_is_not(depth: int) -> None:
    x = torch.randn(16, 64)
    finding = found(Stream(depth, 64, 2.0), x)["GI114"]
    low, high = finding.interval or (0.0, 0.0)
    assert low < finding.effect < high
    # Each branch puts out 2 × what comes in, half of which ReLU keeps, and correlated with it.
    assert finding.effect > 2.0 ** (depth - 1) / 2
    assert "GI114" not in found(Stream(depth, 64, depth**-0.5), x)
