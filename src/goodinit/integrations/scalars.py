"""A measured step as named numbers, the form that dashboards take."""

from __future__ import annotations

from goodinit.records import MonitorStep

__all__ = ["scalars"]


def scalars(step: MonitorStep) -> dict[str, float]:
    """Return the numbers of a step under names such as ``gradient_rms/encoder.0``.

    Sizes are root mean squares, so that they read in the unit of the values; `dead` is a
    share of units. What was not measured is left out; NaN and infinity are kept.

    >>> from goodinit.records import LayerStep
    >>> layer = LayerStep("fc", "Linear", 0, 1, 4.0, None, 8, None, None, True)
    >>> scalars(MonitorStep(0, 0.5, None, (layer,), ()))
    {'loss': 0.5, 'output_rms/fc': 2.0}
    """
    found: dict[str, float | None] = {
        "loss": step.loss,
        "gradient_balance": step.balance,
        "gradient_balance_drift": step.drift,
        "start_kept": step.kept,
    }
    for layer in step.layers:
        name = f"{layer.name}.{layer.call}" if layer.call else layer.name
        found[f"output_rms/{name}"] = layer.output**0.5
        found[f"gradient_rms/{name}"] = None if layer.gradient is None else layer.gradient**0.5
        found[f"dead/{name}"] = None if layer.dead is None else layer.dead / max(layer.units, 1)
        found[f"saturated/{name}"] = layer.saturated
    for parameter in step.parameters:
        found[f"gradient_over_weight/{parameter.name}"] = parameter.gradient_ratio
        found[f"update_over_weight/{parameter.name}"] = parameter.update_ratio
        found[f"start_kept/{parameter.name}"] = parameter.kept
    return {name: value for name, value in found.items() if value is not None}
