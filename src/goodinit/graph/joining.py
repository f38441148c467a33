"""Signals that are laid side by side, and which of them a reader of the whole reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from goodinit.graph.blocks import parameter_dims
from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.layout import Span, span_along

__all__ = ["besides", "features", "reads"]

_JOINS = ("cat", "stack")


def reads(flow: Flow, link: Link, read: Link) -> bool:
    """Tell whether what reads a joined signal reads one part of it; True where nothing was joined.

    Args:
        flow: the coarse graph.
        link: from the joined signal to the part.
        read: from the reader to the joined signal.
    """
    root = flow.roots[read.root]
    places = _places(flow, root)
    if not places or read.layout.empty:
        return True
    dim = _dim(flow, root)
    span = span_along(read.layout, flow.tape.values[root.value].shape, dim)
    own = [place for part, place in places if part == link]
    return not own or any(_meet(span, place) for place in own)


def besides(flow: Flow, links: Sequence[Link]) -> tuple[Link, ...]:
    """Return what was made earlier and is joined to a signal on its way.

    Args:
        flow: the coarse graph.
        links: from the signal to what reads it, the first one first.
    """
    for before, after in pairwise(links):
        places = _places(flow, flow.roots[after.root])
        if any(part == before for part, _ in places):
            return tuple(part for part, _ in places if part.root < links[0].root and reads(flow, part, after))
    return ()


def _meet(span: Span, place: Span) -> bool:
    return any(start < place.stop and place.start < stop for start, stop in span.runs())


def features(flow: Flow, root: Root) -> frozenset[int]:
    """Return the dimensions of a result that run along what a layer puts out, or several joined ones."""
    if root.kind == "weight" and root.site is not None:
        return frozenset(at for at, dim in root.site.features.items() if dim in root.site.output)
    if not _places(flow, root):
        return frozenset()
    joined, found = _dim(flow, root), []
    for link in root.links:
        below = flow.roots[link.root]
        inner, shape = features(flow, below), flow.tape.values[below.value].shape
        own = [
            at
            for at in range(len(link.layout.dims))
            if (along := set(parameter_dims(link.layout, shape, (at,)))) and along <= inner
        ]
        if not own:
            return frozenset()
        if root.op == "stack":
            own = [joined, *(at + (at >= joined) for at in own)]
        found.append(frozenset(own))
    return frozenset.intersection(*found) if found else frozenset()


def _dim(flow: Flow, root: Root) -> int:
    assert root.node is not None
    node, rank = flow.tape.nodes[root.node], len(flow.tape.values[root.value].shape)
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return int(dim) % max(rank, 1) if isinstance(dim, int) else 0


def _places(flow: Flow, root: Root) -> list[tuple[Link, Span]]:
    """Every joined signal and its indices along the dimension in which they are joined."""
    if root.kind != "move" or root.op not in _JOINS or root.node is None:
        return []
    values, dim, start, found = flow.tape.values, _dim(flow, root), 0, []
    left = list(root.links)
    for index in flow.tape.nodes[root.node].inputs:
        shape = values[index].shape
        length = 1 if root.op == "stack" else shape[dim] if dim < len(shape) else 0
        if left and left[0].value == index:
            found.append((left.pop(0), Span(start, length)))
        start += length
    return [] if left else found
