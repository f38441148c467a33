"""Initializers made of initializers, and the one that keeps what is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from goodinit import rng
from goodinit.errors import ArgumentError, TensorError, WrongTypeError
from goodinit.initializers.base import Initializer, Progress

__all__ = ["Blocks", "Keep", "ZeroRows"]


@dataclass(frozen=True)
class Keep(Initializer):
    """Leave the values as the model's author set them.

    >>> Keep().fill_(torch.tensor([1.0, 2.0]), key=0)
    tensor([1., 2.])
    """

    writes: ClassVar[bool] = False

    @property
    def deterministic(self) -> bool:
        """Always."""
        return True

    def _mean(self) -> float:
        raise ArgumentError("Keep() fills nothing, so it has no moments")

    _std = _mean

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        if progress:
            progress(tensor.numel())

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the tensor as it is; draws nothing."""
        return tensor


@dataclass(frozen=True)
class Blocks(Initializer):
    """A packed tensor: consecutive blocks along a dimension, each with its own initializer.

    For packed q/k/v projections, LSTM gates, fused gate-up projections. Elements
    keep their address in the whole tensor, so blocks are independent of each other.

    Args:
        parts: (length, initializer) of each block, in order; lengths sum to the dimension.
        dim: the dimension that is packed.

    Raises:
        ArgumentError: if there is no part or a length is negative.
        TensorError: on filling a tensor whose dimension is not the sum of the lengths.

    >>> from goodinit.initializers import Constant
    >>> Blocks(((1, Constant(0)), (2, Constant(1)))).fill_(torch.empty(3), key=0)
    tensor([0., 1., 1.])
    """

    parts: tuple[tuple[int, Initializer], ...]
    dim: int = 0

    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        parts = tuple(tuple(part) for part in self.parts)
        for part in parts:
            if len(part) != 2 or not isinstance(part[0], int) or not isinstance(part[1], Initializer):
                raise WrongTypeError(f"Blocks: each part is (length, initializer), found {part!r}")
            if part[0] < 0:
                raise ArgumentError(f"Blocks: a length must be at least 0, found {part[0]}")
        if not parts:
            raise ArgumentError("Blocks: at least one part is needed")
        object.__setattr__(self, "parts", parts)

    @property
    def deterministic(self) -> bool:
        """Where every block is."""
        return all(part.deterministic for _, part in self.parts)

    @staticmethod
    def of(parts: list[tuple[int, Initializer]], dim: int = 0) -> Initializer:
        """Return the blocks, or the one elementwise initializer that says the same."""
        first = parts[0][1]
        if first.elementwise and all(part == first for _, part in parts):
            return first
        return Blocks(tuple(parts), dim)

    def _shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        total = sum(length for length, _ in self.parts)
        if not 0 <= self.dim < len(shape) or shape[self.dim] != total:
            raise TensorError(f"Blocks: dimension {self.dim} must have length {total}, found shape {shape}")
        return [(*shape[: self.dim], length, *shape[self.dim + 1 :]) for length, _ in self.parts]

    def resolve(
        self, shape: tuple[int, ...], fan_in: float | None = None, fan_out: float | None = None
    ) -> Initializer:
        """Resolve each block with the same fans (those of one block)."""
        shapes = self._shapes(shape)
        return Blocks.of(
            [
                (length, part.resolve(block, fan_in, fan_out))
                for (length, part), block in zip(self.parts, shapes, strict=True)
            ],
            self.dim,
        )

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Moments of the mixture: blocks weighted by their numbers of elements."""
        count = max(math.prod(shape), 1)
        mean = second = 0.0
        for (_, part), block in zip(self.parts, self._shapes(shape), strict=True):
            m, s = part.moments(block)
            share = math.prod(block) / count
            mean += share * m
            second += share * (m * m + s * s)
        return mean, math.sqrt(max(second - mean * mean, 0.0))

    def _mean(self) -> float:
        raise ArgumentError(f"the moments of {self!r} depend on the shape: moments(shape) gives them")

    _std = _mean

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that holds the bounds of all blocks."""
        lows, highs = zip(*(part.bounds for _, part in self.parts), strict=True)
        return min(lows), max(highs)

    def blocks_of(self, block: rng.Region) -> list[tuple[Initializer, rng.Region]]:
        """Return each part with the box that it fills inside the box `block`."""
        self._shapes(block.size)
        placed, offset = [], 0
        for length, part in self.parts:
            placed.append((part, block.narrow(self.dim, offset, length)))
            offset += length
        return placed

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        for initializer, box in self.blocks_of(block):
            common = part.intersect(box)
            if common is not None:
                inside = tensor[common.slices_in(part)]
                initializer.fill_(inside, key, part=common, block=box, progress=progress)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Fill block by block, in order."""
        for initializer, box in self.blocks_of(rng.Region.whole(tuple(tensor.shape))):
            with torch.no_grad():
                initializer.fill_by_torch_(tensor[box.slices_in(rng.Region.whole(box.shape))], generator)
        return tensor


@dataclass(frozen=True)
class ZeroRows(Initializer):
    """Another initializer, then zeros in the given rows of dimension 0: padding of an embedding.

    Args:
        initializer: what fills the other rows.
        rows: indices along dimension 0, from 0.

    Raises:
        TensorError: on filling a tensor that has no such row.

    >>> from goodinit.initializers import Constant
    >>> ZeroRows(Constant(1), (0,)).fill_(torch.empty(2, 2), key=0)
    tensor([[0., 0.],
            [1., 1.]])
    """

    initializer: Initializer
    rows: tuple[int, ...]

    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.initializer, Initializer):
            raise WrongTypeError(f"ZeroRows: initializer must be an Initializer, found {self.initializer!r}")
        rows = tuple(sorted(set(self.rows)))
        if not all(isinstance(row, int) and row >= 0 for row in rows):
            raise ArgumentError(f"ZeroRows: rows are integers from 0, found {self.rows!r}")
        object.__setattr__(self, "rows", rows)

    @property
    def deterministic(self) -> bool:
        """Where the inner initializer is."""
        return self.initializer.deterministic

    def resolve(
        self, shape: tuple[int, ...], fan_in: float | None = None, fan_out: float | None = None
    ) -> Initializer:
        """Resolve the inner initializer."""
        return ZeroRows(self.initializer.resolve(shape, fan_in, fan_out), self.rows)

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.rows and (not shape or self.rows[-1] >= shape[0]):
            raise TensorError(f"ZeroRows: there is no row {self.rows[-1]} in a tensor of shape {shape}")

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Moments over all elements, the zeroed rows included."""
        self._check(shape)
        mean, std = self.initializer.moments(shape)
        share = 1 - len(self.rows) / max(shape[0], 1)
        second = share * (mean * mean + std * std)
        return share * mean, math.sqrt(max(second - (share * mean) ** 2, 0.0))

    def _mean(self) -> float:
        raise ArgumentError(f"the moments of {self!r} depend on the shape: moments(shape) gives them")

    _std = _mean

    @property
    def bounds(self) -> tuple[float, float]:
        """The inner bounds, widened to hold zero."""
        low, high = self.initializer.bounds
        return min(low, 0.0), max(high, 0.0)

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        self._check(block.size)
        self.initializer.fill_(tensor, key, part=part, block=block, progress=progress)
        first = part.start[0] - block.start[0]
        for row in self.rows:
            if 0 <= row - first < part.size[0]:
                tensor[row - first].zero_()

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Fill from torch's stream, then zero the rows."""
        self._check(tuple(tensor.shape))
        self.initializer.fill_by_torch_(tensor, generator)
        with torch.no_grad():
            for row in self.rows:
                tensor[row].zero_()
        return tensor


def as_initializer(value: Any) -> Initializer:
    """Return an initializer from a value, a number (a constant) or the word ``"keep"``.

    Raises:
        WrongTypeError: for anything else.

    >>> as_initializer(0.5), as_initializer("keep")
    (Constant(value=0.5), Keep())
    """
    if isinstance(value, Initializer):
        return value
    from goodinit.initializers.laws import Constant

    if value == "keep":
        return Keep()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Constant(value)
    raise WrongTypeError(f"expected an Initializer, a number or 'keep', found {value!r}")
