"""Do signals and gradients keep their size?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from goodinit.records import Finding, LayerSignal
from goodinit.signals.judging.cures import travel_cure
from goodinit.signals.judging.depth import (
    Effect,
    Noise,
    effect,
    expected,
    factor,
    interval,
    noise,
    severity,
    trend,
)
from goodinit.signals.probing.kinds import is_embedding, is_norm
from goodinit.signals.probing.probe import Probe

__all__ = [
    "backward_finding",
    "backward_points",
    "forward_finding",
    "judge_travel",
    "looseness",
    "points",
]

# One layer whose weights are off, compared with what entered the network.
_JUMP = 1e5
# Residual sums, norms and attention change scales between kinds of points by construction.
_LOOSER = 30.0
# 27 batch norms without skips (MobileNetV1, which trains) multiply a gradient by 1.7e4; 40 make it 3e5.
_BORNE = math.log(1e5)
# With fewer points none can be left out.
_FEW = 3
# A course foretold needs predictions at this many points and this share of them, and a measured change of
# this
# share of its logarithm.
_PREDICTED_POINTS, _PREDICTED_SHARE, _AGREED = 8, 0.8, 0.5
_BY_THEORY = ", as theory expects it of these weights"
# A gradient below this lost its digits on the way; a square of float32 cannot be smaller than 2e-90.
_UNDERFLOW = 1e-60
_SMALLEST = 1e-90


def points(layers: Sequence[LayerSignal]) -> tuple[LayerSignal, ...]:
    """Return the comparable points: first calls of the layers that multiply by weights."""
    return tuple(
        layer
        for layer in layers
        if layer.parametric
        and layer.call == 0
        and not is_norm(layer.kind)
        and not is_embedding(layer.kind)
        and not layer.output.nonfinite
    )


def backward_points(layers: Sequence[LayerSignal]) -> tuple[tuple[LayerSignal, float], ...]:
    """Return the points that a gradient reached, with its second moment, input side first.

    A gradient that is exactly zero is kept (at a floor) if it had faded away before, and
    left out if a weight of zeros cut it, which is the author's choice. Of a layer that is
    called several times the call that receives most counts: its weights learn by that.
    """
    most: dict[str, float] = {}
    for layer in layers:
        if layer.gradient is not None and not layer.gradient.nonfinite:
            most[layer.name] = max(most.get(layer.name, 0.0), layer.gradient.second_moment)
    kept: list[tuple[LayerSignal, float]] = []
    faded = False
    for layer in reversed(points(layers)):
        if layer.name not in most:
            continue
        size = most[layer.name]
        if size > 0:
            faded = size < _UNDERFLOW
            kept.append((layer, size))
        elif faded:
            kept.append((layer, _SMALLEST))
    return tuple(reversed(kept))


def _scale(probe: Probe) -> tuple[int, float]:
    """Return the index of the first norm, and the input's second moment, which that norm takes away.

    A norm makes what follows independent of the input's size: what comes before it is divided by that
    size, and gradients there are multiplied by it.
    """
    norm = next((layer.index for layer in probe.layers if is_norm(layer.kind)), 0)
    entered = probe.input.second_moment if probe.input is not None else 0.0
    return (norm, entered) if entered > 0 else (0, 1.0)


def _rescaled(probe: Probe) -> tuple[tuple[LayerSignal, float], ...]:
    norm, unit = _scale(probe)
    return tuple(
        (layer, size * unit if layer.index < norm else size) for layer, size in backward_points(probe.layers)
    )


def _entered(probe: Probe) -> float:
    """Return the second moment that the network starts from; 0 where nobody can tell."""
    if _scale(probe)[0]:
        return 1.0
    return probe.input.second_moment if probe.input and "normalised" not in probe.structure else 0.0


def _jump(
    layers: Sequence[LayerSignal], sizes: Sequence[float], entered: float, loose: float, branches: bool
) -> Effect | None:
    """Return the change from the input to the output if a single layer's scale is off."""
    chance = noise([layer.units for layer in layers])
    slack = math.log(_JUMP * loose)
    grown = math.log(sizes[-1] / entered)
    if grown > chance.high + slack:
        return Effect(grown, chance, slack)
    # A small last layer is a usual choice, so what fades is judged before it, unless that is a branch which a
    # skip connection passes by. So is a model that brings large inputs to size 1 itself (pixels / 255).
    faded = math.log((max(sizes[-2:]) if branches else sizes[-2]) / min(entered, 1.0))
    return Effect(faded, chance, slack) if faded < chance.low - slack else None


