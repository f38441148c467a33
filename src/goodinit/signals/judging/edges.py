"""The two edges of a network: what the batch brings in, and the gradient that the output hands back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.depth import factor
from goodinit.signals.judging.information import DROWNED, RESTORED, share
from goodinit.signals.judging.travel import backward_points, points
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_edges"]

# Second moments of inputs and of all layers: with inputs of std 1e-3 the same networks learn slowly, with
# 1e-4 not at all; with 1e4 SGD diverges.
_TINY, _HUGE = 1e-7, 1e7
# What reaches the best-served layer, as a share of the squared gradient at the output. A softmax over
# 50,000 classes leaves 4e-10, a mean over 65,536 positions 2e-10; below 1e-16 (a factor of 1e-8 on the
# gradient) all of it is less than the ε of Adam where the loss gives a gradient of 1. Of several outputs,
# the share that one receives of another's.
_CUT = 1e-16


def judge_edges(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find batches whose samples look all alike or have no usual size, and outputs that let no gradient in.

    Args:
        probe: the measurement.
        found: what was found on the way in between, which is not said twice.
    """
    codes = {finding.code for finding in found}
    line = [layer for layer in points(probe.layers) if layer.output.second_moment > 0]
    judged = (*_alike(probe, line), *_size(probe, line), *(_tail(probe) or _starved(probe)))
    return tuple(finding for finding in judged if finding.code not in codes)


def _alike(probe: Probe, line: Sequence[LayerSignal]) -> tuple[Finding, ...]:
    entered = probe.input_share
    line = [layer for layer in line if layer.varying is not None]
    if not line or entered is None or not 0 < entered < DROWNED:
        return ()
    if any(share(layer) > RESTORED for layer in line):
        return ()
    return (
        Finding(
            code="GI108",
            title="Input forgotten",
            severity="warning",
            where=("the batch",),
            measure="share of the input's second moment that differs between samples",
            effect=entered,
            interval=None,
            expected=(DROWNED, 1.0),
            cause="Already in the batch all samples are nearly the same: a common part is "
            f"{math.sqrt(1.0 / entered):.3g} times as large as what tells them apart, and no layer takes it "
            "away.",
            cure="take the mean away: inputs = (inputs - mean) / std, of each feature over the training data",
        ),
    )


def _size(probe: Probe, line: Sequence[LayerSignal]) -> tuple[Finding, ...]:
    if not line or probe.input is None or probe.input_share is None:
        return ()
    entered, sizes = probe.input.second_moment, [layer.output.second_moment for layer in line]
    small = 0 < entered < _TINY and max(sizes) < 10 * _TINY
    if not small and not (entered > _HUGE and min(sizes) > _HUGE / 10):
        return ()
    return (
        Finding(
            code="GI102" if small else "GI103",
            title="Vanishing signal" if small else "Exploding signal",
            severity="warning",
            where=("the batch",),
            measure="second moment of the input",
            effect=entered,
            interval=None,
            expected=(_TINY, _HUGE),
            cause=f"The inputs have a root mean square of {math.sqrt(entered):.3g}, and no layer brings them "
            "to a usual size, so that "
            f"{'outputs and gradients are as small' if small else 'outputs are as large'}.",
            cure="bring inputs to size 1: inputs = (inputs - mean) / std, of each feature over the training "
            "data",
        ),
    )


def _tail(probe: Probe) -> tuple[Finding, ...]:
    handed = sum(probe.returned.values())
    reached = [
        (layer, layer.gradient.second_moment * layer.gradient.count)
        for layer, _ in backward_points(probe.layers)
        if layer.gradient is not None and layer.gradient.second_moment > 0
    ]
    if not reached or not 0 < handed < math.inf:
        return ()
    layer, most = max(reached, key=lambda each: each[1])
    if most >= _CUT * handed:
        return ()
    kept = factor(math.log(most) - math.log(handed))
    return (
        Finding(
            code="GI104",
            title="Vanishing gradient",
            # A loss can hand single samples a huge gradient (log of a probability of zero).
            severity="error" if probe.loss is None else "warning",
            where=(layer.name,),
            measure="sum of squares of the gradient at the best-served layer, over that at the output",
            effect=kept,
            interval=None,
            expected=(_CUT, math.inf),
            cause=f"What lies between '{layer.name}' and the model's output multiplies the gradient by "
            f"{math.sqrt(kept):.2g}, so that no layer before it learns: a tiny factor, or a function that is "
            "flat there.",
            cure="take that factor or function out of the model (a loss with logits needs no softmax or "
            "sigmoid before it), or make what goes into it smaller",
        ),
    )


def _starved(probe: Probe) -> tuple[Finding, ...]:
    """Find one of several outputs that the loss hands next to nothing."""
    handed = {name: size for name, size in probe.returned.items() if 0 < size < math.inf}
    most = max(handed, key=lambda name: handed[name], default="")
    few = [name for name, size in handed.items() if size < _CUT * handed[most]]
    if probe.loss is None or not few:
        return ()
    least = min(few, key=lambda name: handed[name])
    return (
        Finding(
            code="GI104",
            title="Vanishing gradient",
            severity="warning",
            where=tuple(f"output {name}" for name in few),
            measure=f"sum of squares of the gradient at output {least}, over that at output {most}",
            effect=handed[least] / handed[most],
            interval=None,
            expected=(_CUT, math.inf),
            cause=f"The loss hands output {least} a gradient "
            f"{math.sqrt(handed[least] / handed[most]):.2g} times that of output {most}: a softmax or "
            "sigmoid of it has decided before training, or it counts next to nothing.",
            cure="start the layer that makes this output small: torch.nn.init.zeros_ on its weight and bias",
        ),
    )
