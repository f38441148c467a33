"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from goodinit.comparing.datasets.characters import characters
from goodinit.comparing.datasets.data import Data
from goodinit.comparing.datasets.memory import adding, copy_memory
from goodinit.comparing.datasets.plane import circles, s4, spirals, two_moons
from goodinit.comparing.datasets.tables import TABLES, table
from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean

__all__ = ["dataset_names", "load"]

_SETS: dict[str, Callable[..., Data]] = {
    "s4": s4,
    "two_moons": two_moons,
    "circles": circles,
    "spirals": spirals,
    "adding": adding,
    "copy_memory": copy_memory,
    "characters": characters,
    **{name: partial(table, name) for name in TABLES},
}


def dataset_names() -> tuple[str, ...]:
    """Return the names that `load` knows.

    >>> "digits" in dataset_names()
    True
    """
    return tuple(_SETS)


def load(name: str, **options: Any) -> Data:
    """Return a data set by name. Nothing is downloaded.

    ============== ============================================================ =======================
    name           what                                                         options
    ============== ============================================================ =======================
    s4             y = 2·x₁² − x₂² + 0.01·N(0, 1), 1,000 points, 700 to train   seed=420
    two_moons      two interleaved half circles, two classes                    size, noise, seed
    circles        a circle in a circle, two classes                            size, noise, seed
    spirals        two spirals of `turns` turns, two classes                    size, noise, turns, seed
    digits         1,797 images of 8×8, ten classes (scikit-learn)              image, test, seed
    iris           150 flowers, 4 measures, three classes (scikit-learn)        test, seed
    wine           178 wines, 13 measures, three classes (scikit-learn)         test, seed
    breast_cancer  569 tumours, 30 measures, two classes (scikit-learn)         test, seed
    diabetes       442 patients, 10 measures, regression (scikit-learn)         test, seed
    characters     next character of the Python standard library's sources      length, train, test, seed
    adding         the sum of the two marked numbers in a sequence              length, train, test, seed
    copy_memory    repeat ten symbols after a delay of `length` steps           length, train, test, seed
    ============== ============================================================ =======================

    Args:
        name: one of those.
        options: keywords of that set, as in ``load("adding", length=400)``.

    Raises:
        UnknownNameError: if there is no such set.
        ArgumentError: for an option that the set does not have, or out of its range, or where
            scikit-learn is needed and absent.

    >>> load("s4")
    Data('s4': 700 + 300 examples of shape (2,), regression, 1 outputs)
    """
    if not isinstance(name, str):
        raise WrongTypeError(f"name of a data set must be a string, found {type(name).__name__}")
    if name not in _SETS:
        raise UnknownNameError(
            f"data {name!r} is none of {', '.join(_SETS)}{did_you_mean(name, _SETS)}; "
            "your own data are a pair (X, Y)"
        )
    known = inspect.signature(_SETS[name]).parameters
    for option in options:
        if option not in known:
            raise ArgumentError(
                f"data {name!r} has no option {option!r}{did_you_mean(option, known)}: its options are "
                f"{', '.join(known)}"
            )
    data = _SETS[name](**options)
    kind = torch.get_default_dtype()
    parts = {part: getattr(data, part) for part in ("train_x", "train_y", "test_x", "test_y")}
    # Drawn as float32 whatever the default is, and then of the type that models are made of.
    return replace(data, **{part: t.to(kind) if t.is_floating_point() else t for part, t in parts.items()})
