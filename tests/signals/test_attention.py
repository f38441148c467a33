"""Attention is seen however it is written, and its statistics are those of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.records import AttentionSignal
from goodinit.signals import probe
from goodinit.signals.probing.attention import attention_signal, from_projections, from_weights

B, H, T, E = 3, 2, 9, 4


def _naive(logits: torch.Tensor) -> tuple[float, float, float, float]:
    """Keys, entropy share, logit std and peaked share by loops over every query."""
    keys, shares, stds, peaks, queries = [], [], [], [], 0
    for row in logits.double().reshape(-1, logits.shape[-1]):
        seen = row[row > -1e8]
        queries += len(seen) > 0
        keys.append(len(seen))
        if len(seen) < 2:
            continue
        weights = torch.softmax(seen, 0)
        shares.append(-(weights * weights.clamp(min=1e-300).log()).sum().item() / math.log(len(seen)))
        stds.append(seen.std(correction=0).item())
        peaks.append(float(weights.max() > 0.99))
    return (
        sum(keys) / queries,
        sum(shares) / len(shares),
        sum(stds) / len(stds),
        sum(peaks) / len(peaks),
    )


def _same(seen: AttentionSignal | None, logits: torch.Tensor) -> bool:
    assert seen is not None
    found = (seen.keys, seen.entropy, seen.logit_std, seen.peaked)
    return found == pytest.approx(_naive(logits), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("size", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", ["none", "boolean", "added"])
def test_fused_attention_equals_a_loop_over_queries(size: float, causal: bool, mask: str) -> None:
    query, key = size * torch.randn(B, H, T, E), size * torch.randn(B, H, T, E)
    hidden = torch.rand(B, 1, T, T) < 0.3
    logits = query.double() @ key.double().transpose(-1, -2) / E**0.5
    given = None
    if mask == "boolean":
        given, logits = ~hidden, logits.masked_fill(hidden, -1e9)
    if mask == "added":
        given = torch.zeros(B, 1, T, T, dtype=torch.float64).masked_fill(hidden, -1e9)
        logits = logits + given
    if causal:
        logits = logits.masked_fill(torch.ones(T, T).triu(1).bool(), -1e9)
    seen = attention_signal("a", 0, from_projections(query, key, given, causal))
    assert _same(seen, logits)
    assert not _same(seen, 2 * logits + 0.1 * torch.randn(B, H, T, T))  # the loop above sees a difference


def test_heads_are_told_apart() -> None:
    query, key = torch.zeros(B, H, T, E), torch.randn(B, H, T, E)
    query[:, 1] = 200.0 * torch.randn(B, T, E)
    seen = attention_signal("a", 0, from_projections(query, key))
    assert seen.head_entropy[0] == pytest.approx(1.0)
    assert seen.head_entropy[1] < 0.2
    assert seen.entropy == pytest.approx(sum(seen.head_entropy) / 2)
    assert 0.4 < seen.peaked <= 0.5


def test_grouped_keys_are_repeated() -> None:
    query, key = torch.randn(B, 4, T, E), torch.randn(B, 2, T, E)
    seen = attention_signal("a", 0, from_projections(query, key))
    assert seen.heads == 4
    assert _same(seen, query @ key.repeat_interleave(2, dim=1).transpose(-1, -2) / E**0.5)


def test_many_queries_and_samples_are_represented_by_some() -> None:
    logits = torch.randn(40, H, 300, 50)
    seen = attention_signal("a", 0, from_weights(logits))
    assert seen.entropy == pytest.approx(_naive(logits[:4])[1], rel=0.02)


def test_minus_ten_thousand_hides_a_key_as_older_models_have_it() -> None:
    logits = torch.randn(B, H, T, T)
    hidden = torch.ones(T, T).triu(1).bool()
    seen = attention_signal("a", 0, from_weights(logits - 10_000.0 * hidden))
    assert _same(seen, logits.masked_fill(hidden, -1e9))


def test_where_every_query_sees_one_key_there_is_nothing_to_say() -> None:
    query = torch.randn(1, 1, 1, E)
    assert attention_signal("a", 0, from_projections(query, query)) is None


class Attention(nn.Module):
    """One attention, of which only the core differs."""

    def __init__(self, core: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.qkv, self.core = nn.Linear(H * E, 3 * H * E), core

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, H, E).permute(2, 0, 3, 1, 4)
        return self.core(q, k, v).transpose(1, 2).flatten(2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        q, k, _ = self.qkv(x).view(*x.shape[:2], 3, H, E).permute(2, 0, 3, 1, 4)
        return q @ k.transpose(-1, -2) / E**0.5


def _matmul(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / E**0.5, dim=-1) @ v


def _cast_and_dropped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    weights = functional.softmax(torch.matmul(q, k.transpose(2, 3)) / E**0.5, dim=-1, dtype=torch.float64)
    return torch.matmul(functional.dropout(weights.to(q.dtype), 0.1, True), v)


def _einsum(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    weights = (torch.einsum("bhqe,bhke->bhqk", q, k) / E**0.5).softmax(-1)
    return torch.einsum("bhqk,bhke->bhqe", weights, v)


@pytest.mark.parametrize(
    "core", [functional.scaled_dot_product_attention, _matmul, _cast_and_dropped, _einsum]
)
def test_attention_is_seen_however_it_is_written(core: Callable[..., torch.Tensor]) -> None:
    model, x = nn.Sequential(Attention(core), nn.Linear(H * E, 3)), 5 * torch.randn(B, T, H * E)
    (seen,) = probe(model, x).attention
    assert (seen.name, seen.call, seen.heads) == ("0", 0, H)
    assert _same(seen, model[0].logits(x))


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_torchs_own_multi_head_attention_is_seen(need_weights: bool, masked: bool) -> None:
    model, x = nn.MultiheadAttention(H * E, H, batch_first=True), 3 * torch.randn(B, T, H * E)
    mask = torch.ones(T, T).triu(1).bool() if masked else None
    call = {"query": x, "key": x, "value": x, "need_weights": need_weights, "attn_mask": mask}
    (seen,) = probe(model, call).attention
    q, k, _ = functional.linear(x, model.in_proj_weight, model.in_proj_bias).chunk(3, dim=-1)
    q, k = (part.view(B, T, H, E).transpose(1, 2) for part in (q, k))
    logits = q @ k.transpose(-1, -2) / E**0.5
    assert _same(seen, logits if mask is None else logits.masked_fill(mask, -1e9))
    assert (seen.heads, seen.name) == (H, "MultiheadAttention")


def test_every_layer_of_a_transformer_has_its_attention() -> None:
    layer = nn.TransformerEncoderLayer(H * E, H, 16, batch_first=True)
    seen = probe(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), torch.randn(B, T, H * E))
    assert [each.name for each in seen.attention] == [f"layers.{place}.self_attn" for place in range(3)]


def test_a_leaf_without_parameters_may_hold_the_attention() -> None:
    class Core(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return _matmul(q, k, v)

    seen = probe(nn.Sequential(Attention(Core())), torch.randn(B, T, H * E))
    assert [each.name for each in seen.attention] == ["0.core"]


def test_a_softmax_that_multiplies_nothing_is_no_attention() -> None:
    class Gate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x, dim=-1) * 2

    assert probe(nn.Sequential(nn.Linear(4, 4), Gate()), torch.randn(2, 5, 4)).attention == ()
