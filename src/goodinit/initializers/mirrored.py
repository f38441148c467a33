"""Looks-linear weights: a rectifier network that is linear, and isometric, at the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from goodinit import rng
from goodinit.errors import TensorError, UnknownNameError, did_you_mean
from goodinit.initializers.base import non_negative
from goodinit.initializers.haar import haar_matrices
from goodinit.initializers.structured import Structured, kernel_centre

__all__ = ["LooksLinear"]

_SIDES = ("both", "outputs", "inputs")


@dataclass(frozen=True)
class LooksLinear(Structured):
    """An orthogonal matrix V mirrored in signs: [[V, −V], [−V, V]], times `gain`.

    After a layer whose outputs come in pairs (z, −z), ReLU leaves (z⁺, z⁻), and the mirrored
    weight restores V(z⁺ − z⁻) = V z: a stack of such layers is linear at the start, so that
    different inputs stay different at any depth. A convolution kernel carries the matrix
    at its centre.

    Args:
        gain: multiplier of the matrix, at least 0.
        mirror: ``"both"``; ``"outputs"`` for the first layer, [V; −V]; ``"inputs"`` for the
            last, [V, −V].

    Raises:
        TensorError: on filling a tensor of fewer than 2 dimensions, or whose mirrored
            dimension is odd.

    >>> w = LooksLinear().fill_(torch.empty(4, 4), key=1)
    >>> torch.equal(w[:2], -w[2:]), torch.equal(w[:, :2], -w[:, 2:])
    (True, True)

    Source: Balduzzi et al. (2017), The shattered gradients problem, section 4.
    """

    gain: float = 1.0
    mirror: str = "both"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", non_negative("LooksLinear", "gain", self.gain))
        if self.mirror not in _SIDES:
            raise UnknownNameError(
                f"LooksLinear: mirror must be one of {', '.join(_SIDES)}, found {self.mirror!r}"
                f"{did_you_mean(str(self.mirror), _SIDES)}"
            )

    def _core(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the shape of V."""
        if len(shape) < 2:
            raise TensorError(f"LooksLinear needs a tensor of at least 2 dimensions, found shape {shape}")
        halves = {"both": (2, 2), "outputs": (2, 1), "inputs": (1, 2)}[self.mirror]
        for dim, half in enumerate(halves):
            if shape[dim] % half:
                raise TensorError(f"LooksLinear: dimension {dim} must be even to be mirrored, found {shape}")
        return shape[0] // halves[0], shape[1] // halves[1]

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean 0, std gain / √(max(rows, columns of V)·∏kernel)."""
        rows, columns = self._core(shape)
        return 0.0, self.gain / math.sqrt(max(rows, columns, 1) * max(math.prod(shape[2:]), 1))

    @property
    def bounds(self) -> tuple[float, float]:
        """±gain."""
        return -self.gain, self.gain

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        rows, columns = self._core(block.size)
        core = block.narrow(0, 0, rows).narrow(1, 0, columns)
        for dim, length in enumerate(block.size[2:], start=2):
            core = core.narrow(dim, length // 2, 1)
        matrix = haar_matrices(core, (1, rows, columns), key, dtype)[0].mul_(self.gain)
        if self.mirror in ("both", "inputs"):
            matrix = torch.cat([matrix, -matrix], dim=1)
        if self.mirror in ("both", "outputs"):
            matrix = torch.cat([matrix, -matrix], dim=0)
        array = torch.zeros(block.size, dtype=dtype, device="cpu")
        kernel_centre(array).copy_(matrix)
        return array

    def core_of(self, values: torch.Tensor) -> Any:
        """Return V of a filled tensor, or None where the mirroring does not hold."""
        rows, columns = self._core(tuple(values.shape))
        centre = kernel_centre(values)
        core = centre[:rows, :columns]
        rebuilt = core
        if self.mirror in ("both", "inputs"):
            rebuilt = torch.cat([rebuilt, -rebuilt], dim=1)
        if self.mirror in ("both", "outputs"):
            rebuilt = torch.cat([rebuilt, -rebuilt], dim=0)
        beside = values.clone()
        kernel_centre(beside).zero_()
        return core if torch.equal(rebuilt, centre) and not bool((beside != 0).any()) else None
