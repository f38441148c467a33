"""probe, then diagnose: the health report of one model."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from goodinit.records import Report
from goodinit.signals.diagnose import diagnose, remarks
from goodinit.signals.origins import traced_back
from goodinit.signals.probe import probe

__all__ = ["check"]


def check(
    model: nn.Module,
    batch: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Report:
    """Measure one forward and one backward pass and say what is wrong, how strongly, and the cure.

    Args:
        model: any module with materialised parameters; it is left exactly as it was.
        batch: as for `probe`; None makes one from the first layer.
        loss: as for `probe`; None differentiates a random linear functional.
        seed: of everything random in the measurement.

    Returns:
        The report; `report.healthy` is True where nothing was found.

    Raises:
        ExampleError: if the model rejects the batch, or none can be made.
        TensorError: if parameters hold no values.

    >>> check(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))).healthy
    True
    """
    seen = probe(model, batch, loss=loss, seed=seed)
    return Report(
        model=seen.model,
        batch=seen.batch,
        loss=seen.loss,
        layers=seen.layers,
        parameters=seen.parameters,
        findings=traced_back(diagnose(seen), seen, model, batch, loss, seed),
        notes=(*seen.notes, *remarks(seen)),
        versions={"torch": torch.__version__, "python": platform.python_version()},
    )
