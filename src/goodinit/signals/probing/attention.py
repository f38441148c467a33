"""How one attention distributes its weight: entropy, spread of logits, share of peaked queries."""

from __future__ import annotations

import torch

from goodinit.records import AttentionSignal
from goodinit.signals.probing.sampling import spaced
from goodinit.signals.probing.sharded import local

__all__ = ["attention_signal", "from_projections", "from_weights"]

# Queries and samples looked at: their statistics are means, which more would not change.
_QUERIES, _SAMPLES = 16, 4
# A query is peaked when one key has this share of its weight.
_PEAK = 0.99
# Logits of hidden keys are minus infinity, the dtype's lowest number, or −10,000 in older models.
_HIDDEN = -9000.0


def from_projections(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Return the totals of one fused attention, from at most 16 queries of 4 samples.

    softmax(q·kᵀ · scale + mask) over keys, scale 1/√E unless given.

    Args:
        query: (..., L, E), heads before L.
        key: (..., S, E); fewer heads than the query's are repeated.
        mask: broadcastable to (..., L, S): boolean, True where a key is seen, or added to the logits.
        causal: query i sees keys 0 to i.
        scale: of the logits.

    Returns:
        Totals for `attention_signal`, of shape (heads, 6).

    Source: Vaswani et al., Attention is all you need, 2017, equation 1.
    """
    length, width = query.shape[-2], key.shape[-2]
    few = spaced(length, _QUERIES)
    query, key = _four(query), _four(key)
    some = spaced(query.shape[0], _SAMPLES)
    query, key = _exact(query[some][..., few, :]), _exact(key[some])
    if key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        places = torch.arange(length, device=logits.device)[few]
        later = torch.arange(width, device=logits.device) > places[:, None]
        logits = logits.masked_fill(later, -torch.inf)
    if mask is not None:
        mask = _four(mask)
        mask = mask[some] if mask.shape[0] > 1 else mask
        mask = mask[..., few, :] if mask.shape[-2] > 1 else mask
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return _totals(logits)


def from_weights(logits: torch.Tensor, heads: int | None = None) -> torch.Tensor:
    """Return the totals of one hand-written attention from the logits that its softmax took.

    Args:
        logits: (..., L, S), heads before L.
        heads: where samples and heads share the first dimension of (B·heads, L, S).
    """
    if heads is not None and logits.ndim == 3 and logits.shape[0] % heads == 0:
        logits = logits.view(-1, heads, *logits.shape[1:])
    logits = _four(logits)
    few = spaced(logits.shape[-2], _QUERIES)
    return _totals(logits[spaced(logits.shape[0], _SAMPLES)][..., few, :])


def _four(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view of shape (samples, heads, rows, columns)."""
    while tensor.ndim < 4:
        tensor = tensor.unsqueeze(0)
    return local(tensor).detach().flatten(0, -4)


def _totals(logits: torch.Tensor) -> torch.Tensor:
    """Add up, for each head: queries, keys seen, entropy shares, how many of these, logit stds, peaked."""
    logits = _exact(logits)
    top = logits.amax(dim=-1, keepdim=True)
    # A logit below the threshold is hidden unless the whole row is.
    seen = (logits > _HIDDEN) & (top > _HIDDEN)
    keys = seen.sum(dim=-1, dtype=logits.dtype)
    weights = torch.where(seen, (logits - top).exp(), 0.0)
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)
    entropy = -torch.special.xlogy(weights, weights).sum(dim=-1)
    several, any_key = keys >= 2, keys >= 1
    share = torch.where(several, entropy / keys.clamp(min=2).log(), 0.0)
    kept = torch.where(seen, logits, 0.0)
    mean = kept.sum(dim=-1, keepdim=True) / keys.clamp(min=1)[..., None]
    spread = torch.where(seen, (logits - mean).square(), 0.0).sum(dim=-1)
    std = torch.where(several, (spread / keys.clamp(min=1)).sqrt(), 0.0)
    peaked = several & (weights.amax(dim=-1) > _PEAK)
    parts = (any_key, keys, share, several, std, peaked)
    return torch.stack([part.sum(dim=(0, 2), dtype=torch.float64) for part in parts], dim=-1)


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    """Return at least float32, and float64 on devices whose products may be rounded more."""
    quick = tensor.device.type == "cpu" and tensor.dtype != torch.float64
    return tensor.float() if quick else tensor.double()


def attention_signal(name: str, call: int, totals: torch.Tensor) -> AttentionSignal | None:
    """Turn totals into the record; None where no query sees two keys.

    >>> q, k = torch.zeros(1, 2, 5, 4), torch.randn(1, 2, 5, 4)
    >>> seen = attention_signal("attn", 0, from_projections(q, k))
    >>> seen.heads, seen.keys, seen.entropy, seen.logit_std
    (2, 5.0, 1.0, 0.0)
    """
    queries, keys, entropy, several, std, peaked = totals.sum(dim=0).tolist()
    if not several:
        return None
    heads = totals[:, 2] / totals[:, 3].clamp(min=1)
    return AttentionSignal(
        name=name,
        call=call,
        heads=totals.shape[0],
        keys=keys / queries,
        entropy=entropy / several,
        head_entropy=tuple(heads.tolist()),
        logit_std=std / several,
        peaked=peaked / several,
    )
