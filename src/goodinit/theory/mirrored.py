"""Mirrored pairs around a bias: how a plain network can run an activation that no scale holds.

Units in pairs with pre-activations b + z and b − z, read by a weight [V, −V], pass on
V f(z) with f(z) = φ(b + z) − φ(b − z). This f is odd, so it makes no two inputs alike, and
where φ rises or falls at b it is a straight line for small z, whatever φ is: 4z for x² at b = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, Branch, activation
from goodinit.theory.gaussian import moments
from goodinit.theory.operating import OperatingPoint, operating_point

__all__ = ["MirroredPoint", "mirrored_point"]

# No bias where none is needed; else the smallest at which most functions have a slope.
_BIASES = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)


@dataclass(frozen=True)
class MirroredPoint:
    """Where mirrored pairs of units run an activation.

    Attributes:
        bias: b, the bias of every unit.
        passed: E[f(z)²] for z ~ N(0, q), what a pair hands to V.
        point: the operating point of f: q is that of z; σ_w, χ⊥ and χ∥ are those of V.
    """

    bias: float
    passed: float
    point: OperatingPoint


@dataclass(frozen=True)
class _Pair:
    """f(z) = φ(b + z) − φ(b − z). A value, so that equal pairs share cached moments."""

    function: Activation
    bias: float

    def __call__(self, z: Tensor) -> Tensor:
        return self.function(self.bias + z) - self.function(self.bias - z)


def mirrored_point(function: ActivationLike, depth: int) -> MirroredPoint | None:
    """Return the bias and second moment at which mirrored pairs hold signal and gradient.

    f(z) = φ(b + z) − φ(b − z)

    Args:
        function: what `activation` takes.
        depth: number of weight layers, at least 1.

    Returns:
        The first of b = 0, ±1, ±½, ±2 at which f has a good operating point; None where
        there is none, as for a step function.

    Raises:
        ArgumentError: if depth is below 1, or as `activation`.

    >>> found = mirrored_point("square", 50)  # (1 + z)² − (1 − z)² = 4z
    >>> found.bias, found.point.q, round(found.passed, 6), round(found.point.chi_perp, 6)
    (1.0, 1.0, 16.0, 1.0)

    Source: the mirrored weights of Balduzzi et al. (2017), section 4, with a bias.
    """
    if depth < 1:
        raise ArgumentError(f"depth must be at least 1, found {depth}")
    return _found(activation(function), depth)


@lru_cache(maxsize=256)
def _found(function: Activation, depth: int) -> MirroredPoint | None:
    if function.gated or function.random:
        return None
    for bias in _BIASES:
        name = f"{function.name} mirrored at {bias:g}"
        pair = Activation(name, (Branch(1.0, _Pair(function, bias)),))
        try:
            point = operating_point(pair, depth)
        except ArgumentError:
            continue  # no slope there, or too fast a growth
        if point.good:
            return MirroredPoint(bias, moments(pair, point.q).second_moment, point)
    return None
