"""Weights that a network makes itself: a layer's results that are contracted as a matrix or a kernel is."""

from __future__ import annotations

from goodinit.graph.blocks import parameter_dims
from goodinit.graph.contractions import CONTRACTIONS
from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.joining import features
from goodinit.graph.tape import Node

__all__ = ["generated_link", "summed_product"]


def generated_link(flow: Flow, root: Root) -> Link | None:
    """Return the link of a product over which generated weights arrive; None for two signals.

    Weights are what a layer put out in such a way that the dimensions which are summed, and others
    which are not, all run along that layer's features: of queries, keys and values one runs along
    positions.

    Args:
        flow: the coarse graph.
        root: a product of two signals, or a sum of one.
    """
    if root.node is None:
        return None
    node = flow.tape.nodes[root.node]
    inner = summed_product(flow, root)
    if inner is not None:
        operands, result = _letters(flow, inner, node)
    elif root.kind != "interaction" or len(root.links) < 2:
        return None
    elif node.op in CONTRACTIONS:
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


def summed_product(flow: Flow, root: Root) -> Root | None:
    """Return the product of two signals, element by element, that a root sums over some dimensions."""
    if root.kind != "reduce" or root.op != "sum" or len(root.links) != 1 or root.node is None:
        return None
    below, args = flow.roots[root.links[0].root], flow.tape.nodes[root.node].args
    direct = below.kind == "product" and below.value == root.links[0].value and len(below.links) == 2
    return below if direct and len(args) > 1 and args[1] else None


def _letters(flow: Flow, product: Root, node: Node) -> tuple[list[tuple[Link, str, str]], str]:
    """A summed product as a contraction: a letter for each dimension, none where a factor is repeated."""
    values = flow.tape.values
    shape = values[product.value].shape
    names = [chr(ord("a") + at) for at in range(len(shape))]
    gone = {int(dim) % len(shape) for dim in node.args[1]}

    def own(link: Link) -> str:
        sizes = values[link.value].shape
        pairs = zip(sizes, names[len(names) - len(sizes) :], strict=True)
        return "".join(name if size > 1 else "_" for size, name in pairs)

    one, other = product.links
    result = "".join(name for at, name in enumerate(names) if at not in gone)
    return [(one, own(one), own(other)), (other, own(other), own(one))], result


def _runs_along_features(flow: Flow, link: Link, own: str, kept: list[str], other: str) -> bool:
    maker, layout = flow.roots[link.root], link.layout
    made = features(flow, maker)
    if not made:
        return False
    shape, sizes = flow.tape.values[maker.value].shape, flow.tape.values[link.value].shape

    def along(letters: list[str]) -> set[int]:
        dims = [at for at, letter in enumerate(own[: len(sizes)]) if letter in letters]
        return set(parameter_dims(layout, shape, dims))

    summed = along([letter for letter in own if letter in other and letter not in kept])
    free = along([letter for letter in kept if letter not in other])
    return bool(summed and summed <= made and free & made)
