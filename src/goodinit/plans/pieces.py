"""The simple initializers that make up a composed one, each with its place in the tensor."""

from __future__ import annotations

from typing import NamedTuple

from goodinit.initializers import Blocks, Initializer, ZeroRows
from goodinit.rng import Region

__all__ = ["Piece", "pieces"]


class Piece(NamedTuple):
    """A simple initializer, the box that it fills, and the box's rows that are zeroed afterwards."""

    initializer: Initializer
    box: Region
    zeroed: tuple[int, ...]


def pieces(initializer: Initializer, box: Region, zeroed: tuple[int, ...] = ()) -> list[Piece]:
    """Return the pieces of an initializer that fills a box.

    >>> from goodinit.initializers import Constant
    >>> halves = Blocks(((1, Constant(0)), (2, ZeroRows(Constant(1), (1,)))))
    >>> [(piece.box.start, piece.zeroed) for piece in pieces(halves, Region.whole((3,)))]
    [((0,), ()), ((1,), (1,))]
    """
    if isinstance(initializer, ZeroRows):
        return pieces(initializer.initializer, box, tuple(sorted({*zeroed, *initializer.rows})))
    if not isinstance(initializer, Blocks):
        return [Piece(initializer, box, zeroed)]
    found = []
    for part, inner in initializer.blocks_of(box):
        first = inner.start[0] - box.start[0]
        rows = tuple(index - first for index in zeroed if 0 <= index - first < inner.size[0])
        found += pieces(part, inner, rows)
    return found
