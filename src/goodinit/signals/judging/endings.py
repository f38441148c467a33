"""The end of the network: logits at the start, and heads that share their weight with an embedding."""

from __future__ import annotations

import math

from goodinit.records import Finding, LayerSignal, ParameterSignal
from goodinit.signals.judging.depth import factor, noise
from goodinit.signals.judging.travel import points
from goodinit.signals.probing.kinds import is_embedding
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_endings"]

# Logits of std s cost s²/2 nats more than none while that is below 1 (1 with He's gain in the head), then
# about s.
_NATS = 10.0
# How much more a loss may cost than logits of the last layer's size, before a factor is to blame.
_BEYOND = 10.0
# Second moment of logits from a shared table: std 1/√dim gives 1, torch's default for embeddings gives dim.
_LOGITS = 9.0


def judge_endings(probe: Probe) -> tuple[Finding, ...]:
    """Find a loss far above that of no logits at all, and shared embeddings too large for a head."""
    return (*_loss(probe), *_tied(probe))


def _loss(probe: Probe) -> tuple[Finding, ...]:
    baseline, loss, classes = probe.baseline, probe.loss, probe.classes
    if baseline is None or loss is None or classes is None or not baseline > 0 or not math.isfinite(loss):
        return ()
    # The baseline is ln C of each item; a sum over items is so many times that.
    nats = math.log(classes)
    excess = (loss / baseline - 1.0) * nats
    most = _allowed(probe)
    if excess <= most:
        return ()
    last = next((layer for layer in reversed(probe.layers) if layer.parametric), None)
    size = ""
    cure = (
        "start the last layer small: torch.nn.init.zeros_ on its weight and bias, or "
        "goodinit.initialize(model)"
    )
    if last is not None:
        root = math.sqrt(last.output.second_moment)
        size = f" The last layer's outputs have a second moment of {last.output.second_moment:.3g}."
        # The largest of C normal logits of size r lies near r √(2 ln C).
        if excess > _BEYOND * root * math.sqrt(2.0 * nats):
            size = (
                f" '{last.name}' puts out numbers of size {root:.3g}, which cannot cost so much: what "
                "follows multiplies them."
            )
            cure = (
                f"a smaller factor behind '{last.name}', such as a temperature that starts at 0.07 "
                "(factor 14, CLIP)"
            )
    return (
        Finding(
            code="GI121",
            title="Logits too large at the start",
            severity="warning",
            where=(last.name if last is not None else "loss",),
            measure=f"loss above that of equal logits (ln {classes} = {nats:.3g}), in nats",
            effect=excess,
            interval=None,
            expected=(-nats, most),
            cause="Before it knows anything the network is sure and wrong: the loss is "
            f"{nats + excess:.3g} nats for "
            f"{classes} classes where equal logits give ln {classes} = {nats:.3g}.{size}",
            cure=cure,
        ),
    )


def _allowed(probe: Probe) -> float:
    """Return the excess that is allowed, with what chance makes of logits in a plain deep network."""
    widths = [layer.units for layer in points(probe.layers)[:-1]]
    chance = 0.0 if "normalised" in probe.structure else noise(widths).high
    return _NATS * factor(chance / 2.0)


def _tied(probe: Probe) -> tuple[Finding, ...]:
    some = []
    for p in probe.parameters:
        head = _head(probe, p)
        if head is not None and head.output.second_moment > _LOGITS:
            some.append((p, head))
    if not some:
        return ()
    p, head = max(some, key=lambda each: each[1].output.second_moment)
    return (
        Finding(
            code="GI122",
            title="Tied embedding scale",
            severity="warning",
            where=(p.name, *p.tied),
            measure=f"second moment of the logits that '{head.name}' makes of the shared weight",
            effect=head.output.second_moment,
            interval=None,
            expected=(0.0, _LOGITS),
            cause=f"'{p.name}' is both the embedding and the head. Its std of {p.value.std:.3g} is too "
            "large for a "
            f"head of {p.shape[-1]} inputs: logits have a std of {head.output.second_moment**0.5:.3g}.",
            cure=f"torch.nn.init.normal_(model.get_parameter({p.name!r}), "
            f"std={p.shape[-1]} ** -0.5), and multiply the embedding's output by "
            f"{p.shape[-1]} ** 0.5 where it needs size 1; goodinit.initialize(model) sets the former",
        ),
    )


def _head(probe: Probe, p: ParameterSignal) -> LayerSignal | None:
    """Return the layer that multiplies by a weight that an embedding looks up as well."""
    owners = {name.rpartition(".")[0] for name in (p.name, *p.tied)}
    looked_up = is_embedding(p.kind) or any(
        layer.name in owners and is_embedding(layer.kind) for layer in probe.layers
    )
    if not looked_up or len(p.shape) != 2:
        return None
    names = owners | {p.name, *p.tied}
    return next(
        (
            layer
            for layer in reversed(probe.layers)
            if layer.name in names
            and not is_embedding(layer.kind)
            and layer.shape[-1:] == p.shape[:1]
            and not layer.output.nonfinite
        ),
        None,
    )