def judge_travel(probe: Probe) -> tuple[Finding, ...]:
    """Compare second moments across depth with what finite width and healthy design allow."""
    loose = looseness(probe)
    found = []
    forward = [layer for layer in points(probe.layers) if layer.output.second_moment > 0]
    if len(forward) >= 2:
        norm, unit = _scale(probe)
        sizes = [layer.output.second_moment / (unit if layer.index < norm else 1.0) for layer in forward]
        units = [layer.units for layer in forward[1:]]
        entered, branches = _entered(probe) or sizes[0], "residual" in probe.structure
        measured = effect(sizes, units, loose) or _jump(forward, sizes, entered, loose, branches)
        told = [None if layer.predicted is None else layer.predicted.value for layer in forward]
        change = measured or _foretold(told, sizes, units, loose)
        if change is not None:
            found.append(forward_finding(forward, change, travel_cure(probe), told=measured is None))
    backward = _rescaled(probe)
    if len(backward) >= 2:
        measured = _backward_effect(backward, loose)
        change = measured or _backward_foretold(backward, loose)
        if change is not None and not _by_design(probe, change):
            found.append(backward_finding(backward, change, travel_cure(probe), told=measured is None))
    return tuple(found)


def _by_design(probe: Probe, change: Effect) -> bool:
    """Is this the growth of gradients that norms give by themselves, and that training bears?

    On residual branches, a sum after each norm grows with depth, so that later branches count less:
    ResNet-50, -101 and -152 at their usual initialization multiply a gradient's second moment by 1e4, 1e7
    and 1e9.
    Without skip connections each batch norm multiplies it by up to 1.47.
    """
    if change.size < 0 or "normalised" not in probe.structure:
        return False
    if "residual" in probe.structure:
        return severity(change) != "error"
    return change.size < _BORNE and any("batchnorm" in layer.kind.lower() for layer in probe.layers)


def looseness(probe: Probe) -> float:
    """Return the factor by which what is allowed is widened for this model's building blocks."""
    return _LOOSER if probe.structure else 1.0


def _backward_effect(backward: Sequence[tuple[LayerSignal, float]], loose: float) -> Effect | None:
    units = [layer.units for layer, _ in backward[:-1]]
    turned = backward[::-1]
    return _whatever_the_shapes(
        lambda weight: _arriving([size * weight(layer) for layer, size in turned], units, loose)
    )


def _whatever_the_shapes(change: Callable[[Callable[[LayerSignal], float]], Effect | None]) -> Effect | None:
    """Return the change of gradients that no choice of shapes explains.

    Towards the input a gradient keeps its size per element under fan_out scaling, summed over a layer under
    fan_in scaling. A mean over positions hands each the same small gradient, which a weight that all
    share adds up again.

    Args:
        change: the change of second moments times a weight for each layer.
    """
    found = _common(change(lambda layer: 1.0), change(_elements))
    if found is None or found.size > 0:
        return found
    return _common(found, change(lambda layer: _elements(layer) ** 2 / max(layer.units, 1)))


def _arriving(sizes: Sequence[float], units: Sequence[int], loose: float) -> Effect | None:
    """Return how a gradient changes towards the input.

    What reaches an earlier layer has passed by a later one that received less (queries and keys, while
    attention is uniform), and has not vanished there.
    """
    change = effect(sizes, units, loose)
    if change is not None and change.size > 0 and len(sizes) > _FEW:
        # The last layer may be one of several heads, whose loss counts little.
        before = effect(sizes[1:], units[1:], loose)
        return change if before is not None and before.size > 0 else None
    if change is None or change.size > 0:
        return change
    passing = list(accumulate(reversed(sizes), max))[::-1]
    return _common(change, effect(passing, units, loose))


def _common(each: Effect | None, summed: Effect | None) -> Effect | None:
    if each is None or summed is None or (each.size > 0) != (summed.size > 0):
        return None
    return min(each, summed, key=lambda change: abs(change.size))


