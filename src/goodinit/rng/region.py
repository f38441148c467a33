"""Boxes inside a global tensor, and the global indices of their elements."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from goodinit.errors import ArgumentError

__all__ = ["Region"]


@dataclass(frozen=True)
class Region:
    """A box inside a global tensor: element i of dimension d is global element start[d] + i.

    Args:
        shape: the global tensor's shape.
        start: the first global index of the box in each dimension.
        size: the box's extent in each dimension.

    Raises:
        ArgumentError: if the lengths differ, the box leaves the tensor, or the global tensor
            has more than 2**64 elements.

    >>> Region((4, 6), (1, 2), (2, 3)).indices(0, 6)
    array([ 8,  9, 10, 14, 15, 16], dtype=uint64)
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        for field in ("shape", "start", "size"):
            object.__setattr__(self, field, tuple(int(n) for n in getattr(self, field)))
        if not len(self.shape) == len(self.start) == len(self.size):
            raise ArgumentError(
                f"a region needs shape, start and size of one length, found {self.shape}, {self.start} "
                f"and {self.size}"
            )
        for extent, first, length in zip(self.shape, self.start, self.size, strict=True):
            if first < 0 or length < 0 or first + length > extent:
                raise ArgumentError(
                    f"a region must lie inside its global tensor, found start {self.start} and size "
                    f"{self.size} in shape {self.shape}"
                )
        if math.prod(self.shape) > 2**64:
            raise ArgumentError(f"a global tensor may have at most 2**64 elements, found shape {self.shape}")

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Region:
        """Return the region that covers a whole tensor.

        >>> Region.whole((2, 3)).is_whole
        True
        """
        return _whole(tuple(shape))

    @property
    def numel(self) -> int:
        """Number of elements in the box."""
        return math.prod(self.size)

    @property
    def is_whole(self) -> bool:
        """True where the box is the whole global tensor."""
        return self.size == self.shape

    def narrow(self, dim: int, start: int, length: int) -> Region:
        """Return the part of this box with local indices start … start + length − 1 in one dimension.

        Args:
            dim: the dimension; negative counts from the end.
            start: first local index.
            length: number of indices.

        Returns:
            A region of the same global tensor.

        Raises:
            ArgumentError: if the part leaves this box.

        >>> Region.whole((4, 6)).narrow(1, 2, 3)
        Region(shape=(4, 6), start=(0, 2), size=(4, 3))
        """
        rank = len(self.size)
        if not -rank <= dim < rank:
            raise ArgumentError(f"dim must be in [{-rank}, {rank}), found {dim}")
        dim %= rank
        if start < 0 or length < 0 or start + length > self.size[dim]:
            raise ArgumentError(
                f"start and length must stay inside dimension {dim} of size {self.size[dim]}, "
                f"found start={start}, length={length}"
            )
        starts, sizes = list(self.start), list(self.size)
        starts[dim] += start
        sizes[dim] = length
        return Region(self.shape, tuple(starts), tuple(sizes))

    def intersect(self, other: Region) -> Region | None:
        """Return what two boxes of one global tensor share, or None where that is nothing.

        Raises:
            ArgumentError: if the boxes belong to global tensors of different shapes.

        >>> Region((8,), (0,), (5,)).intersect(Region((8,), (3,), (5,)))
        Region(shape=(8,), start=(3,), size=(2,))
        """
        if self.shape != other.shape:
            raise ArgumentError(f"regions of different global shapes: {self.shape} and {other.shape}")
        first = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        last = tuple(
            min(a + n, b + m)
            for a, n, b, m in zip(self.start, self.size, other.start, other.size, strict=True)
        )
        size = tuple(b - a for a, b in zip(first, last, strict=True))
        return Region(self.shape, first, size) if all(n > 0 for n in size) else None

    def slices_in(self, outer: Region) -> tuple[slice, ...]:
        """Return the slices that cut this box out of a tensor holding the outer box.

        Raises:
            ArgumentError: if this box is not inside the outer one.

        >>> Region((8,), (3,), (2,)).slices_in(Region((8,), (2,), (5,)))
        (slice(1, 3, None),)
        """
        offsets = tuple(a - b for a, b in zip(self.start, outer.start, strict=False))
        inside = all(o >= 0 and o + n <= m for o, n, m in zip(offsets, self.size, outer.size, strict=False))
        if self.shape != outer.shape or not inside:
            raise ArgumentError(f"{self} does not lie inside {outer}")
        return tuple(slice(o, o + n) for o, n in zip(offsets, self.size, strict=True))

    def indices(self, low: int = 0, high: int | None = None) -> npt.NDArray[np.uint64]:
        """Return the global row-major indices of local row-major positions low … high − 1.

        index = Σ_d (start[d] + local[d]) · stride[d], the strides being those of the global shape.

        Args:
            low: first local position.
            high: one past the last; the end of the box by default.

        Returns:
            uint64 array of shape (high − low,).

        Raises:
            ArgumentError: if the positions leave the box.

        >>> Region.whole((2, 3)).indices(1, 4)
        array([1, 2, 3], dtype=uint64)
        """
        end = self.numel if high is None else high
        if not 0 <= low <= end <= self.numel:
            raise ArgumentError(f"positions must be in [0, {self.numel}], found {low} to {end}")
        rest = np.arange(end - low, dtype=np.uint64) + np.uint64(low) if end > low else np.zeros(0, np.uint64)
        total = np.zeros(end - low, np.uint64)
        stride = 1
        for extent, first, length in zip(self.shape[::-1], self.start[::-1], self.size[::-1], strict=True):
            if length >= end:  # nothing is left for the outer dimensions; length may be 2**64 itself
                local, rest = rest, np.zeros_like(rest)
            else:
                rest, local = np.divmod(rest, np.uint64(length))
            total += local * np.uint64(stride % 2**64)
            total += np.uint64(first * stride % 2**64)
            stride *= extent
        return total

    def runs(self) -> tuple[npt.NDArray[np.uint64], int]:
        """Return the box as runs of consecutive global indices: the first index of each, and their length.

        The runs follow each other in local row-major order.

        >>> Region((4, 6), (1, 2), (2, 3)).runs()
        (array([ 8, 14], dtype=uint64), 3)
        """
        dim, length = len(self.size), 1
        while dim > 0:
            dim -= 1
            length *= self.size[dim]
            if self.size[dim] != self.shape[dim]:
                break
        if length == 0:
            return np.zeros(0, np.uint64), 0
        size = self.size[:dim] + (1,) * (len(self.size) - dim)
        return Region(self.shape, self.start, size).indices(), length

    def chunks(self, limit: int) -> Iterator[tuple[tuple[int | slice, ...], Region]]:
        """Yield boxes of at most `limit` elements that tile this one, each with the index that cuts it out.

        The index is meant for a tensor of shape `size`: integers, then one slice.

        >>> [index for index, _ in Region.whole((2, 5)).chunks(3)]
        [(0, slice(0, 3, None)), (0, slice(3, 5, None)), (1, slice(0, 3, None)), (1, slice(3, 5, None))]
        """
        if self.numel == 0:
            return
        if self.numel <= limit or not self.size:
            yield (), self
            return
        dim, inner = len(self.size) - 1, 1
        while dim > 0 and inner * self.size[dim] <= limit:
            inner *= self.size[dim]
            dim -= 1
        # Equal parts, a multiple of four rows where that is possible, so that few Philox blocks are cut.
        parts = -(-self.size[dim] // max(1, limit // inner))
        rows = -(-self.size[dim] // parts)
        rows = min(rows + -rows % 4, max(1, limit // inner)) if limit // inner >= 4 else rows
        for prefix in np.ndindex(*self.size[:dim]):
            first = tuple(s + p for s, p in zip(self.start, prefix, strict=False))
            for low in range(0, self.size[dim], rows):
                count = min(rows, self.size[dim] - low)
                start = (*first, self.start[dim] + low, *self.start[dim + 1 :])
                size = (1,) * dim + (count, *self.size[dim + 1 :])
                yield (*prefix, slice(low, low + count)), Region(self.shape, start, size)


# Models have few different shapes, and a small tensor is filled sooner than its region is checked.
@functools.lru_cache(maxsize=4096)
def _whole(shape: tuple[int, ...]) -> Region:
    return Region(shape, (0,) * len(shape), shape)
