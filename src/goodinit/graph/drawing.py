"""Gaussian numbers in the place of signals and weights, and what they may cost."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Budget", "SpentError", "drawn", "mapped", "wide"]

# Beyond these, all questions about one network together would cost more than its trace, about two
# seconds: operations, numbers that they make or draw, and products that weights sum.
_OPERATIONS, _NUMBERS, _PRODUCTS = 20_000, 2**29, 2**34
# Drawing a number costs as much as so many that other operations make.
_DRAWING = 8
# From so many numbers of a weight, or so many products, each result sums only a group of the features,
# as large as the other: what positions have in common does not change, and that is what counts.
_LARGE, _MANY = 2**18, 2**26
_GROUP = 64


class SpentError(LookupError):
    """A budget is spent."""


@dataclass
class Budget:
    """What the runs for one network may still cost."""

    operations: int = _OPERATIONS
    numbers: int = _NUMBERS
    products: float = _PRODUCTS

    def spend(self, operations: int = 0, numbers: int = 0, products: float = 0.0) -> None:
        """Take off what an operation costs.

        Raises:
            SpentError: if that is more than is left; nothing is taken off.
        """
        left = self.operations - operations, self.numbers - numbers, self.products - products
        if min(left) < 0:
            raise SpentError
        self.operations, self.numbers, self.products = left

    @property
    def low(self) -> bool:
        """Whether half of it is spent: the rest is for other questions, not for more digits of one."""
        return 2 * self.numbers < _NUMBERS or 2 * self.products < _PRODUCTS


def drawn(
    shape: Sequence[int], seed: int, key: int, budget: Budget, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return standard normal numbers; of one seed and key they are always the same."""
    budget.spend(numbers=_DRAWING * math.prod(shape))
    return torch.randn(tuple(shape), generator=_generator(seed, key)).to(dtype)


def wide(rows: int, features: int, results: int) -> bool:
    """Whether a weight is so large that `mapped` stands for it."""
    size = features * results
    return features > 4 * _GROUP and (size > _LARGE or rows * size > _MANY)


def mapped(signal: Tensor, results: int, seed: int, key: int, budget: Budget) -> Tensor:
    """Return a drawn map of a signal's last dimension, each result from one of many groups of features.

    Args:
        signal: (rows, features).
        results: how many results each row has.
        seed: of the drawing.
        key: of the weight; of one seed and key the map is always the same.
        budget: what it may cost.

    Returns:
        (rows, results), of no particular second moment.
    """
    rows, features = signal.shape
    groups = -(-features // _GROUP)
    each = -(-results // groups)
    budget.spend(
        numbers=rows * (features + 2 * results) + _DRAWING * _GROUP * groups * each,
        products=rows * _GROUP * groups * each,
    )
    generator = _generator(seed, key)
    order = torch.randperm(features, generator=generator)
    padded = torch.nn.functional.pad(signal[:, order], (0, groups * _GROUP - features))
    weight = torch.randn(groups, _GROUP, each, generator=generator).to(signal.dtype)
    made = torch.bmm(padded.view(rows, groups, _GROUP).transpose(0, 1), weight)
    # Side by side lie results of different groups, as the features of one head do.
    return made.permute(1, 2, 0).reshape(rows, -1)[:, :results].contiguous()


def _generator(seed: int, key: int) -> torch.Generator:
    # Of a seed the generator takes 32 bits.
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
