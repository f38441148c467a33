"""Weights that a network makes itself: a layer's results that are contracted as a matrix or a kernel is."""

from __future__ import annotations

from goodinit.graph.blocks import parameter_dims
from goodinit.graph.contractions import CONTRACTIONS
from goodinit.graph.flow import Flow, Link, Root

__all__ = ["generated_link"]


def generated_link(flow: Flow, root: Root) -> Link | None:
    """Return the link of a product over which generated weights arrive; None for two signals.

    Weights are what a layer put out in such a way that the dimensions which are summed, and others
    which are not, all run along that layer's features: of queries, keys and values one runs along
    positions.

    Args:
        flow: the coarse graph.
        root: a product of two signals.
    """
    if root.kind != "interaction" or root.node is None or len(root.links) < 2:
        return None
    node = flow.tape.nodes[root.node]
    if node.op in CONTRACTIONS:
        left, right, result = CONTRACTIONS[node.op][2:5]
        operands = list(zip(root.links, (left, right), (right, left), strict=False))
    elif root.links[1].part == "right":  # the kernel of a convolution
        operands, result = [(root.links[1], "okkkk", "kkkk")], "o"
    else:
        return None
    found = [
        link
        for link, own, other in operands
        if _runs_along_features(flow, link, own, [letter for letter in own if letter in result], other)
    ]
    return found[0] if len(found) == 1 else None


def _runs_along_features(flow: Flow, link: Link, own: str, kept: list[str], other: str) -> bool:
    maker, layout = flow.roots[link.root], link.layout
    if maker.site is None or maker.kind != "weight":
        return False
    features = {at for at, dim in maker.site.features.items() if dim in maker.site.output}
    shape, sizes = flow.tape.values[maker.value].shape, flow.tape.values[link.value].shape

    def along(letters: list[str]) -> set[int]:
        dims = [at for at, letter in enumerate(own[: len(sizes)]) if letter in letters]
        return set(parameter_dims(layout, shape, dims))

    summed = along([letter for letter in own if letter in other and letter not in kept])
    free = along([letter for letter in kept if letter not in other])
    return bool(summed and summed <= features and free & features)
