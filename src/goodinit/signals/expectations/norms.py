"""Layer, group, RMS and batch norms, and softmax: what sets a scale whatever goes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.expected import (
    Attention,
    Expected,
    Found,
    Shadow,
    scaled,
    settled,
    shared_mean,
    shifted,
    spread,
)
from goodinit.signals.expectations.returning import known_factor

__all__ = ["NORMS"]


def _normalised(x: Found, like: Tensor, dims: Sequence[int], eps: float, centred: str) -> Expected:
    """Divide by the root of the second moment over `dims`; of an unknown tensor that is known too.

    `centred` says what is subtracted before: ``"mean"`` (layer norm), ``"batch"`` (what all samples
    share) or nothing.
    """
    if not isinstance(x, Expected):
        ones = torch.ones(like.shape, dtype=torch.float64)
        axis = 1 - like.ndim if centred == "batch" or (len(dims) > 1 and like.ndim > 2) else -1
        zeros = torch.zeros_like(ones)
        return Expected(ones.clone().requires_grad_(), zeros, zeros, axis, float(like.shape[axis]), held=True)
    x = settled(x)
    mu = x.m.mean(dim=tuple(dims), keepdim=True)
    left_out = torch.zeros_like(x.p)
    if centred == "mean":
        left_out = 2 * x.m * mu - mu**2
        mu = mu.expand_as(x.m)
    elif centred == "batch":
        left_out = x.p
    rest = (x.q.detach() - left_out).clamp_min(0.0)
    size = rest.mean(dim=tuple(dims), keepdim=True) + eps
    if centred == "mean":
        common = shared_mean(mu, x.axis)
        kept = (x.p - 2 * shared_mean(x.m, x.axis) * common + common**2).clamp_min(0.0) / size
    else:
        kept = (x.p - left_out) / size
    return replace(
        x,
        q=known_factor(x.q, rest / size, (1 / size).expand_as(rest), spread(x) + 2 / x.units, x.gap),
        m=(x.m - mu) / size.sqrt() if centred else x.m / size.sqrt(),
        p=kept,
        s=0.0,
        gap=0.0,
        held=True,
        token=object(),
    )


def _affine(x: Expected, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Expected:
    if weight is not None:
        x = scaled(x, weight.reshape(tuple(shape)))
    return x if bias is None else shifted(x, bias.reshape(tuple(shape)))


def _layer_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, shape, weight, bias, eps = args[:5]
    dims = tuple(range(-len(shape), 0))
    return _affine(_normalised(shadow(like), like, dims, eps, "mean"), weight, bias, shape)


def _rms_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, shape, weight, eps = args[:4]
    dims = tuple(range(-len(shape), 0))
    eps = torch.finfo(like.dtype).eps if eps is None else eps
    return _affine(_normalised(shadow(like), like, dims, eps, ""), weight, None, shape)


def _group_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, weight, bias, samples, channels, _, groups, eps = args[:8]
    x = shadow(like)
    wide = (samples, groups, -1)
    if isinstance(x, Expected):
        x = settled(x).moved(lambda t: t.reshape(wide), object())
    found = _normalised(x, like.reshape(wide), (2,), eps, "mean")
    found = found.moved(lambda t: t.reshape(like.shape), object(), axis=1 - like.ndim)
    found = replace(found, units=float(channels))
    return _affine(found, weight, bias, (1, channels, *(1,) * (like.ndim - 2)))


def _batch_norm(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    like, weight, bias, mean, variance, training, _, eps = args[:8]
    shape = (1, like.shape[1], *(1,) * (like.ndim - 2))
    x = shadow(like)
    if training or mean is None:
        dims = tuple(d for d in range(like.ndim) if d != 1)
        return _affine(_normalised(x, like, dims, eps, "batch"), weight, bias, shape)
    if not isinstance(x, Expected):
        return None
    x = shifted(x, -mean.reshape(shape))
    return _affine(scaled(x, (variance.double() + eps).rsqrt().reshape(shape)), weight, bias, shape)


def _batch_norm_legit(args: Sequence[Any], shadow: Shadow, output: Any) -> Found:
    if len(args) == 6:  # without running statistics
        like, weight, bias, training, momentum, eps = args
        return _batch_norm((like, weight, bias, None, None, training, momentum, eps), shadow, output)
    return _batch_norm(args, shadow, output)


def _softmax(args: Sequence[Any], shadow: Shadow, output: Tensor) -> Found:
    return Attention(output)


# What comes out is known even where nothing is known of what went in.
NORMS: dict[str, Callable[[Sequence[Any], Shadow, Any], Found]] = {
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm_legit,
    "_native_batch_norm_legit_no_training": lambda args, shadow, output: _batch_norm(
        (*args[:5], False, *args[5:]), shadow, output
    ),
    "_batch_norm_with_update": lambda args, shadow, output: _batch_norm(
        (*args[:5], True, *args[5:]), shadow, output
    ),
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
}
