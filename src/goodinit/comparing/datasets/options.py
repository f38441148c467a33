"""Options of data sets, checked."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from goodinit.errors import ArgumentError, WrongTypeError

__all__ = ["count", "generator", "number"]


def count(name: str, value: Any, least: int) -> int:
    """Return a whole number that is at least `least`, or raise an error that names it."""
    try:
        found = operator.index(value)
    except TypeError as error:
        raise WrongTypeError(f"{name} must be a whole number, found {value!r}") from error
    if found < least:
        raise ArgumentError(f"{name} must be at least {least}, found {found}")
    return found


def generator(seed: Any) -> torch.Generator:
    """Return torch's generator at a seed, or raise an error that says what a seed is."""
    return torch.Generator().manual_seed(count("seed", seed, 0) % 2**63)


def number(name: str, value: Any) -> float:
    """Return a finite number that is not negative, or raise an error that names it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError(f"{name} must be a number, found {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ArgumentError(f"{name} must be a finite number of at least 0, found {value!r}")
    return float(value)
