"""Are the parameters' values an initialization at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from goodinit.records import Finding, ParameterSignal
from goodinit.signals.judging.cures import INITIALIZATION, redrawn
from goodinit.signals.judging.twins import twins
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_values", "zero_weights"]

# No initialization in use gives values this large; what torch.empty finds in memory often does.
_ABSURD = 1e6
# A normal draw of any usual std is subnormal with probability below 1e-35; memory garbage (small integers and
# pointers read as floats) mostly is. Trained weights may decay that far, one by one.
_SUBNORMAL = 1e-3
# Spread over mean below which elements are nearly one value: networks of 6 layers filled so learn hardly any
# digits, from 1e-6 up to 0.3; uniform on [0, 1] has 0.58 and is known by what it does to the signal (GI112).
# In small matrices chance does it.
_NEARLY, _UNITS = 0.1, 8
# Layers whose weight multiplies: in these a constant weight makes all units equal.
_MULTIPLIES = ("Linear", "Conv", "Bilinear", "MultiheadAttention", "RNN", "LSTM", "GRU")


def judge_values(probe: Probe) -> tuple[Finding, ...]:
    """Find parameters that hold NaN, infinity, or what was in memory before."""
    reasons = {p.name: reason for p in probe.parameters if (reason := _reason(p))}
    zeros = zero_weights(probe)
    if len(zeros) > 1 and len(zeros) == sum(p.trainable and len(p.shape) >= 2 for p in probe.parameters):
        reasons.update({p.name: "is all zeros, like every trainable weight of the model" for p in zeros})
    found = []
    if reasons:
        name, reason = next(iter(reasons.items()))
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        found.append(
            Finding(
                code="GI101",
                title="Never initialised or broken parameters",
                severity="error",
                where=tuple(reasons),
                measure="parameters affected",
                effect=float(len(reasons)),
                interval=None,
                expected=(0.0, 0.0),
                cause=f"'{name}' {reason}{more}.",
                cure=redrawn(probe, reasons, zeros=True),
            )
        )
    equal = [p.name for p in probe.parameters if _all_equal(p)]
    if equal:
        for_ever = _symmetric(probe, equal)
        fate = (
            "receive the same gradient and stay equal"
            if for_ever
            else "and only what stands beside and behind them can part them"
        )
        found.append(
            Finding(
                code="GI110",
                title="Units that start equal",
                severity="error" if for_ever else "warning",
                where=tuple(equal),
                measure="weights whose elements all have one value",
                effect=float(len(equal)),
                interval=None,
                expected=(0.0, 0.0),
                cause=f"Every element of '{equal[0]}' is the same, so all its units compute the same, "
                f"{fate}.",
                cure=redrawn(probe, equal),
            )
        )
    return (*found, *_nearly_equal(probe), *_equal_rows(probe, equal), *_padding(probe))


def _nearly_equal(probe: Probe) -> tuple[Finding, ...]:
    """Find weights whose elements hardly differ, so that neither do their units."""
    some = [
        p
        for p in probe.parameters
        if _multiplies(p) and min(p.shape[:2]) >= _UNITS and 0 < p.value.std < _NEARLY * abs(p.value.mean)
    ]
    if not some:
        return ()
    worst = min(some, key=_spread)
    return (
        Finding(
            code="GI110",
            title="Units that start equal",
            severity="warning",
            where=tuple(p.name for p in some),
            measure=f"standard deviation of the elements of '{worst.name}' over their mean",
            effect=_spread(worst),
            interval=None,
            expected=(_NEARLY, math.inf),
            cause=f"The elements of '{worst.name}' are {worst.value.mean:.3g} ± {worst.value.std:.1g}: next "
            "to their common mean they hardly differ, so that all its units compute nearly the same.",
            cure=f"weights with mean zero: {INITIALIZATION}",
        ),
    )


def _spread(parameter: ParameterSignal) -> float:
    return parameter.value.std / abs(parameter.value.mean)


def _symmetric(probe: Probe, names: Sequence[str]) -> bool:
    """Do all units of one of these weights' layers also receive the same gradient?

    Behind a random layer they do not, and beside random biases or recurrent weights they do not even
    compute the same: such networks part them in the first steps.
    """
    owners = {name.rpartition(".")[0] or probe.model for name in names}
    own = [layer for layer in probe.layers if layer.name in owners and layer.unit_gradients]
    return not own or any(twins(layer) == len(layer.unit_moments) for layer in own)


def _equal_rows(probe: Probe, told: Sequence[str]) -> tuple[Finding, ...]:
    """Find weights some of whose units equal others, beyond those told of already."""
    shuffled = _before_shuffle(probe)
    some = [
        p
        for p in probe.parameters
        if p.trainable and p.equal_units > 1 and p.name not in told and p.name not in shuffled
    ]
    if not some:
        return ()
    worst = max(some, key=lambda p: p.equal_units)
    return (
        Finding(
            code="GI110",
            title="Units that start equal",
            severity="warning",
            where=tuple(p.name for p in some),
            measure=f"units of '{worst.name}' whose weights equal another unit's",
            effect=float(worst.equal_units),
            interval=None,
            expected=(0.0, 0.0),
            cause=f"{worst.equal_units} units of '{worst.name}' have the weights of another unit, element by "
            "element: they compute the same, and only the layers after them can part them.",
            cure=INITIALIZATION,
        ),
    )


def _before_shuffle(probe: Probe) -> set[str]:
    """Return the weights whose units a pixel shuffle spreads over space: equal ones are a known choice."""
    names = set()
    for before, after in pairwise(probe.layers):
        if "pixelshuffle" in after.kind.lower().replace("_", ""):
            names |= {before.name, f"{before.name}.weight"}
    return names


def _padding(probe: Probe) -> tuple[Finding, ...]:
    """Find embeddings whose padding row is not zero."""
    some = [p for p in probe.parameters if p.padding is not None and p.padding > 0]
    if not some:
        return ()
    worst = max(some, key=lambda p: p.padding or 0.0)
    return (
        Finding(
            code="GI118",
            title="Padding row not zero",
            severity="warning",
            where=tuple(p.name for p in some),
            measure=f"second moment of the padding row of '{worst.name}'",
            effect=worst.padding or 0.0,
            interval=None,
            expected=(0.0, 0.0),
            cause=f"The padding row of '{worst.name}' holds values, which padding then adds to every sum "
            "over "
            "a sequence; looking it up gives it no gradient. A fill of the whole table overwrites its "
            "zeros.",
            cure="with torch.no_grad(): (e := model.get_submodule("
            f"{worst.name.rpartition('.')[0]!r})).weight[e.padding_idx].zero_()",
        ),
    )


def _reason(parameter: ParameterSignal) -> str:
    values = parameter.value
    if values.nonfinite:
        return f"holds {values.nonfinite} NaN or infinite of {values.count} values"
    if parameter.largest > _ABSURD:
        return f"holds values up to {parameter.largest:.1e}, which is memory that was never written"
    # float16 reaches its subnormals at 6e-5, where draws do land.
    if parameter.dtype != "float16" and parameter.subnormal > _SUBNORMAL:
        return f"holds subnormal numbers ({parameter.subnormal:.0%}), which is memory that was never written"
    return ""


def _multiplies(parameter: ParameterSignal) -> bool:
    shape = parameter.shape
    return (
        parameter.trainable
        and len(shape) >= 2
        and min(shape[:2]) >= 2
        and parameter.kind.startswith(_MULTIPLIES)
    )


def _all_equal(parameter: ParameterSignal) -> bool:
    return _multiplies(parameter) and parameter.value.std == 0 and parameter.value.mean != 0


def zero_weights(probe: Probe) -> tuple[ParameterSignal, ...]:
    """Return the trainable matrices that are all zeros: often intended, worth a remark."""
    return tuple(p for p in probe.parameters if p.trainable and len(p.shape) >= 2 and p.zeros == 1.0)
