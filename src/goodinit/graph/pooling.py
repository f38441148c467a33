"""Signals whose places are averaged, or of which the largest is picked, on the way to a weight."""

from __future__ import annotations

import math

from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.paths import walk_back

__all__ = ["KEPT_BY_AVERAGES", "averaged", "pooled"]

# Of values without a common part, a window of 3×3 keeps a ninth. Places of real data have much in common,
# which noise does not show, so that no larger average is taken to keep less.
KEPT_BY_AVERAGES = 1 / 9
_PASSED = {"move", "sum", "mixed", "center", "reduce", "product"}
_AVERAGES = ("avg_pool", "mean")
_POOLS = ("pool", "linear", "bicubic")


def pooled(flow: Flow, link: Link, mixed: frozenset[int]) -> bool:
    """Tell whether what a link reads was pooled since the last weight, norm or addition to a stream.

    Places of data have a common part that nobody knows, so that pooled data are not counted.

    Args:
        flow: the coarse graph.
        link: what a weight reads.
        mixed: products in which attention mixes values by a softmax.
    """
    for value in walk_back(flow, [link], _PASSED):
        root = flow.roots[value]
        if _pools(root) and value not in mixed:
            below = walk_back(flow, [item for item in root.links if item.part != "statistic"], _PASSED)
            if any(flow.roots[at].kind not in (*_PASSED, "data", "learned", "softmax") for at in below):
                return True
    return False


def averaged(flow: Flow, link: Link) -> Link | None:
    """Return what an average over many places was taken of, where a link reads just that; None for others."""
    while not any(node.pointwise for node in flow.between(link.value, link.root)):
        root = flow.roots[link.root]
        if root.kind not in ("move", "reduce") or len(root.links) != 1:
            return None
        below = root.links[0]
        if any(word in root.op for word in _AVERAGES):
            before, after = (math.prod(flow.tape.values[at].shape) for at in (below.value, root.value))
            return below if before * KEPT_BY_AVERAGES > after else None
        link = below
    return None


def _pools(root: Root) -> bool:
    if root.kind == "reduce":
        return True
    return root.kind == "move" and any(word in root.op for word in _POOLS)
