"""Outputs that cannot reach their targets, start far from them, or pair with all of them."""

from __future__ import annotations

import math
from typing import Final

from goodinit.records import Finding
from goodinit.signals.probing.targets import SAME_LOSS, Against

__all__ = ["FAR", "judge_targets"]

# Loss that no weights avoid, as a share of what knowing nothing costs: 0.18 to 0.71 for logits in [−1, 1] of
# 2 to 1,000 classes. Regressions with 0.5 learn half as much.
_UNREACHED: Final = 0.1
# Loss over that of zeros. A regression whose outputs start 10 times as large as its targets (120 to 170)
# learns, at 30 times (900 to 1,300) it keeps 0.5 of the variance in 300 steps where others keep 0.1. Critics
# beside an actor, and second tasks, learn at 3 to 241 and not at 574.
FAR: Final = 400.0
# As in GI121, for cross-entropies of probabilities.
_NATS: Final = 10.0


def judge_targets(seen: Against | None, model: str) -> tuple[Finding, ...]:
    """Find outputs that cannot reach their targets, start far from them, or pair with all of them.

    Args:
        seen: as from `against`.
        model: the model's name.
    """
    if seen is None:
        return ()
    if seen.reshaped is not None and abs(seen.reshaped - seen.loss) > SAME_LOSS * abs(seen.loss):
        return (_broadcast(seen.loss, seen.reshaped, model),)
    found = []
    if seen.left > _UNREACHED:
        found.append(_unreached(seen, model))
    # Class numbers are judged by GI121, with what chance makes of logits.
    most = FAR * seen.nothing if seen.classes is None else seen.nothing + _NATS
    if seen.numbers and seen.loss > most > 0:
        found.append(_far(seen.loss / seen.nothing, model))
    return tuple(found)


def _broadcast(loss: float, reshaped: float, model: str) -> Finding:
    return Finding(
        code="GI130",
        title="Output and target broadcast",
        severity="error",
        where=(model,),
        measure="loss of the output in its target's shape, over the loss as it is",
        effect=reshaped / loss if loss else math.inf,
        interval=None,
        expected=(1.0 - SAME_LOSS, 1.0 + SAME_LOSS),
        cause="Output and target have as many numbers in different shapes, such as (batch, 1) and (batch,), "
        "and the loss broadcasts them: it compares every output with every target, so that only their mean "
        "is learned.",
        cure="give both one shape: loss(output.reshape(target.shape), target), or target.unsqueeze(-1)",
    )


def _unreached(seen: Against, model: str) -> Finding:
    return Finding(
        code="GI129",
        title="Targets out of reach",
        severity="warning",
        where=(model,),
        measure="share of the loss that no weights avoid, of what knowing nothing costs",
        effect=seen.left,
        interval=None,
        expected=(0.0, _UNREACHED),
        cause=f"The model ends in {seen.operation}, whose range does not reach the targets: "
        f"{seen.left:.0%} of the loss is left whatever it learns.",
        cure=f"return what goes into the {seen.operation} (cross_entropy takes logits, and a regression a "
        "linear last layer), or bring the targets into its range",
    )


def _far(ratio: float, model: str) -> Finding:
    return Finding(
        code="GI131",
        title="Output far from its targets",
        severity="warning",
        where=(model,),
        measure="loss over that of zeros in place of the output",
        effect=ratio,
        interval=None,
        expected=(0.0, FAR),
        cause=f"Before it knows anything the model's loss is {ratio:.3g} times that of zeros in place "
        "of its output, which is far larger than the targets: training is busy with shrinking it.",
        cure="bring inputs and targets to size 1, (x - mean) / std of each feature over the training data; "
        "start the last layer small: torch.nn.init.zeros_ on its weight and bias, or "
        "goodinit.initialize(model)",
    )
