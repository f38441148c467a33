"""What to do about a signal or gradient that does not keep its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from goodinit.signals.probing.probe import Probe

__all__ = ["INITIALIZATION", "redrawn", "travel_cure", "unbiased"]

#: The call that fills a model by the default recipe, which looks at its activations itself.
INITIALIZATION: Final = "goodinit.initialize(model)"

_BOUNDED_AROUND_A_HALF: Final = ("sigmoid", "hardsigmoid")
_OTHERS: Final = (
    *("relu", "relu6", "leakyrelu", "gelu", "silu", "elu", "mish", "softplus", "selu"),
    *("tanh", "softsign", "hardtanh"),
)


def redrawn(probe: Probe, where: Iterable[str], zeros: bool = False) -> str:
    """Return what draws these parameters or layers anew, also where all elements have one value.

    The default recipe keeps constants, which an author may have chosen.

    Args:
        probe: the measurement.
        where: names of parameters, or of layers that own them.
        zeros: whether zeros are a fault here, too.
    """
    names = set(where)
    equal = tuple(
        p.name
        for p in probe.parameters
        if len(p.shape) >= 2
        and p.value.std == 0
        and (zeros or p.value.mean != 0)
        and names & {p.name, p.name.rpartition(".")[0]}
    )
    if not equal:
        return INITIALIZATION
    return (
        f"draw what has one value, which {INITIALIZATION} keeps as its author's choice: "
        f"for name in {equal!r}: torch.nn.init.normal_(model.get_parameter(name)); then {INITIALIZATION}"
    )


def unbiased(probe: Probe, cure: str) -> str:
    """Return a cure that first sets biases of one value to zero, where there are any.

    The default recipe keeps them as well. Those of the last layer may be a prior of classes.
    """
    last = next((layer.name for layer in reversed(probe.layers) if layer.parametric), "")
    equal = tuple(
        p.name
        for p in probe.parameters
        if p.name.endswith("bias")
        and len(p.shape) == 1
        and p.value.std == 0
        and p.value.mean != 0
        and p.name.rpartition(".")[0] != last
    )
    if not equal:
        return cure
    return (
        f"set biases of one value to zero, which {INITIALIZATION} keeps as their author's choice: "
        f"for name in {equal!r}: torch.nn.init.zeros_(model.get_parameter(name)); then {cure}"
    )


def travel_cure(probe: Probe) -> str:
    """Return what cures a signal or gradient that does not keep its size."""
    if "normalised" in probe.structure and "residual" not in probe.structure:
        # Yang et al. 2019: batch norm makes gradients grow by a constant factor per layer at any scale.
        return "add skip connections: norms alone multiply gradients at every layer, whatever the weights"
    if _commonest_activation(probe) in _BOUNDED_AROUND_A_HALF:
        # E[σ'²] is at most 1/16, and E[σ]² is added to every layer alike.
        return (
            "use ReLU or Tanh in hidden layers (no usual weight scale keeps signals through Sigmoid), then "
            f"{INITIALIZATION}"
        )
    return INITIALIZATION


def _commonest_activation(probe: Probe) -> str:
    kinds = Counter(layer.kind.lower().replace("_", "").removesuffix("activation") for layer in probe.layers)
    known = [(count, kind) for kind, count in kinds.items() if kind in _BOUNDED_AROUND_A_HALF + _OTHERS]
    return max(known, key=lambda each: each[0])[1] if known else ""
