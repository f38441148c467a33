"""Which taps of a convolution land on its input: at the edges of a small image many fall outside."""

from __future__ import annotations

import math

from goodinit.graph.contractions import named_arguments
from goodinit.graph.flow import Site
from goodinit.graph.tape import Tape

__all__ = ["inside"]


def inside(tape: Tape, site: Site) -> float:
    """Return the share of the weights of a result that meet an input and no padding; 1 without a convolution.

    A convolution joins input i and output o by tap t where i = o·stride − padding + t·dilation, a transposed
    one where o = i·stride − padding + t·dilation. The share is the number of such pairs over that
    without edges, taps/stride for each output of a transposed one.

    Args:
        tape: the record of the run.
        site: the operation.
    """
    if site.kind not in ("convolution", "conv_transpose"):
        return 1.0
    node = tape.nodes[site.node]
    named = named_arguments(node)
    if "stride" not in named or "input" not in named:
        return 1.0
    taps = site.shape[2:]
    count = len(taps)
    before = tape.values[named["input"].value].shape[-count:]
    after = tape.values[node.outputs[0]].shape[-count:]
    share = 1.0
    for dim in range(count):
        stride, padding, dilation = (_along(named[key], dim) for key in ("stride", "padding", "dilation"))
        small, large = (before, after) if named["transposed"] else (after, before)
        met = sum(
            _between(tap * dilation - padding, stride, small[dim], large[dim]) for tap in range(taps[dim])
        )
        whole = after[dim] * taps[dim] / (stride if named["transposed"] else 1)
        share *= met / whole if whole else 1.0
    return share if math.isfinite(share) and share > 0 else 1.0


def _between(start: int, step: int, count: int, size: int) -> int:
    """How many of start, start + step, … lie in [0, size)."""
    first = max(0, -(start // step))
    last = min(count, -((start - size) // step))
    return max(0, last - first)


def _along(sizes: list[int], dim: int) -> int:
    return int(sizes[dim] if len(sizes) > 1 else sizes[0])
