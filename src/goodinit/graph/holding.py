"""The numbers that an operation uses as its weight, as the model and its parametrizations make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from goodinit.graph.flow import Flow, Part, Weight
from goodinit.graph.replaying import computed

__all__ = ["held_by", "operands"]

# Power iterations settle in some tens of steps, all but those of alike singular values.
_MOST_RUNS = 100
_STILL = 1e-4


def held_by(
    flow: Flow, node: int, shape: tuple[int, ...], without: Sequence[Part] = ()
) -> Callable[[], float]:
    """Return a function that gives the mean square of the weight that an operation uses for now.

    Args:
        flow: the coarse graph.
        node: the operation.
        shape: the weight's sizes there.
        without: parameters in it that count as 0, as an update does that is added to a kept weight.
    """

    def held() -> float:
        for index in operands(flow, node, shape):
            try:
                with torch.no_grad():
                    values = (flow.tape.values[part.leaf] for part in without)
                    absent = {value.index: torch.zeros(value.shape, dtype=value.dtype) for value in values}
                    return _settled(flow, index, absent)
            except Exception:  # on meta, or made by code that cannot run again
                return math.nan
        return math.nan

    return held


def _settled(flow: Flow, index: int, given: dict[int, Tensor]) -> float:
    """The mean square of a value once the buffers have settled that each run of it brings up to date.

    The power iteration of a spectral norm that is a hook begins anywhere, and goes one step in a run.
    """
    written = _written(flow, index)
    size = math.nan
    for _ in range(_MOST_RUNS):
        found = computed(flow, index, given).to(torch.float64)
        before, size = size, float(found.square().mean()) if found.numel() else math.nan
        if not written or math.isclose(size, before, rel_tol=_STILL):
            break
        given = given | {buffer: computed(flow, last, given) for buffer, last in written.items()}
    return size


def _written(flow: Flow, index: int) -> dict[int, int]:
    """The buffers from which a value is made and that the run writes into, each with what it last wrote."""
    values, seen, todo = flow.tape.values, {index}, [index]
    while todo:
        node = flow.tape.producer(todo.pop())
        fresh = set(node.inputs) - seen if node is not None else set()
        seen |= fresh
        todo.extend(fresh)
    buffers = {
        values[at].storage: at
        for at in seen
        if values[at].node is None and values[at].original in flow.buffers
    }
    found = {}
    for value in values:
        start = buffers.get(value.storage)
        if start is not None and value.node is not None and value.index in seen:
            same = (value.shape, value.stride, value.offset)
            first = values[start]
            node = flow.tape.nodes[value.node]
            if same == (first.shape, first.stride, first.offset) and not node.view:
                found[start] = value.index
    return found


def operands(flow: Flow, node: int, shape: tuple[int, ...]) -> Iterator[int]:
    """Yield the values made of weights alone, of some shape, that an operation contracts.

    Args:
        flow: the coarse graph.
        node: the operation; of a sum of products it is the sum.
        shape: the weight's sizes there.
    """
    read = flow.tape.nodes[node].inputs
    makers = [flow.tape.producer(index) for index in read]
    for index in (*read, *(i for maker in makers if maker is not None for i in maker.inputs)):
        if isinstance(flow.states[index], Weight) and flow.tape.values[index].shape == shape:
            yield index
