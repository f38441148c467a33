"""Does the output still depend on the input?"""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import travel_cure, unbiased
from goodinit.signals.judging.recurring import severity_of_fading
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.kinds import is_embedding
from goodinit.signals.probing.probe import Probe

__all__ = ["DROWNED", "LOST", "RESTORED", "judge_information", "share"]

# Share of the second moment that still depends on the input, relative to the first layer. Critical ReLU
# networks keep about 40/depth²; ordered ones lose it exponentially.
LOST = 1e-4
# In one step, where something is added to signals: small causal transformers, pre- and post-norm, learn no
# more than how often each character comes when positions leave tokens 8e-3 or less (150 steps); a vision
# transformer learns digits with 1.5e-2, and five times slower with 1.6e-3. Of inputs 1e-3 is a mean of 30
# standard deviations: MLPs of 1 to 6 hidden layers on digits learn with a mean of 10, hardly with 30, not at
# all with 100 (Adam at two rates, SGD). No layer may have restored it, as a batch norm does.
DROWNED, RESTORED = 2e-3, 1e-2
# Nothing but rounding is left: the square of float32's 1e-7, with room.
_GONE = 1e-10


def judge_information(probe: Probe) -> tuple[Finding, ...]:
    """Find the layer from which on outputs are the same for every sample of the batch."""
    line = _without_zero_ends(probe, [layer for layer in points(probe.layers) if layer.varying is not None])
    if not line or not probe.input_varying:
        return ()
    shares = [share(layer) for layer in line]
    # A first layer that drowns small inputs in its biases has forgotten them as well, be they numbers or rows
    # of a table.
    looked_up = [share(layer) for layer in probe.layers if is_embedding(layer.kind)]
    start = max(next((s for s in shares if s > 0), 0.0), probe.input_share or 0.0, *looked_up) or 1.0
    kept = [s / start for s in shares]
    begin = len(kept)
    while begin and kept[begin - 1] < LOST:
        begin -= 1
    lost = len(kept) - begin
    # One step down may be pooling over positions; three layers, all layers or full loss are not.
    if not lost or (begin and lost < 3 and kept[-1] > _GONE):
        return ()
    layer = line[begin]
    why = "its weight is all zeros" if layer.name in _zeroed(probe) else "the rest is biases or a constant"
    fading = _fading(probe, line[begin - 1 : begin + 1]) if begin else None
    if fading is not None:
        why = f"the memory of '{fading.name}' fades, so that its end depends on its last steps only"
    return (
        Finding(
            code="GI108",
            title="Input forgotten",
            severity="error" if fading is None else severity_of_fading(fading),
            where=tuple(dict.fromkeys((layer.name, line[-1].name))),
            measure="share of the second moment that differs between samples, last layer over input",
            effect=kept[-1],
            interval=None,
            expected=(LOST, 1.0),
            cause=f"From '{layer.name}' on, all samples of the batch give nearly the same output: less than "
            f"{LOST:g} of the signal that entered is left; {why}.",
            cure=unbiased(probe, travel_cure(probe)),
        ),
    )


def _fading(probe: Probe, around: Sequence[LayerSignal]) -> LayerSignal | None:
    """Return the recurrent layer among these whose end no longer depends on its beginning."""
    names = {layer.name for layer in around}
    for layer in probe.layers:
        if layer.name in names and layer.memory and min(layer.memory) < LOST**2 * layer.memory[-1]:
            return layer
    return None


def _zeroed(probe: Probe) -> set[str]:
    return {
        p.name.rpartition(".")[0] or probe.model
        for p in probe.parameters
        if p.zeros == 1.0 and len(p.shape) >= 2
    }


def _without_zero_ends(probe: Probe, line: list[LayerSignal]) -> list[LayerSignal]:
    # Last layers that start at zero are a usual choice; a network of nothing else is not.
    zeroed = _zeroed(probe)
    end = len(line)
    while end and line[end - 1].name in zeroed:
        end -= 1
    return line[:end] if end or len(line) < 2 else line[:-1]


def share(layer: LayerSignal) -> float:
    """Return the share of a layer's second moment that differs from sample to sample."""
    if layer.varying is None or not layer.output.second_moment > 0:
        return 0.0
    return layer.varying / layer.output.second_moment
