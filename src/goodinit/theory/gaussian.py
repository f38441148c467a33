"""Moments of an activation under a Gaussian: E[φ], E[φ²], E[φ′²] and their like."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, Branch, activation
from goodinit.theory.sampling import Table, sample

__all__ = ["ActivationMoments", "moments", "raw_moments", "table_of", "variance"]

Array = NDArray[np.float64]

ACCURACY = 1e-10  # what the moments promise, relative to E|.|
SMALLEST_Q = 1e-30  # below, the limit q → 0 is taken here (a Gaussian of width 1e-15)
LARGEST_Q = 1e12
TAIL = 38.0  # e^(-38²/2) is the smallest float: nothing beyond it can count


@dataclass(frozen=True)
class ActivationMoments:
    """Moments of φ(x) for x ~ N(0, q).

    `derivative_*` are moments of φ′ as autograd gives it: a jump adds nothing, because
    it passes no gradient. `slope` is d E[φ(x)²] / dq and does see jumps. For a gated
    unit φ(a)·b, with a and b independent, `derivative_second_moment` is the mean over
    its two inputs and `inputs` is 2. `error` bounds the relative error of the second moments.
    """

    q: float
    mean: float
    second_moment: float
    fourth_moment: float
    derivative_mean: float
    derivative_second_moment: float
    derivative_fourth_moment: float
    slope: float
    error: float
    inputs: int = 1

    @property
    def variance(self) -> float:
        """E[φ²] − E[φ]²."""
        return self.second_moment - self.mean**2

    @property
    def kurtosis(self) -> float:
        """E[φ⁴] / E[φ²]², the raw kurtosis that sets forward fluctuations at finite width."""
        return self.fourth_moment / self.second_moment**2 if self.second_moment else math.nan

    @property
    def derivative_kurtosis(self) -> float:
        """E[φ′⁴] / E[φ′²]², the same for gradients."""
        below = self.derivative_second_moment**2
        return self.derivative_fourth_moment / below if below else math.nan


def moments(function: ActivationLike, q: float = 1.0) -> ActivationMoments:
    """Return the moments of an activation under x ~ N(0, q), to a relative 1e-10.

    E[φ(x)] = ∫ φ(√q z) e^(−z²/2) / √(2π) dz, and so on

    By Gauss–Legendre panels that are halved until the function is a polynomial on each,
    so that kinks, jumps and narrow features need not be known. Features narrower than
    1/1600, or |x|/600 beyond |x| = 16, can be missed. A function that rounds coarsely
    (float32, bfloat16) is answered with a warning, and `error` says how coarsely.
    Results are cached.

    Args:
        function: what `activation` takes.
        q: variance of the pre-activation, in its units squared, 0 to 1e12. At 0 the
            limit q → 0 is given, so that a kink at 0 counts half to each side.

    Returns:
        The moments; `derivative_second_moment` is infinite where the integral diverges,
        as for √|x|, and the fourth moments likewise.

    Raises:
        ArgumentError: if q is out of range, if φ is not finite where the Gaussian has
            weight, or if E[φ²] does not exist.

    >>> m = moments("relu")
    >>> round(m.second_moment, 10), round(m.derivative_second_moment, 10)
    (0.5, 0.5)

    Source: Poole et al. 2016, equation 3; Schoenholz et al. 2017, section 3.
    """
    found = raw_moments(activation(function), variance(q))
    if found.error > ACCURACY:
        name = activation(function).name
        if not found.error <= 1e-2:
            raise ArgumentError(
                f"activation {name!r}: the moments at q={q:g} did not converge (relative error up to "
                f"{found.error:.1e}); it changes too fast or too roughly to integrate. "
                "Give a smoother function, or one computed in float64"
            )
        warnings.warn(
            f"activation {name!r}: the moments at q={q:g} are accurate to {found.error:.0e} only, not 1e-10; "
            "the function itself rounds coarsely there (float32 inside, or less, or near equals subtracted)",
            stacklevel=2,
        )
    return found


def variance(q: float) -> float:
    """Return q as it is integrated, or raise ArgumentError where it is out of range."""
    if not 0 <= q <= LARGEST_Q:
        raise ArgumentError(f"q is {q!r}; the variance of a pre-activation is in [0, {LARGEST_Q:g}]")
    return max(float(q), SMALLEST_Q)


# Two bounded caches: tables are large and few, moments small and many.
_tables: OrderedDict[object, Table] = OrderedDict()
_moments: OrderedDict[object, ActivationMoments] = OrderedDict()
_lock = Lock()


def table_of(function: Activation, branch: Branch, q: float) -> Table:
    """Return the cached table of one branch, reaching far enough for variance q."""
    need = TAIL * math.sqrt(q)
    reach = 64.0  # then 4096, and so on: few tables serve all variances
    while reach < need:
        reach *= 64.0
    key = (branch.function, branch.kind, function.fingerprint, reach)
    with _lock:
        if key in _tables:
            _tables.move_to_end(key)
            return _tables[key]
    made = sample(branch, reach)
    with _lock:
        _tables[key] = made
        while len(_tables) > 24:
            _tables.popitem(last=False)
    return made


def raw_moments(function: Activation, q: float) -> ActivationMoments:
    """Return the moments with their error bound, without judging it; q within range."""
    key = (function, q)
    with _lock:
        if key in _moments:
            _moments.move_to_end(key)
            return _moments[key]
    parts = [(branch.weight, _branch_moments(function, branch, q)) for branch in function.branches]
    made = parts[0][1] if len(parts) == 1 else _mixed(parts, q)
    if function.gated:
        made = _gated(made)
    with _lock:
        _moments[key] = made
        while len(_moments) > 4096:
            _moments.popitem(last=False)
    return made


def _mixed(parts: list[tuple[float, ActivationMoments]], q: float) -> ActivationMoments:
    def mean(field: str) -> float:
        return sum(weight * float(getattr(part, field)) for weight, part in parts)

    return ActivationMoments(
        q,
        mean("mean"),
        mean("second_moment"),
        mean("fourth_moment"),
        mean("derivative_mean"),
        mean("derivative_second_moment"),
        mean("derivative_fourth_moment"),
        mean("slope"),
        max(part.error for _, part in parts),
    )


def _gated(gate: ActivationMoments) -> ActivationMoments:
    q = gate.q
    return ActivationMoments(
        q=q,
        mean=0.0,
        second_moment=gate.second_moment * q,
        fourth_moment=gate.fourth_moment * 3 * q * q,
        derivative_mean=gate.mean / 2,
        derivative_second_moment=(gate.derivative_second_moment * q + gate.second_moment) / 2,
        derivative_fourth_moment=(gate.derivative_fourth_moment * 3 * q * q + gate.fourth_moment) / 2,
        slope=gate.slope * q + gate.second_moment,
        error=gate.error,
        inputs=2,
    )


def _branch_moments(function: Activation, branch: Branch, q: float) -> ActivationMoments:
    table = table_of(function, branch, q)
    s = math.sqrt(q)
    low, high = np.searchsorted(table.x, [-TAIL * s, TAIL * s])
    part = slice(int(low), int(high))
    z = table.x[part] / s
    p = np.exp(-0.5 * z * z) * (table.weight[part] / (s * math.sqrt(2 * math.pi)))
    value, slope = table.value[part], table.slope[part]
    _check_gaps(function, table, s)
    with np.errstate(over="ignore", invalid="ignore"):
        squares, slopes = value * value, slope * slope
        second = float(p @ squares)
        _check_tail(function, p * squares, z, second, q)
        off = 2 * np.abs(value) * table.value_error[part]
        value_off = float(p @ off) / second if second else 0.0
        derivative = float(p @ slopes)
        if table.numerical and derivative < 1e-20 * second:
            derivative = 0.0  # a step function's derivative, up to rounding
        slope_off = float(p @ (2 * np.abs(slope) * table.slope_error[part]))
        slope_off = slope_off / derivative if derivative else 0.0
        if _unbounded(p * slopes, z, derivative) or (slope_off > 1e-3 and table.breaks.size):
            derivative, slope_off = math.inf, 0.0
        fourth = float(p @ (squares * squares))
        derivative_fourth = float(p @ (slopes * slopes))
        rise = _rise(table, part, p, z, q)
    error = max(value_off, slope_off)
    if error > ACCURACY:
        # The panels see only how rough the steps are; that all are rounded one way shows in the values.
        error = max(error, _grain(function))
    return ActivationMoments(
        q=q,
        mean=float(p @ value),
        second_moment=second,
        fourth_moment=fourth if math.isfinite(fourth) else math.inf,
        derivative_mean=float(p @ slope),
        derivative_second_moment=derivative,
        derivative_fourth_moment=derivative_fourth if math.isfinite(derivative_fourth) else math.inf,
        slope=rise,
        error=error,
    )


def _grain(function: Activation) -> float:
    """Relative error of a square, its root rounded to the coarsest format that holds all values seen."""
    if not function.fingerprint or len(function.branches) > 1:
        return 0.0  # one of our own functions
    values = torch.from_numpy(np.frombuffer(function.fingerprint).copy())
    if len(values.unique()) < 15:
        return 0.0  # a step or a bump: few values tell nothing of how they are rounded
    for coarse in (torch.bfloat16, torch.float16, torch.float32):
        if torch.equal(values.to(coarse).double(), values):
            return torch.finfo(coarse).eps
    return 0.0


def _rise(table: Table, part: slice, p: Array, z: Array, q: float) -> float:
    """The slope d E[φ²] / dq: E[φ² (z² − 1)] / 2q, or E[φ φ′ z] / √q for a small q.

    The first sees jumps; the second does not lose its digits where q is small, and
    there a jump away from 0 has no weight. What is taken off has mean 0.
    """
    value, slope = table.value[part], table.slope[part]
    middle = int(np.argmin(np.abs(z)))
    if q < 1e-6:
        product = value * slope
        return float(p @ (z * (product - product[middle]))) / math.sqrt(q)
    squares = value * value
    return float(p @ ((squares - squares[middle]) * (z * z - 1))) / (2 * q)


def _check_gaps(function: Activation, table: Table, s: float) -> None:
    for low, high in table.gaps:
        near = 0.0 if low <= 0 <= high else min(abs(low), abs(high)) / s
        width = (high - low) / s
        # Widths near rounding are a single bad point (0/0 at one place), which has no weight.
        if near < 12 and width > 1e-12:
            raise ArgumentError(
                f"activation {function.name!r} or its derivative is not finite (NaN or infinite) for x in "
                f"[{low:.6g}, {high:.6g}], where pre-activations of std {s:g} fall; "
                "guard it there, for instance with clamp or where"
            )


def _check_tail(function: Activation, terms: Array, z: Array, total: float, q: float) -> None:
    if _unbounded(terms, z, total):
        raise ArgumentError(
            f"activation {function.name!r}: E[φ(x)²] does not exist or is beyond float64 for "
            f"x ~ N(0, {q:g}); the function grows too fast"
        )


def _unbounded(terms: Array, z: Array, total: float) -> bool:
    """Does the integrand still count where the Gaussian ends? (A total near underflow is all tail.)"""
    far = np.abs(z) > TAIL - 4
    return not math.isfinite(total) or (total > 1e-280 and float(terms[far].sum()) > 1e-12 * total)
