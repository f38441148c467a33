"""One layer called many times in a row: depth or time that is written as a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import travel_cure
from goodinit.signals.judging.depth import effect
from goodinit.signals.judging.travel import backward_finding, forward_finding
from goodinit.signals.probing.kinds import is_embedding, is_norm
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_loops"]

# So many calls in a row show a course; pyramids and siamese branches have fewer.
_CALLS = 8
# As in other networks whose parts differ by design.
_LOOSER = 30.0
# As in recurrent layers: what is smaller is lost in float32's rounding when it is added.
_LOST = 2.0**-48


def judge_loops(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Compare the calls of each layer that runs many times: growth either way, and what reaches the first.

    Calls side by side (one for each item of a list) show no course. Calls of cells are judged as
    recurrent layers are.

    Args:
        probe: the measurement.
        found: what was found over depth; that a gradient fades on its way is not said twice.
    """
    lost = any(finding.code == "GI104" for finding in found)
    judged: list[Finding] = []
    for calls in _loops(probe.layers):
        judged += _course(probe, calls, lost)
    kept: dict[str, Finding] = {}
    for each in judged:
        before = kept.get(each.code)
        where = each.where if before is None else (*before.where, *each.where)
        kept[each.code] = replace(each if before is None else before, where=where)
    return tuple(kept.values())


def _loops(layers: Sequence[LayerSignal]) -> list[list[LayerSignal]]:
    """Return the calls of each layer of weights that runs many times and is no recurrent cell."""
    calls: dict[str, list[LayerSignal]] = {}
    for layer in layers:
        if layer.parametric and not is_norm(layer.kind) and not is_embedding(layer.kind):
            calls.setdefault(layer.name, []).append(layer)
    return [
        each
        for each in calls.values()
        if len(each) >= _CALLS and not each[-1].memory and not any(one.output.nonfinite for one in each)
    ]


def _course(probe: Probe, calls: Sequence[LayerSignal], lost: bool) -> list[Finding]:
    cure, found = travel_cure(probe), []
    units = [layer.units for layer in calls[1:]]
    sizes = [layer.output.second_moment for layer in calls]
    if min(sizes) > 0 and (change := effect(sizes, units, _LOOSER)) is not None:
        found.append(forward_finding(calls, change, cure, each="call"))
    back = [
        (layer, layer.gradient.second_moment)
        for layer in calls
        if layer.gradient is not None and not layer.gradient.nonfinite
    ]
    returned = [size for _, size in reversed(back)]
    if len(back) < _CALLS or not returned[0] > 0:
        return found
    if min(returned) > 0:
        change = effect(returned, [layer.units for layer, _ in back[1:]], _LOOSER)
        if change is not None and change.size > 0:
            found.append(backward_finding(back, change, cure, each="call"))
    if returned[-1] < _LOST * returned[0] and not lost:
        found.append(_faded(calls[0], len(calls), returned[-1] / returned[0], _over_time(probe, calls)))
    return found


def _over_time(probe: Probe, calls: Sequence[LayerSignal]) -> bool:
    """Is there one call for each step of an input? Else the loop is over depth, and may read it anew."""
    samples = calls[0].shape[:1]
    steps = [shape[1:] if shape[:1] == samples else shape for shape in probe.entering if len(shape) > 1]
    return any(abs(length - len(calls)) <= 1 for lengths in steps for length in lengths)


def _faded(layer: LayerSignal, calls: int, kept: float, over_time: bool) -> Finding:
    meaning = (
        "nothing is learned from there, unless gates open in the first steps of training"
        if over_time
        else "fine where each call sees the input anew, as in the iteration of a fixed point"
    )
    return Finding(
        code="GI127",
        title="Recurrent memory fades",
        severity="warning" if over_time else "note",
        where=(layer.name,),
        measure="second moment of the gradient at the first call, over that at the last",
        effect=kept,
        interval=None,
        expected=(_LOST, 1.0 / _LOST),
        cause=f"'{layer.name}' is called {calls} times in a row, and what its first call took in is lost in "
        f"rounding: {meaning}.",
        cure="goodinit.initialize(model), or torch.nn.init.orthogonal_ for a weight that a loop multiplies "
        "by; or torch.nn.LSTM",
    )
