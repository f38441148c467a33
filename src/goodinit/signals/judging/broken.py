"""Where NaN or infinity began."""

from __future__ import annotations

import math

from goodinit.records import Finding
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_broken"]


def judge_broken(probe: Probe) -> tuple[Finding, ...]:
    """Name the layer where the first non-finite value appeared, forward and backward."""
    if probe.input is not None and probe.input.nonfinite:
        return (
            _finding(
                "the batch",
                probe.input.nonfinite,
                f"The batch itself holds {probe.input.nonfinite} NaN or infinite values.",
                "check your data: torch.isfinite(batch).all()",
            ),
        )
    bad = [layer for layer in probe.layers if layer.output.nonfinite]
    if bad:
        # Several branches may break apart; the first by execution whose inputs were fine is an origin.
        origin = next((layer for layer in bad if layer.finite_input), bad[0])
        broken = [p.name for p in probe.parameters if p.value.nonfinite and _owner(p.name) == origin.name]
        if broken:
            why = f"its parameter '{broken[0]}' holds NaN or infinity"
        elif origin.finite_input is False:
            why = "already its input was not finite, so an operation before it that is no layer made it"
        else:
            why = "its inputs and parameters are finite, so it overflowed or left its domain"
        return (
            _finding(
                origin.name,
                origin.output.nonfinite,
                f"NaN or infinity first appears in the output of '{origin.name}' ({origin.kind}); {why}.",
                INITIALIZATION if broken else f"run '{origin.name}' alone in float32 on its input",
            ),
        )
    if probe.broken:
        return (
            _finding(
                probe.model,
                probe.broken,
                f"The model's own output holds {probe.broken} NaN or infinite values though all layers are "
                "finite, "
                "so an operation after the last layer made them.",
                "run what follows the last layer alone in float32 on its input",
            ),
        )
    back = [layer for layer in probe.layers if layer.gradient is not None and layer.gradient.nonfinite]
    if back:
        last = back[-1]
        count = last.gradient.nonfinite if last.gradient is not None else 0
        return (
            _finding(
                last.name,
                count,
                f"The backward pass makes NaN or infinity between '{last.name}' and the loss; "
                "the outputs of all layers are finite.",
                "torch.autograd.set_detect_anomaly(True) names the operation; in float16 it may be one that "
                "overflows inside a layer, such as the squares of a norm: run that part in float32",
            ),
        )
    if probe.loss is not None and not math.isfinite(probe.loss):
        return (
            _finding("loss", 1, f"The loss is {probe.loss} though all layers are finite.", "check the loss"),
        )
    return ()


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _finding(where: str, count: int, cause: str, cure: str) -> Finding:
    return Finding(
        code="GI107",
        title="NaN or infinity",
        severity="error",
        where=(where,),
        measure="elements that are not finite",
        effect=float(count),
        interval=None,
        expected=(0.0, 0.0),
        cause=cause,
        cure=cure,
    )
