"""What is done to make a value, told without the numbers of values: equal for layers that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor
from torch.utils._pytree import tree_map_only

from goodinit.graph.tape import Ref, Tape

__all__ = ["form_of"]

# Larger constants are compared by identity: they are rarely equal, and reading them takes long.
_MOST = 1 << 16


def form_of(
    tape: Tape,
    targets: Iterable[int],
    inputs: Callable[[int], Iterable[int]],
    leaf: Callable[[int], object],
) -> tuple[object, ...]:
    """Return the form of what makes some values.

    Args:
        tape: the record of the run.
        targets: the values.
        inputs: what a value is made from.
        leaf: what a value is that is not made by its operation, such as a drawn signal; None for others.
    """
    numbers: dict[int, int] = {}
    todo = list(targets)
    while todo:
        index = todo.pop()
        if index not in numbers:
            numbers[index] = len(numbers)
            todo.extend(inputs(index))

    def name(ref: Ref) -> str:
        return f"@{numbers.get(ref.value)}"

    found: list[object] = []
    for index in numbers:
        value, node, made = tape.values[index], tape.producer(index), leaf(index)
        if made is None and node is None:
            made = value.fill, str(value.dtype), _content(tape.held.get(index))
        elif made is None and node is not None:
            read = repr(tree_map_only(Ref, name, (node.args, node.kwargs)))
            made = node.op, value.slot, value.stride, value.offset, read
        found.append((value.shape, made, tuple(numbers[i] for i in inputs(index))))
    return tuple(found)


def _content(held: Tensor | None) -> object:
    if held is None or held.requires_grad or held.device.type == "meta":
        return None
    if type(held) is not Tensor or held.numel() > _MOST or held.is_complex():
        return id(held)
    return held.detach().cpu().double().numpy().tobytes()
