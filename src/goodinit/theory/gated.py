"""Moments of a gated unit φ(a)·ψ(b), whose two inputs may be correlated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import TAIL, moments, table_of, variance

__all__ = ["GatedMoments", "gated_moments"]

Array = NDArray[np.float64]

_LOOK = np.linspace(-9.0, 9.0, 25) + 0.0371  # off the usual kinks
_SAME = 1e-12  # of the largest value: a product, or a line, up to rounding


@dataclass(frozen=True)
class GatedMoments:
    """Moments of a gated unit φ(a)·ψ(b) for a ~ N(0, q_gate), b ~ N(0, q_value), correlation ρ.

    `gate_gradient` is E[(φ′(a) ψ(b))²] and `value_gradient` is E[(φ(a) ψ′(b))²]: the mean
    squared derivatives by a and by b.
    """

    mean: float
    second_moment: float
    gate_gradient: float
    value_gradient: float


def gated_moments(
    gate: ActivationLike, q_gate: float = 1.0, q_value: float = 1.0, correlation: float = 0.0
) -> GatedMoments:
    """Return the moments of the gated unit φ(a)·b, as in GLU and SwiGLU, or of φ(a)·ψ(b).

    E[(φ(a) b)²] = q_value · (E[φ²] (1 − ρ²) + ρ² E[φ² z²]) with a = √q_gate z

    Args:
        gate: the function on the gate, or the name of a gated unit (``"swiglu"``), or a
            callable of two tensors (a, b) that is a product of a function of each.
        q_gate: variance of the gate's pre-activation.
        q_value: variance of the value.
        correlation: correlation ρ of the two, in [−1, 1]; 0 for weights drawn apart.

    Raises:
        ArgumentError: if an argument is out of range, as `moments`, for a callable of two
            tensors that is no product, or for ρ ≠ 0 where ψ is not a straight line.

    >>> round(gated_moments("relu").second_moment, 10)
    0.5
    >>> import torch
    >>> round(gated_moments(lambda a, b: torch.relu(a) * (b + 1)).second_moment, 10)
    1.0

    Source: Dauphin et al. 2017, equation 1; Shazeer 2020, equation 5; b | a ~ N(ρ√(q_b/q_a) a, (1−ρ²) q_b).
    """
    if not -1 <= correlation <= 1:
        raise ArgumentError(f"correlation is {correlation!r}; give a number in [-1, 1]")
    spread = math.sqrt(variance(q_value)) if q_value else 0.0
    lift, rise = 0.0, 1.0  # ψ(b) = lift + rise · b
    if not _takes_two(gate):
        inner = activation(gate).ungated()
    else:
        inner, value = _factors(gate)
        line = _line(value)
        if line is None:
            if correlation:
                raise ArgumentError(
                    f"correlation is {correlation!r}, but {inner.name!r} is no straight line in its "
                    "second input; only such units have moments with correlated inputs: give 0"
                )
            one, other = moments(inner, q_gate), moments(value, q_value)
            return GatedMoments(
                one.mean * other.mean,
                one.second_moment * other.second_moment,
                one.derivative_second_moment * other.second_moment,
                one.second_moment * other.derivative_second_moment,
            )
        lift, rise = line
    moments(inner, q_gate)  # raises or warns where they are not accurate
    plain, squares, slopes = _by_power(inner, variance(q_gate))
    # ψ(b) given z is N(lift + along · z, across²).
    along, across = rise * spread * correlation, rise * spread * math.sqrt(1 - correlation**2)
    square = np.array([lift**2 + across**2, 2 * lift * along, along**2])
    return GatedMoments(
        mean=lift * float(plain[0]) + along * float(plain[1]),
        second_moment=float(square @ squares),
        gate_gradient=float(square @ slopes),
        value_gradient=rise**2 * float(squares[0]),
    )


def _by_power(function: Activation, q: float) -> Array:
    """E[f zᵏ] for f = φ, φ², φ′² (rows) and k = 0, 1, 2."""
    s = math.sqrt(q)
    total = np.zeros((3, 3))
    for branch in function.branches:
        table = table_of(function, branch, q)
        z = table.x / s
        keep = np.abs(z) < TAIL
        z = z[keep]
        p = np.exp(-0.5 * z * z) * (table.weight[keep] / (s * math.sqrt(2 * math.pi)))
        value, slope = table.value[keep], table.slope[keep]
        for row, f in enumerate((value, value**2, slope**2)):
            total[row] += [branch.weight * float((p * f) @ z**k) for k in range(3)]
    return total


def _takes_two(function: Any) -> bool:
    if isinstance(function, str | Activation | type) or not callable(function):
        return False
    try:
        parameters = inspect.signature(
            function.forward if isinstance(function, nn.Module) else function
        ).parameters.values()
    except (TypeError, ValueError):
        return False  # built in: an elementwise function of one tensor, as far as one can see
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len([p for p in needed if p.default is p.empty]) == 2


def _factors(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Activation, Activation]:
    """Split f(a, b) into φ(a) = f(a, b₀) and ψ(b) = f(a₀, b) / f(a₀, b₀)."""
    name = str(getattr(function, "__name__", type(function).__name__))
    a, b = (torch.from_numpy(x.copy()) for x in np.meshgrid(_LOOK, _LOOK, indexing="ij"))
    try:
        grid = torch.as_tensor(function(a.flatten(), b.flatten())).detach().double().reshape(a.shape)
    except Exception as error:  # a black box may raise anything
        raise ArgumentError(
            f"gated unit {name!r} failed on two float64 tensors of shape {(a.numel(),)}: "
            f"{type(error).__name__}: {error}. Give an elementwise function of two tensors"
        ) from error
    at = divmod(int(grid.abs().argmax()), len(_LOOK))
    top = float(grid[at])
    off = float((grid * top - grid[:, at[1], None] * grid[None, at[0], :]).abs().max())
    if not top or not off <= _SAME * top**2:
        raise ArgumentError(
            f"gated unit {name!r} is not a product of a function of its first input and one of its second; "
            "only such units have moments here"
        )
    a0, b0 = float(_LOOK[at[0]]), float(_LOOK[at[1]])

    def first(a: Tensor) -> Tensor:
        return function(a, torch.full_like(a, b0))

    def second(b: Tensor) -> Tensor:
        return function(torch.full_like(b, a0), b) / top

    first.__name__ = second.__name__ = name
    return activation(first), activation(second)


def _line(function: Activation) -> tuple[float, float] | None:
    """Intercept and slope of a straight line, or None for anything else."""
    x = torch.from_numpy(np.concatenate([40 * _LOOK, _LOOK]))  # far out too, where a clamp would bite
    y = function(x).detach()
    ends = len(_LOOK) - 1
    slope = float((y[ends] - y[0]) / (x[ends] - x[0]))
    lift = float((y - slope * x).mean())
    return (lift, slope) if bool((y - lift - slope * x).abs().max() <= _SAME * y.abs().max()) else None
