"""Does the output of one sample depend on the other samples of the batch?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from goodinit.graph.examples import given
from goodinit.graph.nested import map_tensors, tensors
from goodinit.graph.places import unwrapped
from goodinit.records import Finding
from goodinit.signals.probing.objective import split_batch
from goodinit.signals.probing.untouched import accelerators, kept_generators, kept_model

__all__ = ["judge_samples"]

# Share of an output's squares by which it may move: kernels that sum in another order move it by 1e-12 in
# float32 and 1e-5 in bfloat16; mixed samples by 1e-2 to 2.
_MOVED = 1e-3


def judge_samples(
    model: nn.Module, batch: Any, loss: Callable[..., Any] | None, seed: int
) -> tuple[Finding, ...]:
    """Find models that mix samples though every sample has a target of its own.

    Every sample is replaced by a copy of the last (a recurrence over the batch has seen all others
    by then), in eval mode: the last one's output must stay. It does not where a sequence layer
    takes the batch for time (``batch_first``), where a ``view`` or ``transpose`` moves values between
    samples, or where a mean runs over the batch. Nodes of a graph and steps of one sequence depend on
    each other by design, so that only samples with a shape are judged, (B, …, C), or ids (B, T), with
    one target for each. Targets 0, 1, 2, … pair samples with each other (contrastive losses).

    Args:
        model: the model; it is left as it was.
        batch: inputs and targets.
        loss: as for `check`; without targets nothing is judged.
        seed: of everything random.
    """
    inputs, target, has_target = split_batch(batch, loss)
    if not has_target or not _each_has_its_own(inputs, target) or _over_the_batch(model):
        return ()
    moved = _moved(unwrapped(model), inputs, len(target), seed)
    if moved is None or not moved > _MOVED:
        return ()
    return (
        Finding(
            code="GI128",
            title="Samples mixed",
            severity="warning",
            where=(type(unwrapped(model)).__name__,),
            measure="change of the last sample's output when all others become copies of it, share of its "
            "squares, in eval mode",
            effect=moved,
            interval=None,
            expected=(0.0, _MOVED),
            cause="The output of one sample depends on the other samples of the batch, though each has a "
            "target of its own: a sequence layer takes the batch for time, a view or transpose moves values "
            "between samples, or a mean runs over the batch.",
            cure="batch_first=True in recurrent, attention and Transformer layers that are given "
            "(batch, time, features); reshape with the batch as the first dimension",
        ),
    )


def _each_has_its_own(inputs: Any, target: Any) -> bool:
    """Is there one target for each of the samples, which are more than single rows of numbers?"""
    first = next((tensor for _, tensor in tensors(inputs)), None)
    if first is None or not isinstance(target, torch.Tensor) or target.ndim == 0:
        return False
    numbered = torch.arange(len(target), device=target.device)
    if target.numel() != len(target) or torch.equal(target.flatten().long(), numbered):
        return False
    shaped = first.ndim >= 3 if first.is_floating_point() else first.ndim >= 2
    return shaped and first.shape[0] == len(target) >= 2


def _over_the_batch(model: nn.Module) -> bool:
    """Does a norm use the batch's statistics in eval mode as well?"""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        for module in model.modules()
    )


def _moved(model: nn.Module, inputs: Any, samples: int, seed: int) -> float | None:
    """Return by what share of its squares the last output moves; None where nothing can be said."""

    def copies(tensor: torch.Tensor) -> torch.Tensor:
        own = tensor.ndim and tensor.shape[0] == samples
        return tensor[-1:].expand_as(tensor).clone() if own else tensor.clone()

    found = []
    with kept_model(model), torch.inference_mode(False), torch.no_grad():
        model.eval()
        for fed in (inputs, map_tensors(inputs, copies)):
            example = given(map_tensors(fed, torch.clone))
            with kept_generators(seed, accelerators(model)):
                try:
                    output = model(*example.args, **example.kwargs)
                except Exception:  # a model that takes no copies cannot be judged so
                    return None
            if not isinstance(output, torch.Tensor) or output.shape[:1] != (samples,):
                return None
            found.append(output[-1].double())
    size = float(found[0].square().sum())
    moved = float((found[1] - found[0]).square().sum())
    return moved / size if size > 0 and math.isfinite(moved) else None
