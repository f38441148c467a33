"""Loops over the elements of values with any strides."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["address", "merged", "nest"]


def merged(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Return fewer dimensions that visit the same elements in the same order.

    Args:
        sizes: of the dimensions.
        strides: for each operand, one for each dimension.

    >>> merged((2, 3, 4), [(12, 4, 1), (0, 0, 1)])
    ([6, 4], [[4, 1], [0, 1]])
    """
    kept: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for index, size in enumerate(sizes):
        here = [stride[index] for stride in strides]
        if size == 1:
            continue
        if kept and all(step[-1] == stride * size for step, stride in zip(steps, here, strict=True)):
            kept[-1] *= size
            for step, stride in zip(steps, here, strict=True):
                step[-1] = stride
            continue
        kept.append(size)
        for step, stride in zip(steps, here, strict=True):
            step.append(stride)
    return kept, steps


def nest(sizes: Sequence[int], body: str, name: str = "i") -> str:
    """Return nested loops around a body; the indices are name0, name1, …

    >>> nest((2,), "x();")
    'for(int i0=0;i0<2;i0++){x();}'
    """
    head = "".join(f"for(int {name}{at}=0;{name}{at}<{size};{name}{at}++)" for at, size in enumerate(sizes))
    return f"{head}{{{body}}}"


def address(start: str, strides: Sequence[int], name: str = "i") -> str:
    """Return an element's address.

    >>> address("b1+0", (4, 0, 1))
    'b1+0+i0*4+i2'
    """
    parts = [
        f"{name}{at}" if stride == 1 else f"{name}{at}*{stride}"
        for at, stride in enumerate(strides)
        if stride
    ]
    return "+".join([start, *parts]).replace("+-", "-")
