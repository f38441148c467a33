"""Weights times signals, and means with the weights of an attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from goodinit.signals.expectations.expected import (
    Attention,
    Expected,
    Found,
    Shadow,
    contracted,
    half_width,
    settled,
)
from goodinit.signals.expectations.returning import known_factor

__all__ = ["CONTRACTIONS", "contraction"]

# Operation -> places of the signal and of the weight (either may be the other), and of the addend.
CONTRACTIONS = {
    "mm": (0, 1, None),
    "bmm": (0, 1, None),
    "addmm": (1, 2, 0),
    "baddbmm": (1, 2, 0),
    "linear": (0, 1, 2),
    "convolution": (0, 1, 2),
}


def contraction(name: str, args: Sequence[Any], shadow: Shadow, output: Tensor, kwargs: Any) -> Found:
    """Weights times a signal; which of the two operands is the weight follows from what is known of them."""
    left, right, addend = CONTRACTIONS[name]
    bias = args[addend] if addend is not None and len(args) > addend else None
    if any(value != 1 for value in kwargs.values()) or (name in ("addmm", "baddbmm") and len(args) > 3):
        return None
    first, second = shadow(args[left]), shadow(args[right])
    if isinstance(first, Attention) and isinstance(second, Expected) and name == "bmm":
        return _mixed(first, second)
    one, other = isinstance(first, Expected), isinstance(second, Expected)
    if one == other:
        return None
    x = first if one else second
    weight = args[right if one else left]
    assert isinstance(x, Expected)
    if name == "convolution":
        if not one:
            return None
        shape = (1, -1, *(1,) * (output.ndim - 2))
        bias = None if bias is None else bias.reshape(shape)
        rest = args[3:]
        return contracted(
            x,
            weight,
            lambda q, w: torch.ops.aten.convolution(q, w, None, *rest),
            bias,
            1 - output.ndim,
            output.shape[1],
            0 if not args[6] and args[8] == 1 else None,
        )
    if name == "linear":
        return contracted(x, weight, torch.nn.functional.linear, bias, -1, output.shape[-1], 0)
    if one:
        return contracted(x, weight, torch.matmul, bias, -1, output.shape[-1], -1)
    return contracted(x, weight, lambda q, w: torch.matmul(w, q), bias, -2, output.shape[-2], -2)


def _mixed(attention: Attention, value: Expected) -> Expected:
    """Means over positions with known weights: between positions that are all alike and all different.

    E[(Σ a_j v_j)²] lies between Σ a_j² E[v_j²] and Σ a_j E[v_j²].
    """
    value = settled(value)
    a = attention.weights.cpu().double()
    high = a @ value.q
    apart, alike = (a**2 @ value.q).detach(), high.detach()
    p = torch.minimum(a @ value.p, alike)
    low = torch.maximum(apart, p)
    middle = (low * alike).sqrt()
    gap = half_width(low, alike)
    # Gradients of different tokens may be independent however alike the tokens are.
    back = (apart / alike.clamp_min(1e-300)).sqrt()
    q = known_factor(high, middle, back, gap=half_width(apart, alike))
    return replace(
        value,
        q=q,
        m=a @ value.m,
        p=p,
        gap=value.gap + gap,
        normal=value.normal,
        held=False,
        token=object(),
    )
