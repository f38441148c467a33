"""Gradients too small, in absolute terms, for any optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_faint"]

# Adam's default ε: where every gradient is below it, no weight moves by even half the learning rate, and SGD
# moves weights by less than 1e-8 times that. The families of benchmarks/calibration.py have 9e-3 and more; a
# loss times 1e-6 (1e-8 to 1e-7) is still learned by Adam, times 1e-8 by neither.
_EPSILON = 1e-8


def judge_faint(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find losses of which every parameter's gradient is below what optimizers tell from zero.

    Layers and the loss may keep their proportions, which all other judges look at, and a factor on the
    loss, or a loss that is flat where it starts, still leaves nothing to learn from.

    Args:
        probe: the measurement.
        found: what was found in it, so that a gradient that fades on its way is not told again.
    """
    grave = {finding.code for finding in found if finding.severity != "note"}
    if probe.loss is None or grave & {"GI101", "GI104", "GI107", "GI117"}:
        return ()
    sizes = {
        p.name: math.sqrt(p.gradient.second_moment)
        for p in probe.parameters
        if p.trainable and p.gradient is not None
    }
    name = max(sizes, key=lambda each: sizes[each], default="")
    if not name or not 0 < sizes[name] < _EPSILON:
        return ()
    return (
        Finding(
            code="GI104",
            title="Vanishing gradient",
            severity="warning",
            where=(name,),
            measure="largest root mean square of a parameter's gradient",
            effect=sizes[name],
            interval=None,
            expected=(_EPSILON, math.inf),
            cause=f"The gradient of every parameter is below Adam's eps of {_EPSILON:.0e}; the largest, of "
            f"'{name}', is {sizes[name]:.2g}. The loss has a tiny factor, or is flat where it starts.",
            cure="take that factor off the loss, or use a loss that has a slope there (for a generator "
            "-log D(G(z)) instead of log(1 - D(G(z))))",
        ),
    )
