"""Why gradients do not keep their size: two directions in conflict, torch's default, norms everywhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from goodinit.records import Finding, LayerSignal, ParameterSignal
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.kinds import is_embedding, is_norm
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_causes"]

# The same factor over the whole depth as a steady drift is allowed in `depth`.
_ALLOWED = 20.0
# A uniform draw of n elements has a relative std of √(9/5 − 1)/√n in its mean square; 6 of them, and the
# largest of n misses the edge by more than 20/n once in e²⁰ draws.
_SIGMAS, _EDGE = 6.0, 20.0
_SHARE = 0.8
# Half of the weight layers followed by a batch norm make a network of batch norms.
_NORMED = 0.5


def judge_causes(probe: Probe, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Name the cause beside findings on signals and gradients, where it is known.

    Args:
        probe: the measurement.
        found: what `judge_travel` and `judge_information` found in it.
    """
    codes = {finding.code: finding for finding in found}
    causes: list[Finding] = []
    back = codes.get("GI104") or codes.get("GI105")
    if back is not None:
        causes += _conflict(probe, back, not codes.keys() & {"GI102", "GI103"})
    if codes.keys() & {"GI102", "GI104", "GI108"}:
        causes += _default(probe)
    if "GI105" in codes:
        causes += _normed(probe, codes["GI105"])
    return tuple(causes)


def _conflict(probe: Probe, back: Finding, forward_kept: bool) -> list[Finding]:
    """Scale that holds the forward signal multiplies gradients, for some activations whatever one does."""
    line = points(probe.layers)
    kind, size = _activation(probe)
    if probe.structure or not forward_kept or not kind or len(line) < 4 or size is None:
        return []
    chi = _factor_back(kind, size)
    growth = chi ** (len(line) - 1) if chi is not None else 1.0
    if not growth > 0 or abs(math.log(growth)) < math.log(_ALLOWED) or (growth > 1) != (back.code == "GI105"):
        return []
    return [
        Finding(
            code="GI111",
            title="Forward–backward conflict",
            severity=back.severity,
            where=back.where,
            measure="factor of the gradient's second moment over the depth, at weights that hold the signal",
            effect=growth,
            interval=None,
            expected=(1.0 / _ALLOWED, _ALLOWED),
            cause=f"With {kind} at a second moment of {size:.2g}, weights that hold the signal multiply the "
            f"gradient's second moment by {chi:.3g} at each layer; weights that hold the gradient would "
            "let the "
            f"signal {'fade' if growth > 1 else 'grow or lose its input'}. The scale alone cures only one "
            "of them.",
            cure=f"{INITIALIZATION} looks for the scale where both hold best; or use skip connections or "
            "ReLU",
        )
    ]


def _activation(probe: Probe) -> tuple[str, float | None]:
    """Return the commonest activation and the median second moment that enters it."""
    from goodinit.errors import GoodinitError
    from goodinit.theory import activation

    kinds: Counter[str] = Counter()
    sizes: dict[str, list[float]] = {}
    for before, layer in zip(probe.layers, probe.layers[1:], strict=False):
        name = layer.kind.lower().removesuffix("activation")
        if layer.parametric or is_norm(layer.kind) or not before.parametric:
            continue
        try:
            activation(name)
        except (GoodinitError, ValueError):
            continue
        kinds[name] += 1
        sizes.setdefault(name, []).append(before.output.second_moment)
    if not kinds:
        return "", None
    name = kinds.most_common(1)[0][0]
    return name, sorted(sizes[name])[len(sizes[name]) // 2]


def _factor_back(kind: str, q: float) -> float | None:
    """Return χ = σ_w² E[φ′²] for the σ_w² = q/E[φ²] that holds the second moment q without biases."""
    from goodinit.errors import GoodinitError
    from goodinit.theory import moments

    try:
        seen = moments(kind, q)
    except GoodinitError:
        return None
    return q * seen.derivative_second_moment / seen.second_moment if seen.second_moment > 0 else None


def _default(probe: Probe) -> list[Finding]:
    """Weights follow U(−1/√fan_in, 1/√fan_in), torch's default for linear layers and convolutions."""
    if set(probe.structure) & {"normalised", "residual"}:
        return []
    weights = [
        p
        for p in probe.parameters
        if p.kind.startswith(("Linear", "Conv")) and len(p.shape) >= 2 and not is_embedding(p.kind)
    ]
    some = [p for p in weights if is_torch_default(p)]
    if len(some) < 3 or len(some) < _SHARE * len(weights):
        return []
    shares = sorted(p.value.second_moment * math.prod(p.shape[1:]) for p in some)
    return [
        Finding(
            code="GI119",
            title="Torch default in a deep plain net",
            severity="warning",
            where=tuple(p.name for p in some),
            measure="weight variance times fan-in, median",
            effect=shares[len(shares) // 2],
            interval=(shares[0], shares[-1]),
            expected=(1.0, 2.0),
            cause=f"{len(some)} of {len(weights)} weights follow torch's default, uniform on ±1/√fan_in, "
            "whose "
            "variance times fan-in is 1/3 where a deep plain network needs 1 (linear, tanh) to 2 (ReLU): "
            "every "
            "layer shrinks what differs between inputs, while its biases keep outputs up.",
            cure=INITIALIZATION,
        )
    ]


def is_torch_default(p: ParameterSignal) -> bool:
    """Do these weights follow U(−1/√fan_in, 1/√fan_in), in range, edge and mean square?

    A normal or wider draw is told apart from some 50 elements on.

    Args:
        p: a weight whose units are its first dimension.
    """
    fan_in, count = math.prod(p.shape[1:]), p.value.count
    if count < 50 or p.value.nonfinite:
        return False
    edge = p.largest * fan_in**0.5
    square = p.value.second_moment * fan_in * 3.0
    # Half-precision draws are rounded, by up to 2⁻⁸.
    rounding = 1e-5 if p.dtype in ("float32", "float64") else 2.0**-8
    near = abs(square - 1.0) <= _SIGMAS * math.sqrt(0.8 / count) + 2 * rounding
    return 1.0 - _EDGE / count - rounding <= edge <= 1.0 + rounding and near


def _normed(probe: Probe, back: Finding) -> list[Finding]:
    line = points(probe.layers)
    if "residual" in probe.structure or not line:
        return []
    norms = [layer for layer in probe.layers if "batchnorm" in layer.kind.lower().replace("_", "")]
    if len(norms) < _NORMED * len(line) or len(norms) < 4:
        return []
    per = back.effect ** (1.0 / max(len(line) - 1, 1))
    return [
        Finding(
            code="GI124",
            title="Batch-norm gradient growth",
            severity=back.severity,
            where=_ends(norms),
            measure="factor of the gradient's second moment per layer",
            effect=per,
            interval=None,
            expected=(1.0, _ALLOWED ** (1.0 / max(len(line) - 1, 1))),
            cause=f"{len(norms)} batch norms without skip connections: each divides by the batch's spread "
            "and so "
            f"multiplies gradients, here by {per:.3g} per layer, whatever the weights.",
            cure="add skip connections around pairs of layers, or replace the norms and initialise with "
            f"{INITIALIZATION}",
        )
    ]


def _ends(layers: Sequence[LayerSignal]) -> tuple[str, ...]:
    return (layers[0].name, layers[-1].name)
