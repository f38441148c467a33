"""Units that cannot learn: dead for every sample, or saturated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import INITIALIZATION, unbiased
from goodinit.signals.judging.information import share
from goodinit.signals.probing.kinds import is_norm
from goodinit.signals.probing.probe import Probe

__all__ = ["expected_dead", "judge_units"]

# Share of units beyond chance before it is worth a finding.
_MARGIN = 0.1
# Probability that a healthy layer exceeds the bound.
_FALSE_ALARM = 1e-6
# Enough against the sign symmetry where the input varies so much that chance makes next to no unit dead.
# `expected_dead` takes all samples as equally correlated, which is rough deep in a network, so the ReLU layer
# before must also show that hardly any unit is the same for the whole batch.
_HINT, _RARE = 1e-3, 0.05
# Share of a layer in the flat part of its activation. Deep sigmoids and hard sigmoids at the scale that keeps
# signals and gradients have 0.5 and 0.7 there, and up to 0.55 and 0.85 by chance; hard ones pass gradients of
# full size elsewhere.
_SATURATED, _SATURATED_HARD = 0.65, 0.9


def judge_units(probe: Probe) -> tuple[Finding, ...]:
    """Find ReLU layers with more dead units than chance explains, and saturated layers.

    Deep in a healthy network all samples look alike, and a unit that is zero for one is
    zero for all. But weights are as likely as their negatives: for each unit that is
    never on, chance makes one that is never off. So dead units are tested against
    those by a binomial with p = 1/2; in layers too narrow for that alone, and whose
    input varies, also against `expected_dead`. A layer in which every unit is dead
    needs no test.
    """
    dead = [layer for layer in probe.layers if _too_many_dead(layer, probe)]
    flat = [layer for layer in probe.layers if (layer.saturated or 0.0) > _flat_allowed(layer)]
    return (*_dead_finding(dead, unbiased(probe, INITIALIZATION)), *_flat_finding(flat, INITIALIZATION))


def expected_dead(varying: float, samples: int) -> float:
    """Return the share of healthy ReLU units that are zero for all samples of a batch by chance.

    Pre-activations are normal with mean 0 and correlation c between samples, so
    P = ∫ Φ(−u √(c/(1−c)))ᴮ φ(u) du.

    Args:
        varying: 1 − c, the share of the input's second moment that differs between samples.
        samples: B, the number of samples.

    >>> round(expected_dead(1.0, 2), 6)
    0.25
    >>> round(expected_dead(0.5, 2), 6)  # 1/4 + asin(c)/2π
    0.333333
    """
    correlation = min(max(1.0 - varying, 0.0), 1.0)
    if correlation == 1.0 or samples <= 1:
        return 0.5
    scale = math.sqrt(correlation / (1.0 - correlation))
    # Trapezoids are exact to double precision: the integrand and its derivatives vanish at ±8.
    step, total = 0.02, 0.0
    for k in range(-400, 401):
        u = k * step
        total += (0.5 * math.erfc(u * scale / math.sqrt(2.0))) ** samples * math.exp(-u * u / 2.0)
    return total * step / math.sqrt(2.0 * math.pi)


def _too_many_dead(layer: LayerSignal, probe: Probe) -> bool:
    if layer.dead is None or layer.always_on is None or layer.units < 2 or layer.output.nonfinite:
        return False
    if layer.dead == layer.units:
        return True
    if layer.dead - layer.always_on <= _MARGIN * layer.units:
        return False
    by_sign = _tail(layer.dead, layer.dead + layer.always_on, 0.5)
    if by_sign < _FALSE_ALARM:
        return True
    chance = expected_dead(_entering(layer, probe), layer.shape[0])
    varied = chance < _RARE and _settled_before(layer, probe) < _RARE
    return by_sign < _HINT and varied and _tail(layer.dead, layer.units, chance) < _FALSE_ALARM


def _settled_before(layer: LayerSignal, probe: Probe) -> float:
    """Return the share of units of the ReLU layer before that are on or off for all samples."""
    for each in reversed(probe.layers[: layer.index]):
        if each.dead is not None and each.always_on is not None:
            return (each.dead + each.always_on) / each.units
    return 0.0


def _entering(layer: LayerSignal, probe: Probe) -> float:
    """Return how much of what enters the weights before this layer differs between samples."""
    before = probe.layers[: layer.index]
    weights = next((each.index for each in reversed(before) if each.parametric and not is_norm(each.kind)), 0)
    if weights > 0:
        return share(probe.layers[weights - 1])
    if probe.input is None or not probe.input_varying or not probe.input.second_moment > 0:
        return 0.0
    return probe.input_varying / probe.input.second_moment


def _tail(successes: int, trials: int, chance: float) -> float:
    """Return P(X >= successes) for X binomial."""
    from scipy.stats import binom

    return float(binom.sf(successes - 1, trials, chance))


def _dead_finding(dead: Sequence[LayerSignal], cure: str) -> tuple[Finding, ...]:
    if not dead:
        return ()
    worst = max(dead, key=lambda layer: ((layer.dead or 0) - (layer.always_on or 0)) / layer.units)
    count, on = worst.dead or 0, worst.always_on or 0
    return (
        Finding(
            code="GI106",
            title="Dead units",
            severity="error" if count > worst.units / 2 else "warning",
            where=tuple(layer.name for layer in dead),
            measure=f"share of units of '{worst.name}' that are zero for every sample",
            effect=count / worst.units,
            interval=None,
            expected=(0.0, on / worst.units + _MARGIN),
            cause=f"{count} of {worst.units} units of '{worst.name}' are zero for the whole batch and get no "
            f"gradient, where {on} are on for the whole batch: biases or input means push them down.",
            cure=cure,
        ),
    )


def _flat_allowed(layer: LayerSignal) -> float:
    return _SATURATED_HARD if layer.kind.lower().startswith(("hard", "relu6")) else _SATURATED


def _flat_finding(flat: Sequence[LayerSignal], cure: str) -> tuple[Finding, ...]:
    if not flat:
        return ()
    worst = max(flat, key=lambda layer: layer.saturated or 0.0)
    return (
        Finding(
            code="GI109",
            title="Saturated units",
            severity="warning",
            where=tuple(layer.name for layer in flat),
            measure=f"share of '{worst.name}' where the derivative is under 1 % of its largest",
            effect=worst.saturated or 0.0,
            interval=None,
            expected=(0.0, _flat_allowed(worst)),
            cause=f"Inputs of '{worst.name}' are too large: most outputs lie on the activation's flat part.",
            cure=cure,
        ),
    )
