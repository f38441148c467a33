"""The program being written: values, the arrays that they lie in, and statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from goodinit.comparing.engines.step import NotStackable

__all__ = ["Program", "Value", "kind_of"]


def kind_of(dtype: torch.dtype) -> str:
    """Return how lanes hold a type: ``f`` for floats, ``i`` for integers, ``b`` for masks (0 and −1)."""
    if dtype == torch.bool:
        return "b"
    return "f" if dtype.is_floating_point else "i"


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of one member: an array of vectors, and the layout of the tensor in it.

    `layout` is a tensor on the meta device, so that torch itself says what a view does to strides.
    """

    array: int
    kind: str
    layout: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the member's tensor."""
        return tuple(self.layout.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in vectors."""
        return tuple(self.layout.stride())

    @property
    def start(self) -> str:
        """The C++ expression of a pointer to the first element."""
        return f"b{self.array}+{self.layout.storage_offset()}"

    def viewed(self, layout: torch.Tensor) -> Value:
        """Return the same memory in another layout."""
        return Value(self.array, self.kind, layout)

    def expanded(self, shape: Sequence[int]) -> Value:
        """Return the value broadcast to a shape."""
        return self.viewed(self.layout.expand(tuple(shape)))


@dataclass
class Program:
    """Statements in order, and arrays: in the state, constant, or in memory that is used again.

    Attributes:
        scalar: torch's type of the members' floats.
        statements: C++; `reads` and `writes` of each say when an array's memory is free again.
        fixed: arrays in the state: their C++ expression.
        reserved: arrays whose memory is never used for another.
        constants: reserved arrays, with the values to be set before the first step.
    """

    scalar: torch.dtype
    statements: list[str] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    fixed: dict[int, str] = field(default_factory=dict)
    reserved: list[int] = field(default_factory=list)
    constants: list[tuple[int, torch.Tensor]] = field(default_factory=list)

    def new(self, shape: Sequence[int], kind: str, *, place: str = "", reserved: bool = False) -> Value:
        """Return a new contiguous value; `place` is where it lies, if in the state."""
        array, layout = len(self.sizes), torch.empty(tuple(shape), device="meta")
        self.sizes[array], self.kinds[array] = layout.numel(), kind
        if place:
            self.fixed[array] = place
        if reserved:
            self.reserved.append(array)
        return Value(array, kind, layout)

    def constant(self, tensor: torch.Tensor) -> Value:
        """Return a value that is the same in all members; one that has a single number costs one vector."""
        flat = tensor.detach().reshape(-1)
        if flat.numel() and bool((flat == flat[0]).all()):
            single = self.new((1,), kind_of(tensor.dtype), reserved=True)
            self.constants.append((single.array, flat[:1].clone()))
            return single.viewed(single.layout.expand(tensor.shape) if tensor.dim() else single.layout[0])
        if flat.numel() > 2**16:
            raise NotStackable(f"it has a constant of {flat.numel()} numbers")
        value = self.new(tensor.shape, kind_of(tensor.dtype), reserved=True)
        self.constants.append((value.array, flat.clone()))
        return value

    def do(self, statement: str, reads: Sequence[Value], writes: Sequence[Value]) -> None:
        """Append a statement."""
        now = len(self.statements)
        for value in (*reads, *writes):
            self.first.setdefault(value.array, now)
            self.last[value.array] = now
        self.statements.append(statement)

    def places(self) -> tuple[dict[int, int], int]:
        """Return the offsets of arrays outside the state, and how many vectors they need.

        Reserved ones come first. Memory is given to the first array that fits once its last reader is done.
        """
        offsets, end = {}, 0
        for array in self.reserved:
            offsets[array], end = end, end + self.sizes[array]
        begin = end
        busy: list[tuple[int, int, int]] = []  # (offset, end, last use)
        for array in sorted(self.first, key=lambda array: self.first[array]):
            if array in self.fixed or array in offsets:
                continue
            busy = sorted(each for each in busy if each[2] >= self.first[array])
            at = begin
            for offset, stop, _ in busy:
                if offset - at >= self.sizes[array]:
                    break
                at = max(at, stop)
            offsets[array] = at
            busy.append((at, at + self.sizes[array], self.last[array]))
            end = max(end, at + self.sizes[array])
        return offsets, end
