"""What a model makes of a weight's own numbers before it uses them: a factor, a mask, a norm, a function.

`W / √n`, a mask of zeros, `W / ‖W‖` or softplus(W) change what a drawn weight puts out. No rule knows
them all, so the recorded operations run on a draw, and the mean square of what comes out is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from goodinit.graph.flow import Flow, Part, Site, Weight
from goodinit.graph.holding import operands
from goodinit.graph.replaying import computed

__all__ = ["Making", "making_of"]

# A relative error of √(2/2²⁰), a tenth of a percent; a prime, so that rows of a larger weight differ.
_DRAWN = 1_048_573
# Beyond so many numbers one run would cost more than the rest of a trace.
_MOST = 2**25
# Small weights are drawn again and again, until a mean square is known to a percent.
_ENOUGH, _MOST_RUNS = 65_536, 16
# Operations that leave every number of a weight as it is.
_SILENT = {"clone", "_to_copy", "alias", "detach", "contiguous", "lift_fresh", "copy_"}
_TOLERANCE = 1e-4
_FACTOR = -1.0  # no standard deviation
_SEED = 20_261_122  # far from the small seeds with which models are built


@dataclass(frozen=True)
class Making:
    """What operations make of a weight before it is used.

    Attributes:
        flow: the coarse graph.
        site: the operation that uses the weight.
        part: the parameter in it.
        known: answers, by the standard deviation of the draw.
    """

    flow: Flow
    site: Site
    part: Part
    known: dict[float, float] = field(default_factory=dict)

    def moment(self, std: float) -> float:
        """Return the mean square of what is used of a parameter drawn from N(0, std²); NaN if unknown.

        Args:
            std: standard deviation of the parameter.
        """
        if std not in self.known:
            numel = math.prod(self.flow.tape.values[self.part.leaf].shape)
            runs = max(1, min(_MOST_RUNS, _ENOUGH // max(numel, 1)))
            made = [self._made(std, seed) for seed in range(runs)]
            squares = [float(t.to(torch.float64).square().mean()) for t in made if t is not None]
            self.known[std] = sum(squares) / len(squares) if squares else math.nan
        return self.known[std]

    @property
    def factor(self) -> float:
        """The constant |c| where what is used is c·W; NaN for a mask, a norm or any other function."""
        if _FACTOR not in self.known:
            self.known[_FACTOR] = self._factor()
        return self.known[_FACTOR]

    def _factor(self) -> float:
        made, drawn = self._made(1.0, 0), self._drawn(1.0, 0)
        if made is None or made.numel() != drawn.numel():
            return math.nan
        one, other = (tensor.to(torch.float64).abs().flatten().sort().values for tensor in (made, drawn))
        ratio = float(one[-1] / other[-1])
        return ratio if ratio > 0 and torch.allclose(one, ratio * other, rtol=_TOLERANCE) else math.nan

    def _drawn(self, std: float, seed: int) -> Tensor:
        value = self.flow.tape.values[self.part.leaf]
        count = math.prod(value.shape)
        numbers = torch.randn(min(count, _DRAWN), generator=torch.Generator().manual_seed(_SEED + seed))
        repeated = numbers.repeat(-(-count // max(numbers.numel(), 1)))[:count]
        return (std * repeated).reshape(value.shape).to(value.dtype)

    def _made(self, std: float, seed: int) -> Tensor | None:
        value = self.flow.tape.values[self.part.leaf]
        index = next(self._used(), None)
        if index is None or math.prod(value.shape) > _MOST:
            return None
        given = {part.leaf: self._beside(part) for part in self.site.parts}
        given[value.index] = self._drawn(std, seed)
        try:
            with torch.no_grad():
                made = computed(self.flow, index, given)
        except Exception:  # it depends on numbers that nobody holds, or on code that cannot run again
            return None
        if self.part.where is not None:
            made = made.narrow(*self.part.where)
        return made if made.numel() and not made.is_complex() else None

    def _used(self) -> Iterator[int]:
        """The value that an operation reads as the weight."""
        for index in operands(self.flow, self.site.node, self.site.shape):
            state = self.flow.states[index]
            if isinstance(state, Weight) and self.part in state.parts:
                yield index

    def _beside(self, part: Part) -> Tensor:
        """What another parameter of the same weight holds here: a gain is neutral, others are absent."""
        value = self.flow.tape.values[part.leaf]
        held = self.flow.tape.held.get(part.leaf)
        if part.role == "scale" and held is not None and held.device.type != "meta":
            # An author's constant stays, as does what is frozen; other gains are planned at 1.
            numbers = held.detach().cpu()
            if not held.requires_grad or bool((numbers == numbers.flatten()[0]).all()):
                return numbers
        neutral = float(part.role == "scale" and "exp" not in part.through)
        return torch.full(value.shape, neutral, dtype=value.dtype)


def making_of(flow: Flow, site: Site, part: Part) -> Making | None:
    """Return what is made of a weight before it is used; None where its numbers are used as they are.

    Args:
        flow: the coarse graph.
        site: the operation.
        part: the parameter in it.
    """
    if part.role or part.inner or not set(part.through) - _SILENT:
        return None
    return Making(flow, site, part)
