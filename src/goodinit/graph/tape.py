"""What one run of a model did: every ATen operation, in order, with the values it read and wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Node", "Ref", "Tape", "Value"]


@dataclass(frozen=True)
class Ref:
    """Stands for a tensor among the arguments of a recorded operation."""

    value: int


@dataclass(frozen=True)
class Value:
    """One tensor at one moment: a tensor that is written in place becomes a new value.

    `node` is None for what existed before the run; `origin` then says what it is:
    ``"parameter"``, ``"input"`` (the example), ``"index"`` (an integer or boolean
    input) or ``"constant"``. `name` is the parameter's canonical name, `fill` the one value that
    all elements are known to have, `original` the id of the tensor that the model itself holds.
    """

    index: int
    node: int | None
    slot: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: int
    dtype: torch.dtype
    origin: str = ""
    name: str = ""
    fill: float | None = None
    original: int = 0


@dataclass(frozen=True)
class Node:
    """One operation. `module` is the innermost module that was running, by canonical name."""

    index: int
    op: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    module: str
    pointwise: bool = False
    view: bool = False
    reduction: bool = False
    extra: Any = None


@dataclass
class Tape:
    """The record of one run.

    Of tensors it has only those that existed before the run, by their values: parameters, buffers
    and the example, as the model and the user hold them.
    """

    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    held: dict[int, Tensor] = field(default_factory=dict)

    def producer(self, value: int) -> Node | None:
        """Return the operation that wrote a value, or None for what existed before."""
        node = self.values[value].node
        return None if node is None else self.nodes[node]
