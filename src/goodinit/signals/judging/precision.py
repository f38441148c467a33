"""Gradients and signals too small for the number format that holds them."""

from __future__ import annotations

from goodinit.records import Finding, Moments
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_precision"]

# Smallest numbers: of float16 (IEEE 754 binary16) the smallest subnormal one, which hardware keeps
# (Transformers train alike until the median layer's gradient is eight times this); bfloat16 has float32's
# exponent, and what is subnormal there is often flushed.
_TINY = {"float16": 2.0**-24, "bfloat16": 2.0**-126}
# Share of a gradient lost, and how close to the edge its root mean square must be: zeros from ReLU or masks
# alone say nothing, and of a normal with std t·tiny a share of 0.8/t lies below tiny.
_LOST, _NEAR = 0.1, 16.0


def judge_precision(probe: Probe) -> tuple[Finding, ...]:
    """Find gradients of half precision of which a good part is subnormal or has become zero."""
    some: list[tuple[str, float, str]] = []
    near = False
    for p in probe.parameters:
        if p.trainable and p.gradient is not None and p.underflow is not None:
            near |= _close(p.gradient, p.dtype)
            if p.underflow > _LOST and (_close(p.gradient, p.dtype) or _none_left(p.gradient, p.dtype)):
                some.append((p.name, p.underflow, p.dtype))
    for layer in probe.layers:
        if layer.gradient is not None and layer.underflow is not None:
            near |= _close(layer.gradient, layer.dtype)
            if layer.underflow > _LOST and _close(layer.gradient, layer.dtype):
                some.append((layer.name, layer.underflow, layer.dtype))
    if not some or not near:
        return ()
    name, share, dtype = max(some, key=lambda each: each[1])
    return (
        Finding(
            code="GI123",
            title="Precision underflow",
            severity="warning",
            where=tuple(dict.fromkeys(each[0] for each in some)),
            measure=f"share of the gradient of '{name}' that is zero or subnormal in {dtype}",
            effect=share,
            interval=None,
            expected=(0.0, _LOST),
            cause=f"Gradients at '{name}' are as small as {dtype}'s smallest numbers, {_TINY[dtype]:.1e}: "
            f"{share:.0%} of them are zero or have few digits left.",
            cure="torch.amp.GradScaler (scale the loss before backward), or bfloat16 instead of float16"
            if dtype == "float16"
            else "keep this part in float32; a gradient this small has vanished",
        ),
    )


def _close(moments: Moments, dtype: str) -> bool:
    return dtype in _TINY and 0 < moments.second_moment**0.5 < _NEAR * _TINY[dtype]


def _none_left(moments: Moments, dtype: str) -> bool:
    return dtype in _TINY and moments.second_moment == 0
