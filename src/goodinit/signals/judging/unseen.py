"""Was anything seen that could be judged?"""

from __future__ import annotations

import math

from goodinit.records import Finding
from goodinit.signals.probing.probe import Probe

__all__ = ["judge_unseen"]


def judge_unseen(probe: Probe) -> tuple[Finding, ...]:
    """Find models whose parameters act where nothing is recorded, which must not be called healthy.

    >>> import torch
    >>> from goodinit.signals.probing.probe import probe
    >>> class Mapped(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.body = torch.nn.Linear(3, 2)
    ...     def forward(self, x):
    ...         return torch.func.vmap(self.body)(x)
    >>> [finding.code for finding in judge_unseen(probe(Mapped(), torch.randn(8, 3)))]
    ['GI132']
    """
    trainable = [p for p in probe.parameters if p.trainable and p.value.count > 1]
    if not trainable or any(layer.parametric for layer in probe.layers):
        return ()
    count = len(trainable)
    return (
        Finding(
            code="GI132",
            title="Nothing to judge",
            severity="warning",
            where=tuple(p.name for p in trainable),
            measure="layers that use trainable parameters, of those that ran",
            effect=0.0,
            interval=None,
            expected=(1.0, math.inf),
            cause=f"No layer was seen to use the model's {count} trainable parameter{'s'[: count > 1]}: they "
            "multiply element by element, or act inside torch.func transforms. What happens to signals and "
            "gradients with depth was not judged.",
            cure="check the model with its weights in torch.nn layers, torch.nn.functional.linear or @, "
            "outside of torch.func.vmap",
        ),
    )
