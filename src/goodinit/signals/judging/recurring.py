"""Recurrent layers: how long they remember, and how their forget gates start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from goodinit.records import Finding, LayerSignal
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_recurrence", "severity_of_fading"]

# float32's rounding unit as a ratio of standard deviations: what is smaller is lost when it is added.
_LOST = 2.0**-48
# Orthogonal recurrences keep a gradient's second moment over any number of steps; this is a std ratio of
# 1,000.
_GROWN = 1e6
# E[y²] of a recurrence whose outputs mostly lie on tanh's flat part: of a normal with std 5, 0.8. Gates can
# only take from it.
_FULL_SWING = 0.8
# Steps over which orthogonal recurrent weights and tanh keep enough of the first (32 units, two draws: at 30
# both, at 40 one, at 60 none).
_CARRIED = 30
# A forget gate below this on average forgets nine tenths in two steps; torch's default is 1/2.
_SHUT = 0.3
# Factor of the memory's second moment per step below which a GRU's gates count as shut. By default it is 0.4;
# with update gates at σ(−1), 0.2, copies after 30 steps are learned as well; at σ(−4), below 0.1, they are
# not.
_CLOSED = 0.15
# Torch's default leaves forget gates at 0.5 ± 0.05 on average; a bias of 1 opens them to 0.73.
_HALF = 0.6
# From as many steps on it matters how a gate starts.
_STEPS = 8


@dataclass(frozen=True)
class _Fade:
    """How much of the input at the first step is left at the step that is read first."""

    layer: LayerSignal
    steps: int
    kept: float
    needed: bool

    @property
    def grave(self) -> bool:
        """Does learning depend on it? A GRU opens its gates in its first steps of training."""
        return self.needed and severity_of_fading(self.layer) != "note"


def judge_recurrence(probe: Probe) -> tuple[Finding, ...]:
    """Find recurrent layers whose end depends on their beginning too little, and why."""
    fades = [fade for layer in probe.layers if (fade := _fade(layer, probe)) is not None]
    return (*_memory(fades), *_explosion(probe.layers), *_flat(probe.layers), *_gates(probe, fades))


def _fade(layer: LayerSignal, probe: Probe) -> _Fade | None:
    """Compare what the last output depends on: the first step against the last.

    Where the loss reads the output only from some step on, the steps before it can reach
    the loss through the memory alone, so that fading is a fault; where it reads every
    step, memory that fades is a matter of how far back it must reach.
    """
    memory, total = layer.memory, _length(layer)
    if len(memory) < 2 or total < 2 or not memory[-1] > 0:
        return None
    read = _first_read(layer)
    # Memory is known for the last step only; a lag of so many steps looks alike from any other.
    lag = read if read > 0 else total - 1
    place = max(len(memory) - 1 - round(lag * (len(memory) - 1) / (total - 1)), 0)
    return _Fade(layer, lag, memory[place] / memory[-1], read > 0 or _unread(layer, probe))


def _unread(layer: LayerSignal, probe: Probe) -> bool:
    """Is the gradient at a cell's first call lost, so that the loss cannot have read it there?"""
    first = next((each for each in probe.layers if each.name == layer.name), layer)
    if layer.steps or first is layer or first.gradient is None or layer.gradient is None:
        return False
    return first.gradient.second_moment < _LOST * layer.gradient.second_moment


def _length(layer: LayerSignal) -> int:
    """Return the number of time steps: of a whole layer from its shape, of a cell from its calls."""
    if layer.steps and len(layer.shape) >= 2:
        return max((n for n in layer.shape[:2] if n >= len(layer.steps)), default=len(layer.memory))
    return max(layer.call + 1, len(layer.memory))


def _first_read(layer: LayerSignal) -> int:
    """Return the first step whose output the loss reads itself, as a number of steps; 0 where unknown."""
    if not layer.step_gradients or not max(layer.step_gradients) > 0:
        return 0
    first = next(at for at, size in enumerate(layer.step_gradients) if size > 0)
    return round(first * (_length(layer) - 1) / max(len(layer.step_gradients) - 1, 1))


