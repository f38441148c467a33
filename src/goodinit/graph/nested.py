"""Tensors inside what models take and return: tuples, dicts, dataclasses, nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["describe", "floating", "map_tensors", "tensors"]


def tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (path, tensor) for every tensor inside, in order.

    >>> [path for path, _ in tensors({"a": (torch.ones(1), torch.ones(2))})]
    ['a[0]', 'a[1]']
    """
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from tensors(item, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from tensors(getattr(value, each.name), f"{path}.{each.name}" if path else each.name)


def floating(value: Any) -> list[tuple[str, torch.Tensor]]:
    """Return the non-empty floating or complex tensors inside."""
    return [
        (path, tensor)
        for path, tensor in tensors(value)
        if (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel()
    ]


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return the same structure with every tensor replaced; what is no container is returned as it is."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, change) for item in value)
    return value


def describe(value: Any) -> str:
    """Return what goes into or comes out of a model in short: types and shapes, names of keywords.

    >>> describe(({"x": torch.ones(2, 3)}, None))
    '{x=float32(2, 3)}, None'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_one(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_one(item) for item in value)
    return _one(value)


def _one(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        place = "" if value.device.type in ("cpu", "meta") else f" on {value.device}"
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}{place}"
    if isinstance(value, Mapping):
        return f"{{{describe(value)}}}"
    if isinstance(value, list | tuple):
        return f"[{describe(value)}]"
    return repr(value) if isinstance(value, bool | int | float | str | None) else type(value).__name__
