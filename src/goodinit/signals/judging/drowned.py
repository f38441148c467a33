"""Is what tells samples apart drowned by a table of the model's own that is added to it?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal, ParameterSignal
from goodinit.signals.judging.depth import factor
from goodinit.signals.judging.information import DROWNED, LOST, RESTORED, share
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.kinds import is_embedding
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_drowned"]

# It has to be a sum that did it: the share falls at once, and the table is as much larger as that says.
_AT_ONCE, _LARGER = 0.02, 30.0
_LAYERS = 3


def judge_drowned(probe: Probe) -> tuple[Finding, ...]:
    """Find positions or another table of the model that are added to what samples say, and far larger."""
    if not probe.input_varying:
        return ()
    multiply = {layer.index for layer in points(probe.layers)}
    line = [
        layer
        for layer in probe.layers
        if _measured(layer) and (layer.index in multiply or is_embedding(layer.kind))
    ]
    begin = len(line)
    while begin and not is_embedding(line[begin - 1].kind) and share(line[begin - 1]) < RESTORED:
        begin -= 1
    after = line[begin:]
    if len(after) < _LAYERS or share(after[0]) > DROWNED:
        return ()
    table = max(_tables(probe), key=lambda each: each.value.second_moment, default=None)
    if table is None:
        return ()
    # Positions looked up for one sequence have no samples: their rows are places.
    others = [
        layer
        for layer in line[:begin]
        if layer.name != table.name.rpartition(".")[0] and len(layer.shape) >= len(after[0].shape)
    ]
    if not others:
        return ()
    told = max(others, key=share) if is_embedding(others[-1].kind) else others[-1]
    larger = table.value.second_moment / told.output.second_moment
    if share(after[0]) > _AT_ONCE * share(told) or not larger > _LARGER:
        return ()
    return (_finding(told, table, after, larger),)


def _finding(
    told: LayerSignal, table: ParameterSignal, after: Sequence[LayerSignal], larger: float
) -> Finding:
    size = math.sqrt(told.output.second_moment)
    return Finding(
        code="GI108",
        title="Input forgotten",
        severity="error" if share(after[0]) < LOST else "warning",
        where=tuple(dict.fromkeys((table.name, after[0].name, after[-1].name))),
        measure=f"share of the second moment that differs between samples, '{after[0].name}' over "
        f"'{told.name}'",
        effect=factor(math.log(share(after[0])) - math.log(share(told))) if share(after[0]) else 0.0,
        interval=None,
        expected=(DROWNED, 1.0),
        cause=f"'{table.name}' is the same for every sample and {math.sqrt(larger):.3g} times as large as "
        f"the output of '{told.name}', to which it is added: behind it all samples look nearly the same.",
        cure=f"torch.nn.init.normal_(model.get_parameter({table.name!r}), std={size:.2g})",
    )


def _measured(layer: LayerSignal) -> bool:
    return layer.varying is not None and layer.output.second_moment > 0 and layer.call == 0


def _tables(probe: Probe) -> list[ParameterSignal]:
    """Return the tables of the model: embeddings, and raw parameters that multiply nothing."""
    multiply = {layer.name for layer in points(probe.layers)}
    return [
        p
        for p in probe.parameters
        if sum(n > 1 for n in p.shape) >= 2
        and not {p.name, p.name.rpartition(".")[0] or probe.model} & multiply
    ]
