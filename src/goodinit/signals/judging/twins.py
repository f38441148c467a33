"""Units that compute the same and learn the same, in layers of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import redrawn
from goodinit.signals.judging.information import share
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_twins", "twins"]

# Equal units agree to the last bit, or to rounding where a library sums some in another order. Mirrored units
# agree forward by design, and two of 64 in the gradient by chance in one layer of half a million.
_NEAR = 2e-7
# Where all that differs between samples is float32's rounding, so is all that could tell units apart: the
# square of 1e-7, with room. Behind a large common bias different units agree there.
_GONE = 1e-10
# In half precision a mean of few values can agree by chance.
_ENOUGH = 16


def judge_twins(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find layers in which units have equal outputs and equal gradients, so that nothing will part them.

    Weights show equal units where their layout is known; this sees raw parameters in layers
    that someone wrote, too.

    Args:
        probe: the measurement.
        found: what the weights showed, whose layers are not named twice.
    """
    named = {name for finding in found if finding.code == "GI110" for name in finding.where}
    told = named | {name.rpartition(".")[0] for name in named}
    mixing = _mixing(probe)
    some = [
        (layer, count)
        for layer in points(probe.layers)
        if layer.name in mixing - told
        and share(layer) > _GONE
        and _precise(layer)
        and (count := twins(layer)) > 1
    ]
    if not some:
        return ()
    worst, count = max(some, key=lambda each: each[1] / len(each[0].unit_moments))
    seen = len(worst.unit_moments)
    return (
        Finding(
            code="GI110",
            title="Units that start equal",
            severity="error" if count == seen else "warning",
            where=tuple(layer.name for layer, _ in some),
            measure=f"units of '{worst.name}' with the outputs and the gradient of another, of {seen}",
            effect=float(count),
            interval=None,
            expected=(0.0, 0.0),
            cause=f"{count} of {seen} units of '{worst.name}' put out the same as another unit and receive "
            "the same gradient, so they stay equal and count as one.",
            cure=redrawn(probe, [layer.name for layer, _ in some]),
        ),
    )


def twins(layer: LayerSignal) -> int:
    """Return how many measured units equal another one in the second moments of output and gradient."""
    pairs = list(zip(layer.unit_moments, layer.unit_gradients, strict=False))
    order = sorted(
        (at for at, (out, back) in enumerate(pairs) if out > 0 and back > 0), key=pairs.__getitem__
    )
    equal: set[int] = set()
    for left, right in pairwise(order):
        (out, back), (other, again) = pairs[left], pairs[right]
        if other - out <= _NEAR * other and abs(again - back) <= _NEAR * max(again, back):
            equal |= {left, right}
    return len(equal)


def _mixing(probe: Probe) -> set[str]:
    """Return the names of all matrices, and of the layers that own them.

    A gain for each channel makes no units: what is equal behind it was so before. Which dimension its
    units are in is a guess, too; norms and pooling make columns of a picture equal in outputs and gradients.
    """
    names = [p.name for p in probe.parameters if len(p.shape) == 2 or sum(n > 1 for n in p.shape) >= 2]
    return {*names, *(_owner(name) or probe.model for name in names)}


def _owner(name: str) -> str:
    owner, parametrized, _ = f".{name}".partition(".parametrizations.")
    return owner[1:] if parametrized else name.rpartition(".")[0]


def _precise(layer: LayerSignal) -> bool:
    return layer.dtype in ("float32", "float64") or layer.output.count >= _ENOUGH * layer.units
