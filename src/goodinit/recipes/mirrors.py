"""Which plain chains of a traced network can run on mirrored pairs of units, and where.

Mirrored weights need nothing but plain layers of even widths. Where φ(x) − φ(−x) is a multiple
of x the chain is then linear (`LooksLinear`); elsewhere it is nearly so for small signals
around a bias (`goodinit.theory.mirrored_point`), which the layers must have.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from goodinit.graph import Elementwise, Graph, WeightUse
from goodinit.theory import Activation, MirroredPoint, activation, mirrored_point

__all__ = ["MIRRORED_FROM", "activation_like", "pairs_of", "shifted", "structure_fits", "unmirrors"]

# Rectifiers and most other functions make all inputs alike on the way (their correlation map has
# slope 1 only at 1); from 50 layers on, mirrored weights keep them apart instead.
MIRRORED_FROM = 50


def structure_fits(graph: Graph, chain: Sequence[WeightUse]) -> bool:
    """Tell whether every weight of a chain is a plain map that can be mirrored in signs."""
    return len(chain) > 1 and all(_fits(graph, use) for use in chain)


def _fits(graph: Graph, use: WeightUse) -> bool:
    plain = use.op in ("matmul", "convolution") and use.groups == 1 and set(use.stride) <= {1}
    plain = plain and use.contracted[:1] == (1,) and not use.batch and len(graph[use.name]) == 1
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
        biased = {name for use in graph if (name := shifted(use)) is not None}
        if not all(use.name in biased for use in chain if use.sink.kind == "weight"):
            return None
    return found


def shifted(use: WeightUse) -> str | None:
    """Return the weight of which a parameter is the bias, one number for each unit; None for others."""
    vector = sum(length > 1 for length in use.shape) == 1
    return use.of[0] if use.op == "shift" and vector and len(use.of) == 1 and not use.through else None


def unmirrors(function: Elementwise) -> bool:
    """Tell whether φ(x) − φ(−x) is a multiple of x while φ itself is not: ReLU, GELU, SiLU, Softplus."""
    # From far below to far above any usual kink or threshold.
    x = torch.logspace(-4, 2, 97, dtype=torch.float64)
    odd = (function(x) - function(-x)) / x
    bent = function(x) / x - function(-x) / -x
    return bool((odd - odd[0]).abs().max() < 1e-9) and bool(odd[0] > 0.1) and bool(bent.abs().max() > 0.1)


@lru_cache(maxsize=256)
def activation_like(function: Elementwise) -> Activation:
    """Return a traced elementwise function as `goodinit.theory` knows it; equal ones share cached moments."""
    return activation(function.name if function.known else function.function)
