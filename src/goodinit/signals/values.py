"""Are the parameters' values an initialization at all?"""

from __future__ import annotations

from goodinit.records import Finding, ParameterSignal
from goodinit.signals.cures import INITIALIZATION
from goodinit.signals.probe import Probe

__all__ = ["copies", "judge_values", "unused", "zero_weights"]

# No initialization in use gives values this large; what torch.empty finds in memory often does.
_ABSURD = 1e6
# A normal draw of any usual std is subnormal with probability below 1e-35; memory garbage (small integers and
# pointers read as floats) mostly is. Trained weights may decay that far, one by one.
_SUBNORMAL = 1e-3
# Layers whose weight multiplies: in these a constant weight makes all units equal.
_MULTIPLIES = ("Linear", "Conv", "Bilinear", "MultiheadAttention", "RNN", "LSTM", "GRU")


def judge_values(probe: Probe) -> tuple[Finding, ...]:
    """Find parameters that hold NaN, infinity, or what was in memory before."""
    reasons = {p.name: reason for p in probe.parameters if (reason := _reason(p))}
    zeros = zero_weights(probe)
    if len(zeros) > 1 and len(zeros) == sum(p.trainable and len(p.shape) >= 2 for p in probe.parameters):
        reasons.update({p.name: "is all zeros, like every weight of the model" for p in zeros})
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
                cure=INITIALIZATION,
            )
        )
    equal = [p.name for p in probe.parameters if _all_equal(p)]
    if equal:
        found.append(
            Finding(
                code="GI110",
                title="Units that start equal",
                severity="error",
                where=tuple(equal),
                measure="weights whose elements all have one value",
                effect=float(len(equal)),
                interval=None,
                expected=(0.0, 0.0),
                cause=f"Every element of '{equal[0]}' is the same, so all its units compute the same, "
                "receive the same gradient and stay equal.",
                cure=INITIALIZATION,
            )
        )
    return tuple(found)


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


def _all_equal(parameter: ParameterSignal) -> bool:
    shape = parameter.shape
    return (
        parameter.trainable
        and len(shape) >= 2
        and min(shape[:2]) >= 2
        and parameter.kind.startswith(_MULTIPLIES)
        and parameter.value.std == 0
        and parameter.value.mean != 0
    )


def zero_weights(probe: Probe) -> tuple[ParameterSignal, ...]:
    """Return the trainable matrices that are all zeros: often intended, worth a remark."""
    return tuple(p for p in probe.parameters if p.trainable and len(p.shape) >= 2 and p.zeros == 1.0)


def copies(probe: Probe) -> tuple[tuple[ParameterSignal, ...], ...]:
    """Return groups of different matrices that hold the same values, by their moments.

    Equal mean, second moment and maximum in float64 cannot be chance for random draws.
    """
    groups: dict[tuple[object, ...], list[ParameterSignal]] = {}
    for p in probe.parameters:
        if len(p.shape) >= 2 and p.value.std > 0:
            key = (p.shape, p.value.mean, p.value.second_moment, p.largest)
            groups.setdefault(key, []).append(p)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def unused(probe: Probe) -> tuple[ParameterSignal, ...]:
    """Return the trainable parameters that no gradient can reach, if any gradient was measured."""
    if not any(p.gradient is not None for p in probe.parameters):
        return ()
    return tuple(p for p in probe.parameters if p.trainable and p.gradient is None)
