"""Couplings of reversible networks: b·exp(s) + t or (b + t)·exp(s), where weights make s and t."""

from __future__ import annotations

from collections.abc import Iterator

from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Link, Root
from goodinit.graph.paths import Paths

__all__ = ["couplings_of"]

_SUMS = ("sum", "residual", "mixed")
# A sigmoid stays below 1, but what is added to the signal grows with it all the same.
_SCALES = ("exp", "sigmoid")


def couplings_of(paths: Paths) -> dict[int, int]:
    """Return the number of the coupling, from 0, for every root that makes its s or t.

    Args:
        paths: the walks over the coarse graph.
    """
    found: dict[int, int] = {}
    count = 0
    for value, root in paths.flow.roots.items():
        if root.kind != "product":
            continue
        scales = [link for link in root.links if _scales(paths, link)]
        if len(scales) != 1 or _alike(paths, root, scales[0]):
            continue
        beside = [paths.flow.roots[link.root] for link in root.links if link != scales[0]]
        after = [paths.flow.roots[reader] for reader, _ in paths.readers.get(value, ())]
        shifts = list(_shifts(paths, value, (*beside, *after)))
        if shifts:
            made = (scales[0], *shifts)
            found.update({paths.origins[link.root].root: count for link in made})
            count += 1
    return found if count > 1 else {}


def _made(paths: Paths, link: Link) -> bool:
    return paths.origins[link.root].kind == "weight"


def _alike(paths: Paths, product: Root, scale: Link) -> bool:
    """Whether weights make what is scaled as late as what scales it: a gated unit, and no coupling."""
    roots = paths.flow.roots
    other = next((link for link in product.links if link != scale), scale)
    parts = roots[other.root].links if roots[other.root].kind in _SUMS else [other]
    first = min(roots[link.root].depth for link in parts)
    return _made(paths, other) and first >= roots[scale.root].depth


def _scales(paths: Paths, link: Link) -> bool:
    function = elementwise(paths.flow, [link])
    last = "" if function is None else function.name.split(" ∘ ")[0]
    # Behind a factor or a sum with a constant, too, such as sigmoid(s + 2).
    return last.startswith(_SCALES) and _made(paths, link)


def _shifts(paths: Paths, product: int, sums: tuple[Root, ...]) -> Iterator[Link]:
    """What weights make and add as it is, to something else, before or after a product."""
    for root in sums:
        if root.kind in _SUMS and len(root.links) == 2:
            for link, other in (root.links, root.links[::-1]):
                function = elementwise(paths.flow, [link])
                linear = function is None or function.linear
                if linear and link.root != product and _made(paths, link) and not _made(paths, other):
                    yield link
