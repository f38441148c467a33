"""Initialization as data: a plan with a row and a reason for every parameter of a PyTorch network.

The names below are loaded when they are first used, so that ``import goodinit``
costs next to nothing beyond ``import torch``.

Example:
    >>> import goodinit, torch
    >>> "kaiming_normal_" in dir(goodinit.init)
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodinit import (
        comparing,
        errors,
        graph,
        init,
        initializers,
        integrations,
        lab,
        plans,
        recipes,
        records,
        report,
        rng,
        signals,
        theory,
    )
    from goodinit.comparing.compare import compare
    from goodinit.errors import GoodinitError
    from goodinit.graph import trace
    from goodinit.plans import Plan, fill_
    from goodinit.plans.build import initialize, plan
    from goodinit.records import Comparison, Report
    from goodinit.signals import Monitor, check, diagnose, probe
    from goodinit.signals.coordinates import coordinate_check
    from goodinit.signals.jacobians.jacobian import jacobian_spectrum

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "GoodinitError",
    "Monitor",
    "Plan",
    "Report",
    "__version__",
    "check",
    "compare",
    "comparing",
    "coordinate_check",
    "diagnose",
    "errors",
    "fill_",
    "graph",
    "init",
    "initialize",
    "initializers",
    "integrations",
    "jacobian_spectrum",
    "lab",
    "plan",
    "plans",
    "probe",
    "recipes",
    "records",
    "report",
    "rng",
    "signals",
    "theory",
    "trace",
]

# Public name -> the module that offers it; a name that is absent here is a submodule.
# `plan` comes from where it is defined: mypy takes its re-export by `goodinit.plans` for a redefinition.
_HOME = {
    "Comparison": "goodinit.records",
    "GoodinitError": "goodinit.errors",
    "Monitor": "goodinit.signals",
    "Plan": "goodinit.plans",
    "Report": "goodinit.records",
    "check": "goodinit.signals",
    "compare": "goodinit.comparing.compare",
    "coordinate_check": "goodinit.signals.coordinates",
    "diagnose": "goodinit.signals",
    "fill_": "goodinit.plans",
    "initialize": "goodinit.plans.build",
    "jacobian_spectrum": "goodinit.signals.jacobians.jacobian",
    "plan": "goodinit.plans.build",
    "probe": "goodinit.signals",
    "trace": "goodinit.graph",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOME.get(name, f"{__name__}.{name}"))
    value = getattr(module, name) if name in _HOME else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
