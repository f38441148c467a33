"""What a layer should put out whose results are used as weights: a hypernetwork's last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goodinit.graph import Sink, WeightUse

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["generated"]


def generated(travel: Travel, use: WeightUse, sink: Sink) -> tuple[float, str]:
    """Return (second moment, reason) for generated weights: the layer that they are puts out 1, or its share.

    Generated weights that sum n inputs of second moment m put out q if their second moment is

        q / (m · n)

    Args:
        travel: the traced network.
        use: the weight that makes weights.
        sink: where these are contracted.

    Source: Chang, Flokas & Lipson (2020), Principled weight initialization for hypernetworks, section 4.
    """
    wanted = 1.0
    if use.residual is not None and not use.residual.shortcut:
        wanted = travel.branch(use.residual, sink)[0]
    arriving = travel.beside(use, sink.beside) if sink.beside is not None else 1.0
    words = f"weights that sum {sink.sums:g} inputs of second moment {arriving:.3g}"
    return wanted / (arriving * sink.sums), f"{words} and put out {wanted:.3g}"
