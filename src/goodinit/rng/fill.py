"""Filling tensors in place with addressed random values."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt
import torch

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.rng import native
from goodinit.rng.elementary import DOUBLE, SINGLE, Floats
from goodinit.rng.laws import normal_blocks, uniform_blocks
from goodinit.rng.native import Law, truncated_law
from goodinit.rng.region import Region
from goodinit.rng.truncated import truncate, truncated_blocks
from goodinit.rng.writing import Progress, check_fillable, write_

__all__ = ["fill_normal_", "fill_truncated_normal_", "fill_uniform_"]

_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_Blocks = npt.NDArray[np.uint64]


def fill_uniform_(
    tensor: torch.Tensor,
    key: int,
    low: float,
    high: float,
    *,
    region: Region | None = None,
    stream: int = 0,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Fill a tensor with values uniform on [low, high].

    x = min(low + (high − low)·u, high), u = (w >> 8)·2⁻²⁴ (float64: (w >> 11)·2⁻⁵³)

    Args:
        tensor: any floating tensor with strides; narrower types get the float32 value rounded once.
        key: 64-bit key from `derive_key`.
        low: lower bound.
        high: upper bound, not below low.
        region: which box of the global tensor this tensor is; the whole by default.
        stream: which independent stream of the key, below 2**32.
        progress: called with the number of elements done since the last call.

    Returns:
        The tensor.

    Raises:
        ArgumentError: if the bounds are not finite or not in order, or region does not fit.
        TensorError: if the tensor is not floating or overlaps itself.

    >>> from goodinit.rng import derive_key
    >>> fill_uniform_(torch.empty(3), derive_key(0, "w"), -1.0, 1.0).abs().max() <= 1
    tensor(True)

    Source: the standard map of 24 (53) bits to [0, 1).
    """
    if (
        progress is None
        and native.common(tensor, key, stream, low, high)
        and 0 <= high - low <= _LARGEST_SINGLE
        and (region is None or region.size == region.shape == tensor.shape)
    ):
        return native.write_common(tensor, key, stream, native.UNIFORM, low, high - low, high)
    check_fillable(tensor)
    low, high = _number("low", low), _number("high", high)
    double = tensor.dtype == torch.float64
    _require_finite(double, low=low, high=high)
    _require_order(low, high)
    _require_finite(double, **{"high - low": high - low})
    precision = DOUBLE if double else SINGLE

    def draw(blocks: _Blocks) -> Floats:
        return uniform_blocks(key, blocks, stream, precision, low, high - low, high)

    law = Law("uniform", (low, high - low, high))
    return write_(tensor, key, stream, region, progress, draw, law)


