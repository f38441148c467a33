"""What tensors, plain containers and generators hold inside, and how to put it back."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["put_back", "replaced", "restorers", "restorers_of_model"]

# Exactly these: a subclass may do anything when it is written to.
_SEQUENCES, _DICTS = (list, deque), (dict, OrderedDict, defaultdict, Counter)
# Of long lists these need no look.
_NUMBERS = (int, float, str, bool, type(None))


def restorers(values: Iterable[object]) -> list[Callable[[], None]]:
    """Return functions that put back what these values hold now, and what is inside of them.

    Tensors that are neither parameters nor results with a graph, lists, dicts, sets, deques, and random
    generators of torch, Python and NumPy. Other objects are left alone.

    >>> seen = [1]
    >>> undo = restorers([{"seen": seen}])
    >>> seen.append(2)
    >>> _ = [restore() for restore in undo]
    >>> seen
    [1]
    """
    found: list[Callable[[], None]] = []
    met: dict[int, object] = {}
    todo = list(values)
    while todo:
        value = todo.pop()
        if id(value) in met:
            continue
        met[id(value)] = value
        restore, inside = _restorer(value)
        todo += (each for each in inside if type(each) not in _NUMBERS)
        if restore is not None:
            found.append(restore)
    return found


def restorers_of_model(model: nn.Module) -> list[Callable[[], None]]:
    """Return functions that put back what the attributes of all of a model's modules hold now.

    Objects of other classes, such as a config, get their attributes back. What lies inside of these is left
    alone: a trainer or an optimizer leads everywhere.
    """
    attributes = [vars(module) for module in model.modules()]
    objects: dict[int, dict[str, object]] = {}
    for value in (value for own in attributes for value in own.values()):
        own = getattr(value, "__dict__", None)
        if type(own) is dict and not isinstance(value, nn.Module | torch.Tensor | ModuleType):
            objects[id(own)] = own
    return [
        *restorers(attributes),
        *(partial(_refill, own, own.update, dict(own)) for own in objects.values()),
    ]


def _restorer(value: Any) -> tuple[Callable[[], None] | None, Iterable[object]]:
    """Return how one value is put back, and the values inside of it."""
    kind = type(value)
    if isinstance(value, torch.Tensor):
        result = value.requires_grad and not value.is_leaf
        if result or isinstance(value, nn.Parameter) or nn.parameter.is_lazy(value):
            return None, ()
        version = None if value.is_inference() else value._version
        return partial(_give_back, value, value.data, value.detach().clone(), version), ()
    if kind is tuple:
        return None, value
    if kind in _SEQUENCES:
        return partial(_refill, value, value.extend, items := list(value)), items
    if kind is set:
        return partial(_refill, value, value.update, set(value)), ()
    if kind in _DICTS:
        return partial(_refill, value, value.update, held := dict(value)), held.values()
    if isinstance(value, torch.Generator):
        return partial(_call, value.set_state, value.get_state()), ()
    if isinstance(value, np.random.RandomState):
        return partial(_call, value.set_state, value.get_state()), ()
    if kind is random.Random:
        return partial(value.setstate, value.getstate()), ()
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state), ()
    return None, ()


def _call(put: Callable[[Any], object], state: object) -> None:
    put(state)


def _refill(value: Any, fill: Callable[[Any], object], held: Iterable[object] | Mapping[Any, object]) -> None:
    value.clear()
    fill(held)


def _give_back(tensor: torch.Tensor, held: torch.Tensor, kept: torch.Tensor, version: int | None) -> None:
    if replaced(tensor, held):
        tensor.data = held
    put_back(tensor, kept, version)


def replaced(tensor: torch.Tensor, held: torch.Tensor) -> bool:
    """Was the tensor resized, or given other data than what it held?"""
    if isinstance(tensor.data, FakeTensor):
        return not isinstance(held, FakeTensor)
    try:
        return not tensor.is_set_to(held)
    except RuntimeError:  # on the meta device, sparse or distributed
        return tensor.shape != held.shape


def put_back(tensor: torch.Tensor, kept: torch.Tensor, version: int | None) -> None:
    """Give a tensor its values again, and the version that a graph of the user may have noted of them."""
    if not _equal(tensor, kept):  # written only then: a tensor that is expanded or of inference cannot be
        tensor.copy_(kept)
    if version is not None and tensor._version != version:
        torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))


def _equal(tensor: torch.Tensor, kept: torch.Tensor) -> bool:
    try:
        return torch.equal(tensor, kept)
    except RuntimeError:  # of sparse tensors
        return False
