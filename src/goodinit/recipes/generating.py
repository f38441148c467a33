"""What a layer should put out whose results are used as weights: a hypernetwork's last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goodinit.graph import Sink, WeightUse
from goodinit.recipes.branching import branch

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["generated", "generated_share"]


def generated(travel: Travel, use: WeightUse, sink: Sink) -> tuple[float, str]:
    """Return (second moment, reason) for generated weights: the layer that they are puts out 1, or its share.

    Generated weights that sum n inputs of second moment m put out q if their second moment is

        q / (m · n)

    m · n is measured on the recorded operations, since weights and inputs may depend on one signal.

    Args:
        travel: the traced network.
        use: the weight that makes weights.
        sink: where these are contracted.

    Source: Chang, Flokas & Lipson (2020), Principled weight initialization for hypernetworks, section 4.
    """
    wanted = generated_share(travel, use)
    put_out = sink.sums if sink.yields is None else travel.asked(sink.yields)
    words = f"weights that sum {sink.sums:g} inputs of second moment {put_out / sink.sums:.3g}"
    return wanted / put_out, f"{words} and put out {wanted:.3g}"


def generated_share(travel: Travel, use: WeightUse) -> float:
    """Return the second moment that a layer of generated weights puts out: 1, or its branch's share."""
    if use.residual is not None and not use.residual.shortcut and use.sink.kind == "generated":
        return branch(travel, use.residual, use.sink)[0]
    return 1.0