def fill_normal_(
    tensor: torch.Tensor,
    key: int,
    mean: float,
    std: float,
    *,
    region: Region | None = None,
    stream: int = 0,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Fill a tensor with normal values.

    x = mean + std·z, z by Box–Muller over the elements 2k and 2k + 1 of the global tensor

    Args:
        tensor: any floating tensor with strides; narrower types get the float32 value rounded once.
        key: 64-bit key from `derive_key`.
        mean: mean.
        std: standard deviation, not negative.
        region: which box of the global tensor this tensor is; the whole by default.
        stream: which independent stream of the key, below 2**32.
        progress: called with the number of elements done since the last call.

    Returns:
        The tensor.

    Raises:
        ArgumentError: if mean or std is not finite, std is negative, or region does not fit.
        TensorError: if the tensor is not floating or overlaps itself.

    >>> from goodinit.rng import derive_key
    >>> fill_normal_(torch.empty(2), derive_key(0, "w"), 0.0, 1.0).isfinite().all()
    tensor(True)

    Source: Box and Muller (1958).
    """
    if (
        progress is None
        and native.common(tensor, key, stream, mean, std)
        and std >= 0
        and (region is None or region.size == region.shape == tensor.shape)
    ):
        return native.write_common(tensor, key, stream, native.NORMAL, mean, std)
    check_fillable(tensor)
    mean, std = _number("mean", mean), _number("std", std)
    double = tensor.dtype == torch.float64
    _require_finite(double, mean=mean, std=std)
    _require_std(std)
    precision = DOUBLE if double else SINGLE

    def draw(blocks: _Blocks) -> Floats:
        return normal_blocks(key, blocks, stream, precision, mean, std)

    return write_(tensor, key, stream, region, progress, draw, Law("normal", (mean, std)))


def fill_truncated_normal_(
    tensor: torch.Tensor,
    key: int,
    mean: float,
    std: float,
    low: float,
    high: float,
    *,
    region: Region | None = None,
    stream: int = 0,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Fill a tensor with a normal law restricted to [low, high].

    x = mean + std·z, z = Φ⁻¹(Φ(a) + u(Φ(b) − Φ(a))), a = (low − mean)/std, b = (high − mean)/std

    Args:
        tensor: any floating tensor with strides; narrower types get the float32 value rounded once.
        key: 64-bit key from `derive_key`.
        mean: mean of the normal law before truncation.
        std: standard deviation before truncation, not negative; 0 gives the mean, clamped.
        low: lower bound, absolute (not in sigmas), may be −inf.
        high: upper bound, not below low, may be +inf.
        region: which box of the global tensor this tensor is; the whole by default.
        stream: which independent stream of the key, below 2**32.
        progress: called with the number of elements done since the last call.

    Returns:
        The tensor.

    Raises:
        ArgumentError: if an argument is outside its domain, or the interval begins more than 100
            standard deviations from the mean.
        TensorError: if the tensor is not floating or overlaps itself.

    >>> from goodinit.rng import derive_key
    >>> x = fill_truncated_normal_(torch.empty(9), derive_key(0, "w"), 0.0, 1.0, 2.0, 4.0)
    >>> bool(((x >= 2) & (x <= 4)).all())
    True

    Source: inversion; `goodinit.rng.truncated` has the arithmetic.
    """
    check_fillable(tensor)
    mean, std = _number("mean", mean), _number("std", std)
    low, high = _number("low", low), _number("high", high)
    double = tensor.dtype == torch.float64
    _require_finite(double, mean=mean, std=std)
    _require_std(std)
    _require_order(low, high)
    if low == math.inf or high == -math.inf:
        raise ArgumentError(f"the interval [{low}, {high}] holds no finite number: move low and high")
    precision = DOUBLE if double else SINGLE
    constant = std == 0 or low == high
    law = None
    if not constant:
        # A bad interval fails here, before any write.
        law = truncated_law(mean, std, low, high, truncate(mean, std, low, high, 53 if double else 32))

    def draw(blocks: _Blocks) -> Floats:
        if constant:
            return np.full((4, blocks.size), min(max(mean, low), high), precision.real)
        return truncated_blocks(key, blocks, stream, precision, mean, std, low, high)

    return write_(tensor, key, stream, region, progress, draw, law)


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise WrongTypeError(f"{name} must be a number, found {type(value).__name__}") from error
    except OverflowError as error:
        raise ArgumentError(f"{name} must be a float, found an integer beyond its range") from error
    if math.isnan(number):
        raise ArgumentError(f"{name} must be a number, found nan")
    return number


def _require_finite(double: bool, **arguments: float) -> None:
    largest = sys.float_info.max if double else _LARGEST_SINGLE
    for name, value in arguments.items():
        if abs(value) > largest:
            raise ArgumentError(
                f"{name} must be finite and at most {largest:.6g} in magnitude, found {value}"
            )


def _require_order(low: float, high: float) -> None:
    if low > high:
        raise ArgumentError(f"low must not be above high, found low={low} and high={high}")


def _require_std(std: float) -> None:
    if std < 0:
        raise ArgumentError(f"std must not be negative, found {std}")
