"""Is what tells samples apart drowned by the bias of a layer?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.depth import factor
from goodinit.signals.judging.information import DROWNED, RESTORED, share
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_biased"]

# The bias is all of the output but this share of it.
_REST = 0.1
# Size of a bias that drowns signals of size 1. Those of torch's default, of a third, may drown the outputs of
# tiny weights; these grow to it within some hundred steps, and the network learns.
_LARGE = 10.0
# A head that starts at the logarithm of its classes' frequencies has none behind it.
_LAYERS = 2


def judge_biased(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Find a bias so large that behind it all samples look nearly the same, and no layer brings them back.

    Args:
        probe: the measurement.
        found: what was found, so that a forgotten input is not told twice.
    """
    if "GI108" in {finding.code for finding in found} or not probe.input_varying:
        return ()
    line = [layer for layer in points(probe.layers) if layer.varying is not None]
    biases = {p.name.rpartition(".")[0]: p.value.second_moment for p in probe.parameters if _is_bias(p.name)}
    for place, layer in enumerate(line[:-_LAYERS]):
        whole, bias = layer.output.second_moment, biases.get(layer.name, 0.0)
        alone = bias > _LARGE**2 and abs(whole - bias) < _REST * whole
        if alone and share(layer) < DROWNED and all(share(each) < RESTORED for each in line[place:]):
            return (_finding(layer, line[-1], bias),)
    return ()


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


def _finding(layer: LayerSignal, last: LayerSignal, bias: float) -> Finding:
    lost = share(layer)
    return Finding(
        code="GI108",
        title="Input forgotten",
        severity="warning",
        where=(layer.name, last.name),
        measure=f"share of the second moment of '{layer.name}' that differs between samples",
        effect=lost,
        interval=None,
        expected=(DROWNED, 1.0),
        cause=f"The bias of '{layer.name}' has a root mean square of {math.sqrt(bias):.3g} and is "
        f"{factor(-0.5 * math.log(lost)) if lost else math.inf:.3g} times as large as what differs between "
        "samples there: behind it all samples look nearly the same.",
        cure=f"torch.nn.init.zeros_(model.get_parameter({f'{layer.name}.bias'.lstrip('.')!r}))",
    )
