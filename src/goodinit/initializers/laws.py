"""Elementwise initializers: each value depends on its own index alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from goodinit import rng
from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.initializers.base import Initializer, Progress, finite, non_negative

__all__ = ["Constant", "Normal", "TruncatedNormal", "Uniform"]


def _coerce(owner: Initializer, /, **checked: float) -> None:
    """Store checked numbers as floats, so that `Normal(0, 1) == Normal(0.0, 1.0)` in JSON too."""
    for name, number in checked.items():
        object.__setattr__(owner, name, number)


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `value`: mean = value, std = 0.

    >>> Constant(0.5).bounds
    (0.5, 0.5)
    """

    value: float

    @property
    def deterministic(self) -> bool:
        """Always."""
        return True

    def __post_init__(self) -> None:
        _coerce(self, value=finite("Constant", "value", self.value))

    @property
    def mean(self) -> float:
        """The value."""
        return self.value

    @property
    def std(self) -> float:
        """Zero."""
        return 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The value, twice."""
        return self.value, self.value

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        if tensor.is_floating_point() and abs(self.value) > torch.finfo(tensor.dtype).max:
            raise ArgumentError(f"Constant: {self.value:g} is beyond the range of {tensor.dtype}")
        tensor.fill_(self.value)
        if progress:
            progress(tensor.numel())

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.constant_``; draws nothing."""
        return torch.nn.init.constant_(tensor, self.value)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal distribution N(mean, std²).

    Args:
        mean: mean of the values.
        std: standard deviation of the values, at least 0.

    Raises:
        ArgumentError: if a number is not finite or std is negative.

    >>> Normal(std=0.02).std
    0.02
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _coerce(self, mean=finite("Normal", "mean", self.mean), std=non_negative("Normal", "std", self.std))

    def _fill_common(self, tensor: torch.Tensor, key: int, progress: Progress | None) -> bool:
        rng.fill_normal_(tensor, key, self.mean, self.std, progress=progress)
        return True

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        rng.fill_normal_(tensor, key, self.mean, self.std, region=part, progress=progress)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.normal_``."""
        return torch.nn.init.normal_(tensor, self.mean, self.std, generator=generator)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform distribution on [low, high]: mean (low+high)/2, std (high−low)/√12.

    Args:
        low: lower bound.
        high: upper bound, at least `low`.

    Raises:
        ArgumentError: if a bound is not finite or high < low.

    >>> Uniform(-1.0, 1.0).std == 1 / math.sqrt(3)
    True
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = finite("Uniform", "low", self.low), finite("Uniform", "high", self.high)
        if high < low:
            raise ArgumentError(f"Uniform: high must be at least low, found low={low!r}, high={high!r}")
        _coerce(self, low=low, high=high)

    @property
    def mean(self) -> float:
        """(low + high) / 2."""
        return (self.low + self.high) / 2

    @property
    def std(self) -> float:
        """(high − low) / √12."""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    def _fill_common(self, tensor: torch.Tensor, key: int, progress: Progress | None) -> bool:
        rng.fill_uniform_(tensor, key, self.low, self.high, progress=progress)
        return True

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        rng.fill_uniform_(tensor, key, self.low, self.high, region=part, progress=progress)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.uniform_``."""
        return torch.nn.init.uniform_(tensor, self.low, self.high, generator=generator)


def truncated_std(cutoff: float) -> float:
    """Return the std of a standard normal conditioned on [−cutoff, cutoff].

    σ² = 1 − 2cφ(c)/(2Φ(c) − 1), with φ and Φ the standard normal density and distribution.

    >>> round(truncated_std(2.0), 8)
    0.87962566

    Source: Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1 (1994), section 13.10.
    """
    if math.isinf(cutoff):
        return 1.0
    if cutoff < 1e-3:
        # The formula cancels for small c; its series is c²/3 · (1 − 2c²/15 + O(c⁴)).
        return cutoff / math.sqrt(3) * math.sqrt(1 - 2 * cutoff**2 / 15)
    density = math.exp(-0.5 * cutoff**2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cutoff * density / math.erf(cutoff / math.sqrt(2)))


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal distribution conditioned on mean ± cutoff·σ, where `std` is the std *after* truncation.

    The σ of the normal before truncation is std / `truncated_std(cutoff)`, so that
    the filled values really have the std that was asked for.

    Args:
        mean: mean of the values.
        std: standard deviation of the values after truncation, at least 0.
        cutoff: half-width of the interval in units of the σ before truncation, above 0.

    Raises:
        ArgumentError: if a number is out of its domain.

    >>> low, high = TruncatedNormal(std=0.02).bounds
    >>> round(high, 6)
    0.045474
    """

    mean: float = 0.0
    std: float = 1.0
    cutoff: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.cutoff, bool) or not isinstance(self.cutoff, int | float):
            raise WrongTypeError(f"TruncatedNormal: cutoff must be a number, found {self.cutoff!r}")
        if not self.cutoff > 0:
            raise ArgumentError(f"TruncatedNormal: cutoff must be above 0 (in sigmas), found {self.cutoff!r}")
        mean, std = (
            finite("TruncatedNormal", "mean", self.mean),
            non_negative("TruncatedNormal", "std", self.std),
        )
        _coerce(self, mean=mean, std=std, cutoff=float(self.cutoff))

    @property
    def sigma(self) -> float:
        """The std of the normal before truncation."""
        return self.std / truncated_std(self.cutoff)

    @property
    def bounds(self) -> tuple[float, float]:
        """Mean ± cutoff·σ."""
        if self.std == 0:
            return self.mean, self.mean
        return self.mean - self.cutoff * self.sigma, self.mean + self.cutoff * self.sigma

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        low, high = self.bounds
        rng.fill_truncated_normal_(
            tensor, key, self.mean, self.sigma, low, high, region=part, progress=progress
        )

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.trunc_normal_`` with the σ and bounds of this value."""
        low, high = self.bounds
        return torch.nn.init.trunc_normal_(tensor, self.mean, self.sigma, low, high, generator=generator)