def _memory(fades: Sequence[_Fade]) -> tuple[Finding, ...]:
    some = [fade for fade in fades if fade.kept < _LOST]
    if not some:
        return ()
    worst = min(some, key=lambda fade: (not fade.grave, not fade.needed, fade.kept))
    reach = math.log(_LOST) / math.log(worst.kept) * worst.steps if worst.kept > 0 else 0.0
    return (
        Finding(
            code="GI127",
            title="Recurrent memory fades",
            severity="warning" if worst.grave else "note",
            where=tuple(dict.fromkeys(fade.layer.name for fade in some)),
            measure=f"second moment of the last output's gradient {worst.steps} steps back, over that of "
            "the last",
            effect=worst.kept,
            interval=None,
            expected=(_LOST, 1.0 / _LOST),
            cause=f"What '{worst.layer.name}' took in {worst.steps} steps ago is lost in rounding; its "
            f"memory reaches some {reach:.0f} steps back. " + _meaning(worst),
            cure=_remember(worst),
        ),
    )


def _meaning(fade: _Fade) -> str:
    if not fade.needed:
        return "Fine where nothing farther back matters."
    if not fade.grave:
        return "The loss reads only the end; the gates of a GRU learn to keep what it needs."
    if "LSTM" in fade.layer.kind:
        return "The loss reads only the end, so that earlier steps are learned late or never."
    return "The loss reads only the end, so that earlier steps cannot be learned."


def severity_of_fading(layer: LayerSignal) -> str:
    """Return how grave it is that a recurrent layer forgets, from what was trained with each kind.

    On sums of two numbers and on copies after a gap, GRUs learn over 400 steps whatever fades at the
    start; LSTMs learn the sums over 150 steps, but copies after 20 steps at most; networks without
    gates learn neither where the gradient is lost (see docs/findings.md). Gates that start shut are no
    better than none.
    """
    if "LSTM" in layer.kind:
        return "warning"
    return "note" if "GRU" in layer.kind and _per_step(layer) > _CLOSED else "error"


def _per_step(layer: LayerSignal) -> float:
    """Return the factor by which the memory's second moment falls in a step, where it is not zero yet."""
    begin = next((at for at, size in enumerate(layer.memory) if size > 0), 0)
    places = len(layer.memory) - 1 - begin
    if places < 1:
        return 0.0
    steps = places * (_length(layer) - 1) / (len(layer.memory) - 1)
    return float((layer.memory[begin] / layer.memory[-1]) ** (1.0 / steps))


def _explosion(layers: Sequence[LayerSignal]) -> tuple[Finding, ...]:
    """Find recurrences in which a gradient grows from step to step."""
    some = [
        (max(layer.memory) / layer.memory[-1], layer)
        for layer in layers
        if len(layer.memory) >= 2 and layer.memory[-1] > 0 and max(layer.memory) > _GROWN * layer.memory[-1]
    ]
    if not some:
        return ()
    size, worst = max(some, key=lambda each: each[0])
    steps = _length(worst) - 1
    return (
        Finding(
            code="GI105",
            title="Exploding gradient",
            severity="error" if size > 1.0 / _LOST else "warning",
            where=tuple(dict.fromkeys(layer.name for _, layer in some)),
            measure=f"second moment of the last output's gradient up to {steps} steps back, over that of "
            "the last",
            effect=size,
            interval=None,
            expected=(_LOST, _GROWN),
            cause=f"On its way back through the steps of '{worst.name}' the gradient's second moment grows "
            "by a "
            f"factor of {size ** (1.0 / max(steps, 1)):.3g} per step: its recurrent weights are too large, "
            "so that "
            "the end depends chaotically on the beginning.",
            cure="goodinit.initialize(model), which makes recurrent weights orthogonal",
        ),
    )


