"""Which initialization suits the activations that a probe met."""

from __future__ import annotations

from collections import Counter
from typing import Final

from goodinit.signals.probe import Probe

__all__ = ["initialization", "travel_cure"]

# Activation to the recipe made for it (He et al. 2015, Glorot and Bengio 2010, Klambauer et al. 2017).
_RECIPES: Final = {
    **dict.fromkeys(
        ("relu", "relu6", "leakyrelu", "gelu", "silu", "elu", "mish", "softplus"), "kaiming_normal"
    ),
    **dict.fromkeys(("tanh", "softsign", "hardtanh", "sigmoid", "hardsigmoid"), "xavier_normal"),
    "selu": "lecun_normal",
}


def initialization(probe: Probe) -> str:
    """Return the call that initialises this model by the recipe for its commonest activation."""
    return f'goodinit.initialize(model, "{_RECIPES.get(_activation(probe), "kaiming_normal")}")'


def travel_cure(probe: Probe) -> str:
    """Return what cures a signal or gradient that does not keep its size."""
    activation = _activation(probe)
    if "normalised" in probe.structure and "residual" not in probe.structure:
        # Yang et al. 2019: batch norm makes gradients grow by a constant factor per layer at any scale.
        return "add skip connections: norms alone multiply gradients at every layer, whatever the weights"
    if activation in ("sigmoid", "hardsigmoid"):
        # E[σ'²] is at most 1/16, and E[σ]² is added to every layer alike.
        return (
            "use ReLU or Tanh in hidden layers (no usual weight scale keeps signals through Sigmoid), then "
            'goodinit.initialize(model, "kaiming_normal")'
        )
    return initialization(probe)


def _activation(probe: Probe) -> str:
    kinds = Counter(layer.kind.lower().replace("_", "").removesuffix("activation") for layer in probe.layers)
    known = [(count, kind) for kind, count in kinds.items() if kind in _RECIPES]
    return max(known, key=lambda each: each[0])[1] if known else ""
