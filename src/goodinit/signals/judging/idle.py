"""Parameters that do not learn in the first step: without a gradient, or with one of exact zeros."""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.records import Finding, ParameterSignal
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_idle"]

# Names in one line of a cure; the finding itself lists all.
_TOLD = 12


def judge_idle(probe: Probe) -> tuple[Finding, ...]:
    """Find trainable parameters that no gradient reaches, or only zeros."""
    trainable = [p for p in probe.parameters if p.trainable]
    if not any(p.gradient is not None for p in trainable):
        return _unreached(probe, trainable)
    return (*_zero(probe, trainable), *_unused([p for p in trainable if p.gradient is None]))


def _unreached(probe: Probe, trainable: Sequence[ParameterSignal]) -> tuple[Finding, ...]:
    """Find models of which nothing can learn, because what they return depends on no parameter."""
    if not trainable:
        return ()
    return (
        Finding(
            code="GI125",
            title="Unused parameters",
            # Without a loss this may be a mode in which the model only decides, such as decoding.
            severity="error" if probe.loss is not None else "warning",
            where=tuple(p.name for p in trainable),
            measure="trainable parameters that no gradient can reach",
            effect=float(len(trainable)),
            interval=None,
            expected=(0.0, 0.0),
            cause=f"Nothing of what {probe.model} returns can be differentiated by any of its parameters: it "
            "is detached, made by argmax or rounding, or computed under torch.no_grad().",
            cure="return floating outputs that depend on the parameters: without .detach(), .item(), argmax "
            "or torch.no_grad() on the way",
        ),
    )


def _unused(idle: Sequence[ParameterSignal]) -> tuple[Finding, ...]:
    if not idle:
        return ()
    return (
        Finding(
            code="GI125",
            title="Unused parameters",
            severity="note",
            where=tuple(p.name for p in idle),
            measure="trainable parameters that no gradient can reach",
            effect=float(len(idle)),
            interval=None,
            expected=(0.0, 0.0),
            cause=f"No path leads from '{idle[0].name}' to what is differentiated: it is not used in this "
            "forward "
            "pass, or detached.",
            cure="use it in forward, remove it, or freeze it: "
            f"for name in {_first(idle)!r}: model.get_parameter(name).requires_grad_(False)",
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
    why = (
        f"'{chosen.name}' starts at zero and cuts it off in the first step"
        if chosen is not None
        else "units that are off for the whole batch, a factor of zero, or a step without a slope cut it off"
    )
    small = chosen is None and first.dtype in ("float16", "bfloat16")
    if small:
        why += f", or it is smaller than the smallest number of {first.dtype}"
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
            cure="nothing, if that zero was chosen: it learns from the second step on"
            if chosen is not None
            else "look at the operations between it and the loss: .detach(), argmax, rounding, a mask or a "
            f"factor of zeros{'; or torch.amp.GradScaler' if small else ''}",
        ),
    )


def _starts_at_zero(trainable: Sequence[ParameterSignal]) -> ParameterSignal | None:
    """Return a weight or gain of zeros that itself has a gradient: it opens in the first step."""
    for p in trainable:
        opens = p.gradient is not None and p.gradient.second_moment > 0
        # A bias of zeros cuts nothing off.
        if p.zeros == 1.0 and opens and not p.name.rpartition(".")[2].startswith("bias"):
            return p
    return None