def _flat(layers: Sequence[LayerSignal]) -> tuple[Finding, ...]:
    """Find recurrences whose outputs lie near plus and minus one."""
    some = [
        layer
        for layer in layers
        if layer.kind.removesuffix("Cell") in ("RNN", "GRU", "LSTM")
        and layer.histogram is not None
        and layer.histogram.low >= -1.0
        and layer.histogram.high <= 1.0
        and layer.output.second_moment > _FULL_SWING
    ]
    if not some:
        return ()
    worst = max(some, key=lambda layer: layer.output.second_moment)
    return (
        Finding(
            code="GI109",
            title="Saturated units",
            severity="warning",
            where=tuple(dict.fromkeys(layer.name for layer in some)),
            measure=f"second moment of the outputs of '{worst.name}', of which tanh allows 1",
            effect=worst.output.second_moment,
            interval=None,
            expected=(0.0, _FULL_SWING),
            cause=f"Most outputs of '{worst.name}' lie on the flat part of tanh: its weights, biases or "
            "inputs are too large, so that next to no gradient passes it.",
            cure="goodinit.initialize(model), which makes recurrent weights orthogonal",
        ),
    )


def _remember(fade: _Fade) -> str:
    if "LSTM" in fade.layer.kind or "GRU" in fade.layer.kind:
        return f"goodinit.initialize(model, goodinit.recipes.auto(horizon={max(fade.steps, 3)}))"
    if fade.steps <= _CARRIED:
        return "goodinit.initialize(model), which makes recurrent weights orthogonal; or use an LSTM"
    return (
        f"use torch.nn.LSTM or torch.nn.GRU, then goodinit.initialize(model, goodinit.recipes.auto(horizon="
        f"{fade.steps})): orthogonal weights carry this layer over some {_CARRIED} steps"
    )


def _gates(probe: Probe, fades: Sequence[_Fade]) -> tuple[Finding, ...]:
    worst: tuple[float, str, tuple[str, ...]] | None = None
    owners: dict[str, list[tuple[str, float]]] = {}
    for p in probe.parameters:
        if p.forget is not None:
            owner, _, leaf = p.name.rpartition(".")
            # The two biases of one layer and direction are added.
            owners.setdefault(f"{owner}|{leaf.replace('_hh', '').replace('_ih', '')}", []).append(
                (p.name, p.forget)
            )
    for key, parts in owners.items():
        total = sum(value for _, value in parts)
        if worst is None or total < worst[0]:
            worst = (total, key.partition("|")[0], tuple(name for name, _ in parts))
    if worst is None:
        return ()
    opened = 1.0 / (1.0 + math.exp(-worst[0]))
    mine = [fade for fade in fades if fade.layer.name == (worst[1] or probe.model) and fade.steps >= _STEPS]
    lost = any(fade.kept < _LOST and fade.needed for fade in mine)
    steps = max((fade.steps for fade in mine), default=0)
    if not mine or (opened >= _SHUT and not (opened < _HALF and any(fade.kept < _LOST for fade in mine))):
        return ()
    return (
        Finding(
            code="GI120",
            title="Forget-gate bias",
            severity="warning" if lost or opened < _SHUT else "note",
            where=worst[2],
            measure="mean of the forget gate where its inputs are zero",
            effect=opened,
            interval=None,
            expected=(_HALF, 1.0),
            cause=f"The forget gates of '{worst[1] or probe.model}' start at {opened:.2g}, so that a cell "
            "keeps "
            f"{opened:.2g} of itself in a step and {opened**steps:.1e} over the {steps} steps of this batch.",
            cure="set the forget part of the bias to 1 (Jozefowicz et al. 2015), as "
            "goodinit.initialize(model) does; or draw it for the time span: "
            f"goodinit.initialize(model, goodinit.recipes.auto(horizon={max(steps, 3)}))",
        ),
    )
