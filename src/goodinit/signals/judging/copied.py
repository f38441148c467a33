"""Weights that are copies: of each other, or of their own other part."""

from __future__ import annotations

from goodinit.records import Finding, ParameterSignal
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.probing.probe import Probe

__all__ = ["copies", "judge_copies"]


def judge_copies(probe: Probe) -> tuple[Finding, ...]:
    """Find tensors whose shards repeat, and different parameters that hold equal values."""
    return (*_shards(probe), *_layers(probe))


def copies(probe: Probe) -> tuple[tuple[ParameterSignal, ...], ...]:
    """Return groups of different matrices that hold the same drawn values, by their moments.

    Equal mean, second moment and maximum in float64 cannot be chance for random draws. What a formula gives,
    such as the range of decays in each layer of a state space model, is equal on purpose.
    """
    groups: dict[tuple[object, ...], list[ParameterSignal]] = {}
    for p in probe.parameters:
        drawn = len(p.shape) >= 2 and p.value.std > 0 and p.value.count >= 4 and p.zeros < 0.5
        if drawn and p.formula is None:
            key = (p.shape, p.value.mean, p.value.second_moment, p.largest)
            groups.setdefault(key, []).append(p)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _shards(probe: Probe) -> tuple[Finding, ...]:
    some = [p for p in probe.parameters if p.repeats > 1]
    if not some:
        return ()
    worst = max(some, key=lambda p: p.repeats)
    return (
        Finding(
            code="GI116",
            title="Duplicated shards",
            severity="error",
            where=tuple(p.name for p in some),
            measure=f"equal chunks that '{worst.name}' consists of",
            effect=float(worst.repeats),
            interval=None,
            expected=(1.0, 1.0),
            cause=f"'{worst.name}' consists of {worst.repeats} equal chunks: every shard was drawn from "
            "the same "
            f"seed, so only 1/{worst.repeats} of its values are independent.",
            cure=f"{INITIALIZATION}, which draws every element by its place in the whole tensor, whatever "
            "the "
            "sharding",
        ),
    )


def _layers(probe: Probe) -> tuple[Finding, ...]:
    groups = copies(probe)
    if not groups:
        return ()
    largest = max(groups, key=len)
    return (
        Finding(
            code="GI115",
            title="Identical layers",
            # torch.nn.TransformerEncoder copies its layer, and trains: in series their gradients differ.
            severity="note",
            where=tuple(p.name for group in groups for p in group),
            measure=f"parameters that hold the values of '{largest[0].name}'",
            effect=float(len(largest)),
            interval=None,
            expected=(1.0, 1.0),
            cause=f"'{largest[0].name}' and '{largest[1].name}' hold equal values: copied (copy.deepcopy, "
            "torch.nn.TransformerEncoder) or drawn from one seed. Layers in series grow apart as their "
            "gradients "
            "differ; branches side by side that are joined alike stay equal.",
            cure=INITIALIZATION,
        ),
    )
