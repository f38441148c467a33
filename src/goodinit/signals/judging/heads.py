"""One of several outputs that is far larger than what the loss compares it with."""

from __future__ import annotations

from collections.abc import Sequence

from goodinit.records import Finding
from goodinit.signals.judging.targets import FAR
from goodinit.signals.probing.heads import Head

__all__ = ["judge_heads"]


def judge_heads(seen: Sequence[Head]) -> tuple[Finding, ...]:
    """Find an output beside others that alone makes up the loss.

    Its gradient is all that the layers before it see, and the other outputs learn nothing until it has
    shrunk: a critic, a second task or a log-variance whose head starts too large.

    Args:
        seen: as from `heads`.
    """
    far = [head for head in seen if head.ratio > FAR]
    if not far:
        return ()
    worst = max(far, key=lambda head: head.ratio)
    return (
        Finding(
            code="GI131",
            title="Output far from its targets",
            severity="warning",
            where=tuple(f"output {head.name}" for head in far),
            measure="loss over that of zeros or of normal numbers in place of this output",
            effect=worst.ratio,
            interval=None,
            expected=(0.0, FAR),
            cause=f"Of {len(seen)} outputs that the model returns, '{worst.name}' alone (root mean square "
            f"{worst.size:.3g}) makes the loss {worst.ratio:.3g} times what it is with numbers of size 1 "
            "in its place: the gradient of the layers that it shares with others is all its own.",
            cure="start the layer that makes this output small: torch.nn.init.zeros_ on its weight and bias; "
            "and bring its targets to size 1",
        ),
    )