def _foretold(
    told: Sequence[float | None], sizes: Sequence[float], units: Sequence[int], loose: float
) -> Effect | None:
    """Return the change that theory expects of just these weights, where the measurement agrees.

    A prediction has no noise of finite width, so that a drift that chance could hide in
    the measurement is found in every draw.

    Args:
        told: predicted second moments, None where there is none.
        sizes: measured ones.
        units: of each layer passed.
        loose: as in `effect`.
    """
    pairs = [
        (value, size) for value, size in zip(told, sizes, strict=True) if value is not None and value > 0
    ]
    if len(pairs) < max(_PREDICTED_POINTS, _PREDICTED_SHARE * len(sizes)):
        return None
    change = effect([value for value, _ in pairs], units, loose, chance=Noise(0.0, 0.0))
    if change is None:
        return None
    measured = trend([size for _, size in pairs]).total * math.copysign(1.0, change.size)
    if measured < min(_AGREED * abs(change.size), change.slack):
        return None
    return Effect(change.size, Noise(0.0, noise(units, sizes).std), change.slack)


def _backward_foretold(backward: Sequence[tuple[LayerSignal, float]], loose: float) -> Effect | None:
    turned = backward[::-1]
    units = [layer.units for layer, _ in backward[:-1]]
    sizes = [size for _, size in turned]
    told = [
        None if layer.predicted_gradient is None else layer.predicted_gradient.value for layer, _ in turned
    ]

    def change(weight: Callable[[LayerSignal], float]) -> Effect | None:
        areas = [weight(layer) for layer, _ in turned]
        return _foretold(
            [None if value is None else value * area for value, area in zip(told, areas, strict=True)],
            [size * area for size, area in zip(sizes, areas, strict=True)],
            units,
            loose,
        )

    return _whatever_the_shapes(change)


def _elements(layer: LayerSignal) -> float:
    return math.prod(layer.shape) / max(layer.shape[0], 1) if layer.shape else 1.0


def _course(
    change: Effect, layers: Sequence[LayerSignal], sizes: Sequence[float], each: str = "layer"
) -> str:
    """Say how the change came about: at one layer, or evenly."""
    steps = [math.log(after / before) for before, after in pairwise(sizes)]
    largest = max(steps, key=lambda step: step * math.copysign(1.0, change.size), default=0.0)
    if largest * math.copysign(1.0, change.size) > abs(change.size) / 2:
        at = steps.index(largest)
        return f"by a factor of {factor(largest):.3g} between '{layers[at].name}' and '{layers[at + 1].name}'"
    per_layer = factor(change.size / max(len(steps), 1))
    return f"by a factor of {per_layer:.3g} per {each} over {len(layers)} {each}s"


def forward_finding(
    layers: Sequence[LayerSignal], change: Effect, cure: str, *, told: bool = False, each: str = "layer"
) -> Finding:
    """Return what to say of a change of outputs: over layers or over calls, measured or told by theory."""
    first, last = layers[0], layers[-1]
    vanishing = change.size < 0
    sizes = [layer.output.second_moment for layer in layers]
    course = _course(change, layers, sizes, each)
    return Finding(
        code="GI102" if vanishing else "GI103",
        title="Vanishing signal" if vanishing else "Exploding signal",
        severity=severity(change),
        where=tuple(dict.fromkeys((first.name, last.name))),
        measure=f"trend of the second moment of layer outputs, last over first{_BY_THEORY if told else ''}",
        effect=factor(change.size),
        interval=interval(change),
        expected=expected(change),
        cause=f"The second moment changes {course}, from {sizes[0]:.2e} to {sizes[-1]:.2e}: the weights "
        f"are too {'small' if vanishing else 'large'} for their fan-in and activation.",
        cure=cure,
    )


def backward_finding(
    backward: Sequence[tuple[LayerSignal, float]],
    change: Effect,
    cure: str,
    *,
    told: bool = False,
    each: str = "layer",
) -> Finding:
    """Return the same of a change of gradients; the pairs are layers (or calls) with sizes, in order."""
    turned = backward[::-1]
    sizes = [size for _, size in turned]
    course = _course(change, [layer for layer, _ in turned], sizes, each)
    vanishing = change.size < 0
    return Finding(
        code="GI104" if vanishing else "GI105",
        title="Vanishing gradient" if vanishing else "Exploding gradient",
        severity=severity(change),
        where=tuple(dict.fromkeys((backward[0][0].name, backward[-1][0].name))),
        measure=f"trend of the second moment of gradients at layer outputs, first {each} over "
        f"last{_BY_THEORY if told else ''}",
        effect=factor(change.size),
        interval=interval(change),
        expected=expected(change),
        cause=f"On the way back the gradient's second moment changes {course}, from {sizes[0]:.2e} to "
        f"{sizes[-1]:.2e}: weight scale times activation slope is {'below' if vanishing else 'above'} one.",
        cure=cure,
    )
