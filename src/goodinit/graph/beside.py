"""Inputs that stand beside the signal: an adjacency matrix, a mask, weights of edges or of samples.

They meet other signals in products alone and enter no weight. Nothing is to be held for them, so their
numbers are taken as the example has them, as those of token ids and of buffers are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from goodinit.graph.flow import Flow, Link
from goodinit.graph.generating import generated_link

__all__ = ["beside"]

# What an input may pass on the way to a product.
_PASSED = {"move", "sum", "mixed", "center", "reduce", "softmax", "norm"}
_MEETS = {"product", "interaction"}


def beside(flow: Flow) -> frozenset[int]:
    """Return the inputs that only multiply what others or weights have made.

    Args:
        flow: the coarse graph in which all of them are signals.
    """
    inputs = [
        value for value, root in flow.roots.items() if not root.links and _origin(flow, value) == "input"
    ]
    readers: dict[int, list[tuple[int, Link]]] = {}
    for value, root in flow.roots.items():
        for link in root.links:
            readers.setdefault(link.root, []).append((value, link))
    returned = {state.root for i in flow.tape.outputs if hasattr(state := flow.states[i], "root")}
    found = frozenset(value for value in inputs if _only_multiplies(flow, value, readers, returned))
    return found if len(found) < len(inputs) or _looks_up(flow) else frozenset()


def _origin(flow: Flow, value: int) -> str:
    return flow.tape.values[value].origin


def _looks_up(flow: Flow) -> bool:
    return any(root.kind in ("embedding", "learned") for root in flow.roots.values())


def _only_multiplies(
    flow: Flow, value: int, readers: dict[int, list[tuple[int, Link]]], returned: set[int]
) -> bool:
    own, todo, met = {value}, [value], False
    while todo:
        at = todo.pop()
        if at in returned or not readers.get(at):
            return False
        for reader, link in readers[at]:
            root = flow.roots[reader]
            others = [item for item in root.links if item.root not in own and item.part != "statistic"]
            if root.kind in _MEETS and others:
                summed = [flow.roots[at] for at, _ in readers.get(reader, ())]
                if any(generated_link(flow, one) is not None for one in (root, *summed)):
                    return False  # what a network makes weights for is its signal
                if not all(_multiplied(flow, link, other, root.kind) for other in others):
                    return False
                met = True
            elif root.kind in _PASSED or root.kind in _MEETS:
                if reader not in own:
                    own.add(reader)
                    todo.append(reader)
            else:
                return False
    return met


def _multiplied(flow: Flow, link: Link, other: Link, kind: str) -> bool:
    """Whether the other of two signals is the one that goes on: made by weights, or larger, or no matrix."""
    if any(flow.roots[at].kind not in (*_PASSED, *_MEETS, "data") for at in _below(flow, other.root)):
        return True
    own, beside = (flow.tape.values[item.value].shape for item in (link, other))
    if kind == "product":
        return math.prod(own) < math.prod(beside)
    return _square(own) and not _square(beside)


def _square(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[-1] == shape[-2] > 1


def _below(flow: Flow, root: int) -> Iterator[int]:
    seen, todo = {root}, [root]
    while todo:
        at = todo.pop()
        yield at
        fresh = {link.root for link in flow.roots[at].links} - seen
        seen |= fresh
        todo.extend(fresh)
