"""Do samples still differ in direction, or has everything become one number times one vector?"""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.judging.mixing import token_difference
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_collinear"]

# 1 − the root mean square cosine between samples. Rectified networks of critical scale keep some 20/depth²
# (3e-4 at depth 50, by chance). Positive weights lose a factor of 10 to 100 at each layer, down to
# float32's 1e-7; at 1e-5 digits are still learned, at 1e-6 no more.
_COLLINEAR = 1e-6
# So much of it there has to be somewhere: a batch whose samples are multiples of one vector shows nothing.
_DIFFERED = 0.05
# Two or three units of ReLU are often on a ray by chance.
_UNITS, _SAMPLES, _LAYERS = 8, 4, 3


def judge_collinear(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find networks from some layer on of which all samples are multiples of one vector.

    Their sizes may differ, so that neither second moments nor the share that varies show it. Then
    all units say the same, one number for each sample, which few tasks can be learned from.

    Args:
        probe: the measurement.
        found: what was found in it, so that a forgotten input and alike tokens are not told again.
    """
    if {finding.code for finding in found} & {"GI108", "GI112"}:
        return ()
    line = [(layer, difference) for layer in points(probe.layers) if (difference := _difference(layer)) >= 0]
    # The head's biases may part what its input has lost.
    line = line[:-1] if line and line[-1][1] >= _COLLINEAR else line
    begin = len(line)
    while begin and line[begin - 1][1] < _COLLINEAR:
        begin -= 1
    if len(line) - begin < _LAYERS or max(each[1] for each in line) < _DIFFERED:
        return ()
    layer, last = line[begin][0], line[-1]
    if _narrow_before(probe, layer):
        return ()
    return (
        Finding(
            code="GI112",
            title="Rank collapse",
            severity="warning",
            where=tuple(dict.fromkeys((layer.name, last[0].name))),
            measure="1 − root mean square cosine between samples, at the last layer",
            effect=max(last[1], 0.0),
            interval=None,
            expected=(_COLLINEAR, 1.0),
            cause=f"From '{layer.name}' on, all samples of the batch are multiples of one vector, so the "
            f"{last[0].units} units of '{last[0].name}' carry one number: weights of one sign, such as "
            "torch.rand's, give all units the same sum.",
            cure=f"weights with mean zero: {INITIALIZATION}",
        ),
    )


def _narrow_before(probe: Probe, layer: LayerSignal) -> bool:
    """Does everything pass through a few units there, as in an autoencoder with one latent number?"""
    before = [each for each in points(probe.layers) if each.index < layer.index]
    return bool(before) and before[-1].units < _UNITS


def _difference(layer: LayerSignal) -> float:
    """Return 1 − the root mean square cosine between samples; −1 where rows are no samples, or too few."""
    if len(layer.shape) == 3 or layer.units < _UNITS or (layer.rows or 0) < _SAMPLES:
        return -1.0
    difference = token_difference(layer)
    return -1.0 if difference is None else max(difference, 0.0)
