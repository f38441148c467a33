"""NaN and infinity traced back, past the layer where they show, to where they begin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from goodinit.graph.examples import given, proposals
from goodinit.graph.nonfinite import Origin, locate
from goodinit.graph.places import unwrapped
from goodinit.records import Finding
from goodinit.signals.probing.objective import split_batch
from goodinit.signals.probing.probe import Probe
from goodinit.signals.probing.untouched import accelerators, kept_generators, kept_model

__all__ = ["traced_back"]


def traced_back(
    findings: Sequence[Finding],
    probe: Probe,
    model: nn.Module,
    batch: Any,
    loss: Callable[..., Any] | None,
    seed: int,
) -> tuple[Finding, ...]:
    """Return the findings, those of a forward pass that is not finite with the place where it begins.

    Only then is the model run a second time, operation by operation.

    Args:
        findings: what was made of the probe.
        probe: the measurement, with what it was asked for:
        model: the model.
        batch: the batch, or None for a made one.
        loss: the loss, which tells inputs from targets.
        seed: of everything random.
    """
    forward = any(layer.output.nonfinite for layer in probe.layers)
    lost = probe.loss is not None and not math.isfinite(probe.loss)
    if not (forward or lost or probe.broken) or (probe.input is not None and probe.input.nonfinite):
        return tuple(findings)
    origin = _origin(unwrapped(model), split_batch(batch, loss)[0], seed)
    if origin is None:
        return tuple(findings)
    return tuple(_told(each, origin, probe.model) if each.code == "GI107" else each for each in findings)


def _origin(model: nn.Module, inputs: Any, seed: int) -> Origin | None:
    for example in proposals(model, seed) if inputs is None else [given(inputs)]:
        with kept_model(model), kept_generators(seed, accelerators(model)), torch.inference_mode(False):
            try:
                return locate(model, example)
            except Exception:  # as the probe did, go on to one that the model accepts
                continue
    return None


def _told(finding: Finding, origin: Origin, model: str) -> Finding:
    changes: dict[str, Any] = {"cause": f"{finding.cause.removesuffix('.')}: {origin.words()}."}
    if origin.kind in ("operation", "memory"):
        where = origin.module or model
        changes |= {"where": (where,), "cure": f"run '{where}' alone in float32 on its input"}
    elif origin.kind == "buffer":
        changes["cure"] = f"put finite values into the buffer '{origin.name}'"
    elif origin.kind == "example":
        changes |= {"where": ("the batch",), "cure": "check your data: torch.isfinite(batch).all()"}
    return dataclasses.replace(finding, **changes)
