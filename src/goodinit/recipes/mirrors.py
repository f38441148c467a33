"""Which plain chains of a traced network can run on mirrored pairs of units, and where.

Mirrored weights need nothing but plain layers of even widths. Where φ(x) − φ(−x) is a multiple
of x the chain is then linear (`LooksLinear`); elsewhere it is nearly so for small signals
around a bias (`goodinit.theory.mirrored_point`), which the layers must have.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from goodinit.graph import Elementwise, Graph, WeightUse
from goodinit.recipes.making import only_scaled
from goodinit.recipes.staying import kept_biases, shifted
from goodinit.theory import Activation, MirroredPoint, activation, mirrored_point, moments

__all__ = ["MIRRORED_FROM", "activation_like", "pairs_of", "structure_fits", "unmirrors"]

# Rectifiers and most other functions make all inputs alike on the way (their correlation map has
# slope 1 only at 1); from 50 layers on, mirrored weights keep them apart instead.
MIRRORED_FROM = 50

# Signals of one narrow network may be twice as large as those of the mean over draws.
_ROOM = 2.0
# Signals of a plain network that is held do not come near the end of this range.
_FAR = torch.cat([sign * torch.logspace(0, 4, 65, dtype=torch.float64) for sign in (1, -1)])


def structure_fits(graph: Graph, chain: Sequence[WeightUse]) -> bool:
    """Tell whether every weight of a chain is a plain map that can be mirrored in signs."""
    # Weights that stay are no mirrors, nor are units whose biases differ.
    stays = {name for name, bias in kept_biases(graph).items() if math.isnan(bias)}
    stays |= graph.kept | graph.values.keys()
    return len(chain) > 1 and all(use.name not in stays and _fits(graph, use) for use in chain)


def _fits(graph: Graph, use: WeightUse) -> bool:
    plain = use.op in ("matmul", "convolution") and use.groups == 1 and set(use.stride) <= {1}
    plain = plain and use.contracted[:1] == (1,) and not use.batch and len(graph[use.name]) == 1
    plain = plain and only_scaled(use)
    if use.source.kind == "weight":
        plain = plain and use.source.activation is not None
        plain = plain and use.shape[1] % 2 == 0 and not use.source.pooled
    if use.sink.kind == "weight":
        plain = plain and use.shape[0] % 2 == 0 and len(use.sinks) == 1
    return plain


def pairs_of(
    graph: Graph, chain: Sequence[WeightUse], functions: Sequence[Elementwise]
) -> dict[Elementwise, MirroredPoint] | None:
    """Return where mirrored pairs run each function of a chain that fits, or None where they cannot."""
    found: dict[Elementwise, MirroredPoint] = {}
    for function in functions:
        point = mirrored_point(activation_like(function), len(chain))
        if point is None:
            return None
        found[function] = point
    if any(point.bias for point in found.values()):
        free = {name for use in graph if (name := shifted(use)) is not None} - kept_biases(graph).keys()
        moved = [use for use in chain if use.sink.activation in found and found[use.sink.activation].bias]
        if not all(use.name in free for use in moved if use.sink.kind == "weight"):
            return None
    # Signals keep one size along the chain: the smallest, at which every pair is at its straightest.
    q = min((point.point.q for point in found.values()), default=1.0)
    return {function: _at(function, point, q) for function, point in found.items()}


def _at(function: Elementwise, point: MirroredPoint, q: float) -> MirroredPoint:
    if point.point.q == q:
        return point

    def pair(z: torch.Tensor) -> torch.Tensor:
        return function.function(point.bias + z) - function.function(point.bias - z)

    passed = moments(activation(pair), q).second_moment
    return dataclasses.replace(point, passed=passed, point=dataclasses.replace(point.point, q=q))


def unmirrors(function: Elementwise) -> bool:
    """Tell whether φ(x) − φ(−x) is a multiple of x while φ itself is not: ReLU, GELU, SiLU, Softplus."""
    # From far below to far above any usual kink or threshold.
    x = torch.logspace(-4, 2, 97, dtype=torch.float64)
    odd = (function(x) - function(-x)) / x
    bent = function(x) / x - function(-x) / -x
    return bool((odd - odd[0]).abs().max() < 1e-9) and bool(odd[0] > 0.1) and bool(bent.abs().max() > 0.1)


def activation_like(function: Elementwise) -> Activation:
    """Return a traced elementwise function as `goodinit.theory` knows it; equal ones share cached moments.

    Where the model's own code overflows before its result does, as log(1 + exp x) at 89, so does this.
    """
    return _like(function, _overflows(function.function))


@lru_cache(maxsize=256)
def _like(function: Elementwise, overflows: bool) -> Activation:
    if overflows:
        return activation(_Overflowing(function))
    return activation(function.name if function.known else function.function)


@lru_cache(maxsize=256)
def _overflows(function: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    far = _FAR.to(torch.float32)
    with torch.no_grad():
        own, exact = function(far), function(far.to(torch.float64)).to(torch.float32)
    return bool((~own.isfinite() & exact.isfinite()).any())


@dataclass(frozen=True)
class _Overflowing:
    """A function as exact as can be, infinite where in single precision it is so near to not finite."""

    function: Elementwise

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        finite = self.function.function((_ROOM * x.detach()).to(torch.float32)).isfinite()
        return torch.where(finite, self.function.function(x), math.inf)
