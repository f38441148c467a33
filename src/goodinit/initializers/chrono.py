"""Gate biases of a recurrence that has to remember for a known number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from goodinit import rng
from goodinit.errors import ArgumentError, TensorError
from goodinit.initializers.base import finite
from goodinit.initializers.structured import Structured

__all__ = ["ChronoBias"]

# Which of torch's gate blocks remember (b = ln u), and which write (b = −ln u of the same u):
# LSTM packs input, forget, cell, output; GRU packs reset, update, new, and its update gate remembers.
_SIGNS = {4: (-1.0, 1.0, 0.0, 0.0), 3: (0.0, 1.0, 0.0)}


@dataclass(frozen=True)
class ChronoBias(Structured):
    """The packed bias of an LSTM or GRU whose units forget over 1 to `horizon` steps.

    forget b_f = ln u, input b_i = −ln u, with u uniform on [1, horizon − 1] for each unit and
    the other gates 0; of a GRU the update gate has ln u. A unit with forget gate
    σ(b_f) = u/(1 + u) keeps its state for about 1 + u steps.

    Args:
        horizon: longest number of steps to remember, above 2.
        gates: blocks in the bias: 4 for an LSTM, 3 for a GRU.

    Raises:
        ArgumentError: for a horizon of 2 or less, or another number of gates.
        TensorError: on filling a tensor that is no vector of that many blocks.

    >>> bias = ChronoBias(100).fill_(torch.empty(8), key=1)
    >>> torch.equal(bias[:2], -bias[2:4]), bool((bias[2:4] >= 0).all())
    (True, True)

    Source: Tallec & Ollivier (2018), Can recurrent neural networks warp time?, section 3.
    """

    horizon: float
    gates: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "horizon", finite("ChronoBias", "horizon", self.horizon))
        if self.horizon <= 2:
            raise ArgumentError(f"ChronoBias: horizon is a number of steps above 2, found {self.horizon!r}")
        if self.gates not in _SIGNS:
            raise ArgumentError(f"ChronoBias: gates must be 4 (LSTM) or 3 (GRU), found {self.gates!r}")

    def _units(self, shape: tuple[int, ...]) -> int:
        if len(shape) != 1 or shape[0] % self.gates:
            raise TensorError(f"ChronoBias needs a vector of {self.gates} equal blocks, found shape {shape}")
        return shape[0] // self.gates

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Exact mean and std over all gates, from E[ln u] and E[ln² u]."""
        self._units(shape)
        b = self.horizon - 1
        log = math.log(b)
        first = (b * log - b + 1) / (b - 1)
        second = (b * (log * log - 2 * log + 2) - 2) / (b - 1)
        signs = _SIGNS[self.gates]
        mean = first * sum(signs) / self.gates
        return mean, math.sqrt(second * sum(s * s for s in signs) / self.gates - mean * mean)

    @property
    def bounds(self) -> tuple[float, float]:
        """±ln(horizon − 1), or from 0 for a GRU."""
        high = math.log(self.horizon - 1)
        return (-high if -1.0 in _SIGNS[self.gates] else 0.0), high

    def uniform_of(self, values: torch.Tensor) -> torch.Tensor | None:
        """Return the u of each unit of a filled bias, or None where the blocks do not agree."""
        blocks = values.reshape(self.gates, -1)
        signs = torch.tensor(_SIGNS[self.gates], dtype=values.dtype, device=values.device)
        forget = blocks[1]
        return forget.exp() if torch.equal(blocks, signs.unsqueeze(1) * forget) else None

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        units = self._units(block.size)
        forget = torch.empty(units, dtype=torch.float64, device="cpu")
        rng.fill_uniform_(forget, key, 1.0, self.horizon - 1, region=block.narrow(0, units, units))
        signs = torch.tensor(_SIGNS[self.gates], dtype=torch.float64, device="cpu")
        return (signs.unsqueeze(1) * forget.log()).reshape(-1).to(dtype)
