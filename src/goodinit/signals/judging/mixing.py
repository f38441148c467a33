"""What attention and residual sums do to tokens: make them all alike, freeze on one key, pile up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import AttentionSignal, Finding, LayerSignal
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.judging.depth import allowed, effect, factor, interval, severity
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_mixing", "token_difference"]

# 1 − cosine between the tokens of one sample. Encoders of torch's defaults keep 7e-3 over 16 post-norm blocks
# and 0.3 pre-norm; attention without skips falls below 1e-6 in two layers (Dong et al. 2021).
_ALIKE, _GONE = 1e-3, 1e-6
# Below this before any mixing, the tokens of the batch are alike themselves.
_DIFFERED = 0.05
# Entropy as a share of the largest, and share of queries with 99 % on one key. Logits of std 1, as scaled dot
# products give, leave 0.85 and 0; of std 4.5 they leave 0.3 and 0.1; of std 8 (no scaling by 1/√64) 0.15
# and 0.3.
_NARROW, _PEAKED = 0.3, 0.25
_FEW_KEYS = 4.0
# A residual stream of L equal branches grows to L times what one adds, and to L² where they are copies.
_POINTS, _LOOSE = 6, 2.0


def judge_mixing(probe: Probe) -> tuple[Finding, ...]:
    """Find tokens that became all alike, attention on single keys, and residual streams that multiply."""
    return (*_rank(probe), *_attention(probe.attention), *_stream(probe.layers))


def token_difference(layer: LayerSignal) -> float | None:
    """Return 1 − the mean cosine between rows (tokens), from their participation ratio; None without one.

    n rows with a common cosine c have the ratio n/(1 + (n − 1)c²). Rows of one number have no direction.
    """
    if layer.rank is None or layer.rows is None or layer.rows < 2 or layer.shape[-1] < 2:
        return None
    return 1.0 - math.sqrt(max((layer.rows / layer.rank - 1.0) / (layer.rows - 1.0), 0.0))


def _rank(probe: Probe) -> tuple[Finding, ...]:
    if not probe.attention:
        return ()
    line = [
        (layer, difference)
        for layer in probe.layers
        if len(layer.shape) == 3 and (difference := token_difference(layer)) is not None
    ]
    begin = len(line)
    while begin and line[begin - 1][1] < _ALIKE:
        begin -= 1
    if begin == len(line):
        return ()
    layer, last = line[begin][0], line[-1]
    # Learned queries that start alike are others than the tokens that they look at.
    before = [difference for each, difference in line[:begin] if each.shape[1] == layer.shape[1]]
    if max(before[:2], default=0.0) < _DIFFERED:
        return ()
    return (
        Finding(
            code="GI112",
            title="Rank collapse",
            severity="error" if last[1] < _GONE else "warning",
            where=tuple(dict.fromkeys((layer.name, last[0].name))),
            measure="1 − mean cosine between the tokens of one sample, at the last layer",
            effect=max(last[1], 0.0),
            interval=None,
            expected=(_ALIKE, 1.0),
            cause=f"From '{layer.name}' on, all tokens of a sample are nearly the same vector "
            "(participation ratio "
            f"{last[0].rank:.4g} of {last[0].rows} rows): attention averages them, and nothing keeps them "
            "apart.",
            cure="add skip connections around attention and feed-forward blocks; with skips, a smaller "
            "weight on "
            "attention's branch",
        ),
    )


def _attention(signals: Sequence[AttentionSignal]) -> tuple[Finding, ...]:
    some = [
        a
        for a in signals
        if a.keys >= _FEW_KEYS and (a.entropy < _NARROW or a.peaked > _PEAKED) and a.logit_std > 0
    ]
    if not some:
        return ()
    worst = min(some, key=lambda a: a.entropy)
    return (
        Finding(
            code="GI113",
            title="Attention saturation",
            # Values and what follows attention still learn: benchmarks/corpus.py.
            severity="warning",
            where=tuple(dict.fromkeys(a.name for a in some)),
            measure=f"entropy of the attention weights of '{worst.name}', as a share of the largest possible",
            effect=worst.entropy,
            interval=(min(worst.head_entropy), max(worst.head_entropy)) if worst.head_entropy else None,
            expected=(_NARROW, 1.0),
            cause=f"The logits of '{worst.name}' have a standard deviation of {worst.logit_std:.3g}, and "
            f"{worst.peaked:.0%} of queries put over 99 % of their weight on one key of {worst.keys:.3g}: "
            "softmax "
            "passes next to no gradient to queries and keys.",
            cure="scale logits by head_dim ** -0.5 once, and give query and key weights the scale of "
            f"{INITIALIZATION}",
        ),
    )


def _stream(layers: Sequence[LayerSignal]) -> tuple[Finding, ...]:
    adds = [layer for layer in layers if layer.kind == "add" and not layer.output.nonfinite]
    adds = [layer for layer in adds if layer.output.second_moment > 0]
    if len(adds) < _POINTS:
        return ()
    sizes = [layer.output.second_moment for layer in adds]
    found = effect(sizes, [layer.units for layer in adds[1:]], _LOOSE, steady_points=_POINTS)
    if found is None or found.size < 0:
        return ()
    per = factor(found.size / (len(adds) - 1))
    return (
        Finding(
            code="GI114",
            title="Residual stream growth with depth",
            severity=severity(found),
            where=(adds[0].name, adds[-1].name),
            measure="second moment of residual sums, last over first",
            effect=factor(found.size),
            interval=interval(found),
            expected=(0.0, allowed(found)),
            cause=f"Every residual sum multiplies the second moment by {per:.3g}, from {sizes[0]:.2e} to "
            f"{sizes[-1]:.2e} over {len(adds)} sums: branches put out as much as they take in, so the "
            "stream doubles "
            "instead of growing by a constant.",
            cure="start the last weight of each branch at zero or scale it by 1/√(number of branches), or "
            "put a norm "
            f"at the start of each branch; {INITIALIZATION} does the scaling",
        ),
    )
