"""A model's parameters, kept from what its own forward pass writes to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from goodinit.graph.contents import put_back, replaced
from goodinit.signals.probing.sharded import is_sharded

__all__ = ["Writes"]

# Writes to the table that it looks rows up in, where `max_norm` is given; both take that fourth.
_LOOKUPS = ("embedding", "embedding_bag")


class Writes(TorchFunctionMode):
    """Copies a parameter right before the first operation that writes to it.

    Copies of all parameters would double the memory, and few models write to any: weights
    whose norm is bounded on the way forward (``max_norm`` of torch's embeddings), clipped
    or normalised ones. Where such a model puts another tensor into a parameter's ``data``, the old one
    is held here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        whole = [p for p in model.parameters() if not (nn.parameter.is_lazy(p) or is_sharded(p))]
        self._held = [(p, p.data) for p in whole]
        self._places: dict[int, list[nn.Parameter]] = {}
        for parameter in whole:
            self._places.setdefault(_place(parameter), []).append(parameter)
        self._places.pop(0, None)
        self._copies: list[tuple[nn.Parameter, torch.Tensor, int]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _written(getattr(func, "__name__", ""), args, kwargs):
            for parameter in self._places.pop(_place(tensor), ()):
                self._copies.append((parameter, parameter.detach().clone(), parameter._version))
        return func(*args, **kwargs)

    def undo(self) -> bool:
        """Give the parameters their values again; were any written to?"""
        moved = [(p, data) for p, data in self._held if replaced(p, data)]
        for parameter, data in moved:
            parameter.data = data
        for parameter, kept, version in self._copies:
            put_back(parameter, kept, version)
        return bool(moved or self._copies)


def _written(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors that a torch function of this name writes to."""
    given = (*args, *kwargs.values())
    into: Any = kwargs.get("out")
    if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__":
        into = given[0] if given else None
    elif name in _LOOKUPS and (kwargs.get("max_norm") is not None or (len(args) > 3 and args[3] is not None)):
        into = given[1]
    for each in into if isinstance(into, list | tuple) else (into,):
        if isinstance(each, torch.Tensor):
            yield each


def _place(tensor: torch.Tensor) -> int:
    """Return where a tensor's memory begins, 0 where it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except RuntimeError:  # of sparse tensors, and inside function transforms
        return 0
