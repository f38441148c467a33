"""Fans: how many inputs feed one output, and how many outputs one input feeds.

Plain arithmetic on sizes. A fan is the *mean* number of connections per unit,
borders left out, so a stride divides the side that it thins out and a fan need
not be a whole number. `shape_fans` is the exception: it repeats the guess of
``torch.nn.init``, which sees a shape and no use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from goodinit.errors import ArgumentError

__all__ = [
    "Fans",
    "bilinear_fans",
    "conv_fans",
    "conv_transpose_fans",
    "embedding_fans",
    "linear_fans",
    "shape_fans",
]


@dataclass(frozen=True)
class Fans:
    """Mean connections per output (`fan_in`) and per input (`fan_out`), in units.

    >>> Fans(3.0, 5.0).fan_avg
    4.0
    """

    fan_in: float
    fan_out: float

    @property
    def fan_avg(self) -> float:
        """(fan_in + fan_out) / 2, as in Glorot and Bengio 2010, equation 12."""
        return (self.fan_in + self.fan_out) / 2

    def of(self, mode: str) -> float:
        """Return the fan that a mode names.

        Args:
            mode: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``.

        Raises:
            ArgumentError: for any other mode.

        >>> Fans(3.0, 5.0).of("fan_out")
        5.0
        """
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ArgumentError(f"mode is {mode!r}; use 'fan_in', 'fan_out' or 'fan_avg'")
        return float(getattr(self, mode))


def linear_fans(out_features: int, in_features: int) -> Fans:
    """Return the fans of y = W x with a weight of shape (out_features, in_features).

    fan_in = in_features, fan_out = out_features

    Args:
        out_features: number of outputs, at least 0.
        in_features: number of inputs, at least 0.

    Raises:
        ArgumentError: if a size is negative.

    >>> linear_fans(10, 784)
    Fans(fan_in=784.0, fan_out=10.0)

    Source: counting; Glorot and Bengio 2010, section 4.2.1.
    """
    _size("out_features", out_features)
    _size("in_features", in_features)
    return Fans(float(in_features), float(out_features))


def conv_fans(
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    groups: int = 1,
    stride: int | Sequence[int] = 1,
) -> Fans:
    """Return the fans of a convolution.

    fan_in = in/groups · Πk,  fan_out = out/groups · Πk / Πstride

    A stride skips outputs, so one input feeds fewer of them. Dilation and padding
    move connections and change no count.

    Args:
        in_channels: channels of the input, all groups together.
        out_channels: channels of the output, all groups together.
        kernel: kernel size per dimension; an int is one dimension.
        groups: groups that split both channel counts.
        stride: stride per dimension; an int holds for every dimension.

    Raises:
        ArgumentError: if a size is out of range, the groups do not divide the
            channels, or kernel and stride differ in length.

    >>> conv_fans(8, 8, (3, 3), groups=8)
    Fans(fan_in=9.0, fan_out=9.0)

    Source: counting; He et al. 2015, equations 10 and 14, for stride 1 and one group.
    """
    taps, steps = _window(in_channels, out_channels, kernel, groups, stride)
    return Fans(in_channels / groups * taps, out_channels / groups * taps / steps)


def conv_transpose_fans(
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    groups: int = 1,
    stride: int | Sequence[int] = 1,
) -> Fans:
    """Return the fans of a transposed convolution.

    fan_in = in/groups · Πk / Πstride,  fan_out = out/groups · Πk

    The stride spreads the inputs out, so one output sees fewer of them.

    Args:
        in_channels: channels of the input, all groups together.
        out_channels: channels of the output, all groups together.
        kernel: kernel size per dimension; an int is one dimension.
        groups: groups that split both channel counts.
        stride: stride per dimension; an int holds for every dimension.

    Raises:
        ArgumentError: as `conv_fans`.

    >>> conv_transpose_fans(16, 4, (3, 3))
    Fans(fan_in=144.0, fan_out=36.0)

    Source: counting (the transpose of `conv_fans`).
    """
    taps, steps = _window(in_channels, out_channels, kernel, groups, stride)
    return Fans(in_channels / groups * taps / steps, out_channels / groups * taps)


def bilinear_fans(in1_features: int, in2_features: int, out_features: int) -> Fans:
    """Return the fans of y_o = Σ_ij x1_i W_oij x2_j.

    fan_in = in1 · in2,  fan_out = 2 · out · in1 · in2 / (in1 + in2)

    fan_out is the mean over the units of both inputs; it is out · in where they
    have one size.

    Args:
        in1_features: size of the first input.
        in2_features: size of the second input.
        out_features: number of outputs.

    Raises:
        ArgumentError: if a size is negative.

    >>> bilinear_fans(4, 4, 3)
    Fans(fan_in=16.0, fan_out=12.0)

    Source: counting.
    """
    _size("in1_features", in1_features)
    _size("in2_features", in2_features)
    _size("out_features", out_features)
    terms = in1_features * in2_features
    inputs = in1_features + in2_features
    return Fans(float(terms), 2.0 * out_features * terms / inputs if inputs else 0.0)


def embedding_fans(num_embeddings: int, embedding_dim: int, bag: float = 1.0) -> Fans:
    """Return the fans of a table look-up.

    fan_in = bag,  fan_out = embedding_dim

    A look-up multiplies the table by a one-hot row: one term reaches each output,
    however many rows the table has.

    Args:
        num_embeddings: rows of the table; checked, but no fan depends on it.
        embedding_dim: length of a row.
        bag: rows that are added up in one look-up (``EmbeddingBag(mode="sum")``).

    Raises:
        ArgumentError: if a size is negative.

    >>> embedding_fans(50_000, 512)
    Fans(fan_in=1.0, fan_out=512.0)

    Source: counting.
    """
    _size("num_embeddings", num_embeddings)
    _size("embedding_dim", embedding_dim)
    if not (bag >= 0 and math.isfinite(bag)):
        raise ArgumentError(f"bag is {bag!r}; give the number of rows added up, 0 or more")
    return Fans(float(bag), float(embedding_dim))


def shape_fans(shape: Sequence[int]) -> Fans:
    """Return the fans that ``torch.nn.init`` guesses from a shape alone.

    fan_in = shape[1] · Πshape[2:],  fan_out = shape[0] · Πshape[2:]

    Right for ``nn.Linear`` and for ungrouped convolutions of stride 1; wrong for
    ``x @ W``, grouped, strided and transposed convolutions, packed and stacked weights.

    Args:
        shape: at least two sizes.

    Raises:
        ArgumentError: for fewer than two dimensions, in torch's words.

    >>> shape_fans((8, 1, 3, 3))
    Fans(fan_in=9.0, fan_out=72.0)

    Source: ``torch.nn.init._calculate_fan_in_and_fan_out``.
    """
    if len(shape) < 2:
        raise ArgumentError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(shape[2:])
    return Fans(float(shape[1] * field), float(shape[0] * field))


def _window(
    in_channels: int,
    out_channels: int,
    kernel: int | Sequence[int],
    groups: int,
    stride: int | Sequence[int],
) -> tuple[int, int]:
    _size("in_channels", in_channels)
    _size("out_channels", out_channels)
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ArgumentError(
            f"groups is {groups!r}, which does not divide in_channels={in_channels} "
            f"and out_channels={out_channels}; give a common divisor"
        )
    sizes = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    steps = (stride,) * len(sizes) if isinstance(stride, int) else tuple(stride)
    if len(steps) != len(sizes):
        raise ArgumentError(
            f"kernel {sizes} has {len(sizes)} dimensions and stride {steps} has {len(steps)}; "
            "give one stride per kernel dimension, or one int"
        )
    for size in sizes:
        _size("kernel", size)
    if any(step < 1 for step in steps):
        raise ArgumentError(f"stride is {steps}; every stride must be at least 1")
    return math.prod(sizes), math.prod(steps)


def _size(argument: str, value: int) -> None:
    if value < 0:
        raise ArgumentError(f"{argument} is {value!r}; a size is 0 or more")
