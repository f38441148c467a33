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
    from goodinit.theory.forecasting import Forecast, forecast
    from goodinit.theory.gains import gain
    from goodinit.theory.gated import GatedMoments, gated_moments
    from goodinit.theory.gaussian import ActivationMoments, moments
    from goodinit.theory.mean_field import Phase, chi_par, chi_perp, phase, q_map, q_star, q_trajectory
    from goodinit.theory.mirrored import MirroredPoint, mirrored_point
    from goodinit.theory.operating import OperatingPoint, end_correlation, operating_point
    from goodinit.theory.recurrence import RecurrentStates, recurrent_states

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
    "Forecast": "forecasting",
    "forecast": "forecasting",
    "MirroredPoint": "mirrored",
    "mirrored_point": "mirrored",
    "end_correlation": "operating",
    "gain": "gains",
    "ActivationMoments": "gaussian",
    "GatedMoments": "gated",
    "gated_moments": "gated",
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
    "RecurrentStates": "recurrence",
    "recurrent_states": "recurrence",
}

__all__ = [
    "Activation",
    "ActivationMoments",
    "CriticalPoint",
    "DepthScales",
    "Fans",
    "Forecast",
    "GatedMoments",
    "MirroredPoint",
    "OperatingPoint",
    "Phase",
    "RecurrentStates",
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
    "end_correlation",
    "finite_width_fluctuation",
    "forecast",
    "gain",
    "gated_moments",
    "linear_fans",
    "mirrored_point",
    "moments",
    "operating_point",
    "phase",
    "q_map",
    "q_star",
    "q_trajectory",
    "recurrent_states",
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
