"""What theory says about a layer: fans, Gaussian moments, gains and mean-field maps.

Everything takes an activation as a name, an ``nn.Module``, or any elementwise
callable, and treats it as a black box. Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodinit.theory.activations import Activation, activation, activation_names
    from goodinit.theory.correlation import (
        DepthScales,
        c_star,
        correlation_map,
        correlation_slope,
        depth_scales,
    )
    from goodinit.theory.critical import CriticalPoint, critical_point
    from goodinit.theory.fans import (
        Fans,
        bilinear_fans,
        conv_fans,
        conv_transpose_fans,
        embedding_fans,
        linear_fans,
        shape_fans,
    )
    from goodinit.theory.finite_width import finite_width_fluctuation
    from goodinit.theory.gains import gain
    from goodinit.theory.gaussian import ActivationMoments, GatedMoments, gated_moments, moments
    from goodinit.theory.mean_field import Phase, chi_par, chi_perp, phase, q_map, q_star, q_trajectory
    from goodinit.theory.operating import OperatingPoint, operating_point

_HOME = {
    "Activation": "activations",
    "activation": "activations",
    "activation_names": "activations",
    "DepthScales": "correlation",
    "c_star": "correlation",
    "correlation_map": "correlation",
    "correlation_slope": "correlation",
    "depth_scales": "correlation",
    "CriticalPoint": "critical",
    "critical_point": "critical",
    "Fans": "fans",
    "bilinear_fans": "fans",
    "conv_fans": "fans",
    "conv_transpose_fans": "fans",
    "embedding_fans": "fans",
    "linear_fans": "fans",
    "shape_fans": "fans",
    "finite_width_fluctuation": "finite_width",
    "gain": "gains",
    "ActivationMoments": "gaussian",
    "GatedMoments": "gaussian",
    "gated_moments": "gaussian",
    "moments": "gaussian",
    "OperatingPoint": "operating",
    "operating_point": "operating",
    "Phase": "mean_field",
    "chi_par": "mean_field",
    "chi_perp": "mean_field",
    "phase": "mean_field",
    "q_map": "mean_field",
    "q_star": "mean_field",
    "q_trajectory": "mean_field",
}

__all__ = [
    "Activation",
    "ActivationMoments",
    "CriticalPoint",
    "DepthScales",
    "Fans",
    "GatedMoments",
    "OperatingPoint",
    "Phase",
    "activation",
    "activation_names",
    "bilinear_fans",
    "c_star",
    "chi_par",
    "chi_perp",
    "conv_fans",
    "conv_transpose_fans",
    "correlation_map",
    "correlation_slope",
    "critical_point",
    "depth_scales",
    "embedding_fans",
    "finite_width_fluctuation",
    "gain",
    "gated_moments",
    "linear_fans",
    "moments",
    "operating_point",
    "phase",
    "q_map",
    "q_star",
    "q_trajectory",
    "shape_fans",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"goodinit.theory.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'goodinit.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
