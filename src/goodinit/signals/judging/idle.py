"""Parameters that do not learn in the first step: without a gradient, or with one of exact zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from goodinit.records import Finding, ParameterSignal
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_idle"]

# Names in one line of a cure; the finding itself lists all.
_TOLD = 12


def judge_idle(probe: Probe) -> tuple[Finding, ...]:
    """Find trainable parameters that no gradient reaches, or only zeros."""
    trainable = [p for p in probe.parameters if p.trainable]
    idle = [p for p in trainable if p.gradient is None]
    return (*_zero(probe, trainable), *(_unused(probe, idle, len(idle) == len(trainable)) if idle else ()))


def _unused(probe: Probe, idle: Sequence[ParameterSignal], all_are: bool) -> tuple[Finding, ...]:
    if all_are:
        # Without a loss this may be a mode in which the model only decides, such as decoding.
        severity = "error" if probe.loss is not None else "warning"
        cause = (
            f"Nothing of what {probe.model} returns can be differentiated by any of its parameters: it is "
            "detached, made by argmax or rounding, or computed under torch.no_grad()."
        )
        cure = (
            "return floating outputs that depend on the parameters: without .detach(), .item(), argmax or "
            "torch.no_grad() on the way"
        )
    else:
        severity = "note"
        cause = (
            f"No path leads from '{idle[0].name}' to what is differentiated: it is not used in this forward "
            "pass, or detached."
        )
        cure = (
            "use it in forward, remove it, or freeze it: "
            f"for name in {_first(idle)!r}: model.get_parameter(name).requires_grad_(False)"
        )
    return (
        Finding(
            code="GI125",
            title="Unused parameters",
            severity=severity,
            where=tuple(p.name for p in idle),
            measure="trainable parameters that no gradient can reach",
            effect=float(len(idle)),
            interval=None,
            expected=(0.0, 0.0),
            cause=cause,
            cure=cure,
        ),
    )


def _first(idle: Sequence[ParameterSignal]) -> tuple[str, ...]:
    return tuple(p.name for p in idle[:_TOLD])


def _zero(probe: Probe, trainable: Sequence[ParameterSignal]) -> tuple[Finding, ...]:
    # An expert that no row was sent to ran on nothing, and so is no layer of this pass.
    ran = {layer.name for layer in probe.layers if 0 not in layer.shape}
    stuck = [
        p
        for p in trainable
        if p.gradient is not None
        and p.gradient.nonfinite == 0
        and p.gradient.second_moment == 0
        and p.value.count
        and {p.name, p.name.rpartition(".")[0] or probe.model} & ran
    ]
    if not any(len(p.shape) >= 2 for p in stuck):
        return ()
    chosen = _starts_at_zero(trainable)
    first = next(p for p in stuck if len(p.shape) >= 2)
    ran_in = sorted({layer.dtype for layer in probe.layers})
    why = "units that are off for the whole batch, a factor of zero, or a step without a slope cut it off"
    cure = (
        "look at the operations between it and the loss: .detach(), argmax, rounding, a mask or a factor of "
        "zeros"
    )
    if chosen is not None:
        why = f"'{chosen.name}' starts at zero and cuts it off in the first step"
        cure = "nothing, if that zero was chosen: it learns from the second step on"
    elif (
        half := next((d for d in (first.dtype, *ran_in) if d in ("float16", "bfloat16")), None)
    ) is not None:
        # Under autocast the parameters themselves have all digits.
        why += f", or it is smaller than the smallest number of {half}"
        cure += "; or torch.amp.GradScaler"
    elif _faded(trainable):
        why = f"others have faded to the smallest numbers of {first.dtype}, and this one to nothing"
        cure = "keep gradients from vanishing on their way back"
    return (
        Finding(
            code="GI117",
            title="Zero gradients",
            severity="note" if chosen is not None else "warning",
            where=tuple(p.name for p in stuck),
            measure="trainable parameters whose gradient is zero everywhere",
            effect=float(len(stuck)),
            interval=None,
            expected=(0.0, 0.0),
            cause=f"The gradient of '{first.name}' is exactly zero: {why}.",
            cure=cure,
        ),
    )


def _faded(trainable: Sequence[ParameterSignal]) -> bool:
    """Whether the smallest gradient that is left is beyond the normal numbers of float32."""
    left = [p.gradient.second_moment for p in trainable if p.gradient is not None]
    least: float = min((size for size in left if size > 0), default=1.0)
    return math.sqrt(least) < torch.finfo(torch.float32).tiny


def _starts_at_zero(trainable: Sequence[ParameterSignal]) -> ParameterSignal | None:
    """Return a weight or gain of zeros that itself has a gradient: it opens in the first step."""
    for p in trainable:
        opens = p.gradient is not None and p.gradient.second_moment > 0
        # A bias of zeros cuts nothing off.
        if p.zeros == 1.0 and opens and not p.name.rpartition(".")[2].startswith("bias"):
            return p
    return None
