"""Monitors and checks inside other tools; each module is imported only when it is asked for.

`lightning.MonitorCallback`, `transformers.MonitorCallback`, `tensorboard.TensorBoardWriter`,
`wandb.WandbWriter`, and the pytest fixtures of `pytest_plugin`.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["lightning", "pytest_plugin", "scalars", "tensorboard", "transformers", "wandb"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
