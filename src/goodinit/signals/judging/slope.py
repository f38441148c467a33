"""Can steps of a usual size lower the loss at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding
from goodinit.signals.probing.kinds import is_embedding
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_slope"]

# Σ|∂L/∂w| over the loss. The families of benchmarks/calibration.py have 1.4 and more. Features of size 1e-3
# before the head of a recurrent network leave 0.002 to 0.026, and it learns nothing in 200 steps at any usual
# rate; with output gates at σ(−5), 0.023, Adam at 0.01 learns.
_LEAST = 0.02


def judge_slope(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find losses that hardly depend on any weight.

    If every weight moves by at most δ, the loss falls to first order by at most δ Σ|∂L/∂w|; Adam at
    1e-3 has gone δ = 1 after 1,000 steps. Layers may keep signals and gradients among themselves, and
    the model's end still shrinks them. Biases are left out, which learn the targets' mean
    alone, and embeddings: factorizations start small and learn all the same.

    Args:
        probe: the measurement.
        found: what was found in it, so that a gradient that fades is not told again.
    """
    loss = probe.loss
    if loss is None or not math.isfinite(loss) or loss == 0:
        return ()
    told = {finding.code for finding in found if finding.severity != "note"}
    if told & {"GI101", "GI102", "GI104", "GI107", "GI117"}:
        return ()
    weights = [
        p
        for p in probe.parameters
        if p.trainable and p.gradient is not None and len(p.shape) >= 2 and not is_embedding(p.kind)
    ]
    # The root mean square bounds the mean of |∂L/∂w|.
    slopes = [math.sqrt(p.gradient.second_moment) * p.value.count for p in weights if p.gradient is not None]
    share = sum(slopes) / abs(loss)
    if not weights or not share < _LEAST:
        return ()
    steepest = weights[slopes.index(max(slopes))]
    return (
        Finding(
            code="GI104",
            title="Vanishing gradient",
            severity="warning",
            where=(steepest.name,),
            measure="sum of absolute gradients of all weights, as a share of the loss",
            effect=share,
            interval=None,
            expected=(_LEAST, math.inf),
            cause=f"The loss hardly depends on any weight: 1,000 steps that move each by 0.001 lower it "
            f"by at most {share:.2g} of itself to first order, biases aside. What enters the last layer, or "
            "what follows it, is too small.",
            cure="let features of size 1 enter the last layer (a norm before it, or without the factor that "
            "shrinks them), and return its output as it is",
        ),
    )
