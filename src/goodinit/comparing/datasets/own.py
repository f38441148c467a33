"""The user's own data as a `Data`: pairs of tensors or arrays, and map-style data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from goodinit.comparing.datasets.data import Data, check_pair, checked, make, split
from goodinit.comparing.datasets.loading import load
from goodinit.comparing.datasets.options import generator
from goodinit.comparing.inputs import Batch, Inputs, leaves, rebuilt, shapes
from goodinit.errors import ArgumentError, WrongTypeError

__all__ = ["as_data"]

_WANTED = "data must be (X, Y), a map-style torch Dataset of (x, y) pairs, a Data, or the name of a data set"


def as_data(data: Any, *, test: float = 0.3, seed: int = 0) -> Data:
    """Return data of any accepted form as a `Data`, checked.

    Integer targets are classes: one for each example, or one for each step where they have a second
    dimension; a single column is one for each example. Floating-point targets are for regression.

    Args:
        data: a name (see `dataset_names`), a `Data`, a pair (X, Y) of tensors or arrays with examples
            along the first dimension, or a map-style torch Dataset whose items are pairs (x, y). A
            data set that augments at random is read once, so its random choices are fixed. A tuple of
            tensors or a dict in place of X (or x) are several inputs, for ``model(*x)`` or
            ``model(**x)``.
        test: share of the examples that is kept for testing, chosen at random; not for a name or a
            `Data`, which have their own test set.
        seed: of that choice.

    Raises:
        ArgumentError: for NaN or infinite values, different lengths, empty data or items of different
            shapes.
        WrongTypeError: for anything else that is not data.

    >>> data = as_data((torch.randn(10, 3), torch.arange(10) % 2))
    >>> data
    Data('(X, Y)': 7 + 3 examples of shape (3,), classification, 2 outputs)
    """
    if isinstance(data, str):
        return load(data)
    if isinstance(data, Data):
        return checked(data)
    if isinstance(data, torch.utils.data.IterableDataset):
        raise WrongTypeError(
            f"{_WANTED}; found {type(data).__name__}, an IterableDataset, of which no random batch can be "
            "drawn: read it into tensors first"
        )
    if isinstance(data, torch.utils.data.DataLoader):
        raise WrongTypeError(f"{_WANTED}; found a DataLoader: give its .dataset, batches are made here")
    if isinstance(data, torch.utils.data.Dataset):
        name, (x, y) = type(data).__name__, _read(data)
    elif isinstance(data, tuple | list):
        if len(data) != 2:
            raise WrongTypeError(f"{_WANTED}; found a {type(data).__name__} of {len(data)}")
        name, (x, y) = "(X, Y)", (_inputs(data[0], "X"), _tensor(data[1], "Y"))
    else:
        raise WrongTypeError(f"{_WANTED}; found {type(data).__name__}")
    check_pair(x, y, "data")
    if not y.is_floating_point():
        y = y.long()
        # A column of labels, as tables have it, is one label for each example.
        y = y.squeeze(1) if y.dim() == 2 and y.shape[1] == 1 else y
    parts = split(x, y, test, generator(seed))
    return make(name, parts, f"{len(x)} examples of the user's own, {test:.0%} of them for testing.")


def _inputs(value: Any, what: str) -> Inputs:
    """Return one tensor, or several in the form that they were given in.

    A tuple of numbers, or of such tuples, is one tensor; a list always is, as everywhere in torch.
    """
    if isinstance(value, Mapping):
        return {str(name): _inputs(part, f"{what}[{name!r}]") for name, part in sorted(value.items())}
    if isinstance(value, tuple) and any(isinstance(part, torch.Tensor | np.ndarray) for part in value):
        return tuple(_inputs(part, f"{what}[{at}]") for at, part in enumerate(value))
    return _tensor(value, what)


def _tensor(value: Any, what: str) -> torch.Tensor:
    """Return a tensor as it is, and an array as a tensor with torch's default floating-point type."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic | bool | int | float):
        value = np.asarray(value)
    elif not isinstance(value, np.ndarray):
        # Lists, and tables such as a pandas DataFrame, know how to become an array.
        if not isinstance(value, list | tuple) and not hasattr(value, "__array__"):
            raise WrongTypeError(f"{what} must be a tensor or an array, found {type(value).__name__}")
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise WrongTypeError(
                f"{what} must be a tensor or an array, found rows of different shapes"
            ) from error
    if value.dtype.kind not in "fiub":
        raise WrongTypeError(f"{what} must hold numbers, found an array of {value.dtype}")
    if value.dtype.kind == "f":
        return torch.from_numpy(np.array(value, dtype=np.float64)).to(torch.get_default_dtype())
    return torch.from_numpy(np.array(value, dtype=np.bool_ if value.dtype.kind == "b" else np.int64))


def _read(data: torch.utils.data.Dataset[Any]) -> Batch:
    """Read a map-style data set once, into inputs and targets."""
    name = type(data).__name__
    try:
        count = len(data)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError) as error:
        raise WrongTypeError(f"{name} has no length: data must be a map-style Dataset") from error
    if not count:
        raise ArgumentError(f"{name} is empty: there is nothing to train on")
    pairs: list[Batch] = []
    for index in range(count):
        try:
            item = data[index]
        except Exception as error:
            raise ArgumentError(
                f"item {index} of {name} cannot be read: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            found = f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
            raise WrongTypeError(
                f"items of {name} must be pairs (x, y), found {found} at {index}: several inputs are a tuple "
                "or a dict in the place of x"
            )
        where = f"of item {index} of {name}"
        pairs.append((_inputs(item[0], f"x {where}"), _tensor(item[1], f"y {where}")))
    x, y = (_stacked(column, what, name) for column, what in zip(zip(*pairs, strict=True), "xy", strict=True))
    return x, y


def _stacked(column: Sequence[Inputs], what: str, name: str) -> Inputs:
    forms = dict.fromkeys(str(shapes(value)) for value in column)
    if len(forms) > 1:
        one, other, *_ = forms
        raise ArgumentError(
            f"items of {name} differ in shape: {what} is {one} in one and {other} in another; pad or "
            "crop them to one shape"
        )
    parts = zip(*(leaves(value).values() for value in column), strict=True)
    return rebuilt(column[0], [torch.stack(part) for part in parts])
