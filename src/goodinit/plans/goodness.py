"""Does one tensor follow one distribution? Exact where it can be, else by tests with a stated level."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from goodinit.initializers import (
    Constant,
    DeltaOrthogonal,
    Initializer,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from goodinit.initializers.structured import kernel_centre

__all__ = ["Outcome", "follows"]

#: Elements that the Kolmogorov–Smirnov test looks at; more would find rounding, not faults.
_KS_SAMPLE = 1 << 20

_Distribution = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Outcome:
    """Passed or not, by which test, with which p-value (None if exact)."""

    passed: bool
    test: str
    p_value: float | None
    detail: str


def follows(
    initializer: Initializer, tensor: torch.Tensor, level: float, stored: torch.dtype | None = None
) -> Outcome:
    """Test whether a tensor's values follow a simple initializer.

    Random laws: all values in bounds; then mean, variance, neighbouring elements'
    correlation and the Kolmogorov–Smirnov distance, each at a quarter of `level`.

    Args:
        initializer: a concrete initializer that is not composed of others.
        tensor: the values.
        level: probability of failing values that do follow it.
        stored: the dtype whose rounding the values went through (default: the tensor's).
    """
    stored = stored or tensor.dtype
    if tensor.numel() == 0:
        return Outcome(True, "empty", None, "no elements")
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        return Outcome(False, "finite", None, f"{bad} of {tensor.numel()} elements are NaN or infinite")
    if initializer.deterministic:
        return _equals(initializer, tensor, stored)
    if initializer.moments(tuple(tensor.shape))[1] == 0.0:
        return _equals(Constant(initializer.moments(tuple(tensor.shape))[0]), tensor, stored)
    if isinstance(initializer, Orthogonal | DeltaOrthogonal):
        return _orthogonal(initializer, tensor, stored)
    if isinstance(initializer, Sparse):
        zeros = (tensor == 0).sum(dim=0)
        wanted = initializer.zeros(tensor.shape[0])
        if bool((zeros < wanted).any()):
            return Outcome(
                False, "zeros", None, f"a column has {int(zeros.min())} zeros, planned are {wanted}"
            )
        return _law(Normal(0.0, initializer.std), tensor[tensor != 0], level, stored)
    return _law(initializer, tensor, level, stored)


def _equals(initializer: Initializer, tensor: torch.Tensor, stored: torch.dtype) -> Outcome:
    expected = torch.empty(tensor.shape, dtype=stored, device="cpu")
    initializer.fill_(expected, key=0)
    different = int((expected.to(tensor.dtype) != tensor.cpu()).sum())
    detail = (
        "equal" if not different else f"{different} of {tensor.numel()} elements differ from {initializer!r}"
    )
    return Outcome(not different, "exact", None, detail)


def _orthogonal(
    initializer: Orthogonal | DeltaOrthogonal, tensor: torch.Tensor, stored: torch.dtype
) -> Outcome:
    array = tensor.double().cpu().clone()
    if isinstance(initializer, DeltaOrthogonal):
        centre = kernel_centre(array)
        matrix = centre.clone()
        centre.zero_()
        if bool((array != 0).any()):
            return Outcome(False, "orthogonal", None, "elements beside the kernel's centre are not zero")
        matrices = matrix.unsqueeze(0)
    else:
        matrices = array.reshape(initializer.matrices(tuple(tensor.shape)))
    _, rows, columns = matrices.shape
    gram = matrices @ matrices.mT if rows <= columns else matrices.mT @ matrices
    size = gram.shape[-1]
    error = float((gram - initializer.gain**2 * torch.eye(size, dtype=gram.dtype, device="cpu")).abs().max())
    # Rounding each of n elements of size gain/√n moves a dot product by a few ulps of gain².
    allowed = 32 * float(torch.finfo(stored).eps) * max(initializer.gain**2, 1e-300)
    detail = f"largest |WWᵀ − gain²·I| is {error:.2g}, allowed {allowed:.2g}"
    return Outcome(error <= allowed, "orthogonal", None, detail)


def _law(initializer: Initializer, tensor: torch.Tensor, level: float, stored: torch.dtype) -> Outcome:
    from scipy import stats

    low, high = (float(torch.tensor(bound, dtype=stored, device="cpu")) for bound in initializer.bounds)
    smallest, largest = float(tensor.min()), float(tensor.max())
    if smallest < low or largest > high:
        return Outcome(
            False,
            "bounds",
            None,
            f"values in [{smallest:.4g}, {largest:.4g}], planned [{low:.4g}, {high:.4g}]",
        )
    mean, std = initializer.moments(tuple(tensor.shape))
    flat = tensor.detach().reshape(-1)
    count = flat.numel()
    measured_mean, measured_var, lag = _streamed(flat, mean)
    share = level / 4
    tests: list[tuple[float, str, str]] = []

    # Storage in few bits rounds values to a grid of relative spacing eps; it moves the
    # mean and variance by less than these amounts.
    eps = float(torch.finfo(stored).eps)
    z = max(0.0, abs(measured_mean - mean) - eps * abs(mean)) * math.sqrt(count) / std
    tests.append((2 * float(stats.norm.sf(z)), "mean", f"mean {measured_mean:.4g}, planned {mean:.4g}"))

    # Var of the mean square of deviations is (kurtosis − 1)σ⁴/n; a gamma distribution with
    # that mean and variance describes it down to small n.
    kurtosis = _kurtosis(initializer)
    shape = count / (kurtosis - 1)
    slack = 2 * eps + eps * abs(mean) / std
    ratio = measured_var / std**2
    below = float(stats.gamma.cdf(min(1.0, ratio * (1 + slack)), shape, scale=1 / shape))
    above = float(stats.gamma.sf(max(1.0, ratio / (1 + slack)), shape, scale=1 / shape))
    tests.append(
        (min(1.0, 2 * min(below, above)), "std", f"std {math.sqrt(measured_var):.4g}, planned {std:.4g}")
    )
    if count > 64:
        z = abs(lag) / std**2 * math.sqrt(count - 1)
        tests.append(
            (2 * float(stats.norm.sf(z)), "independence", f"neighbours correlate by {lag / std**2:+.3g}")
        )
    distance, used = _ks_distance(initializer, flat, stored)
    tests.append(
        (
            float(stats.kstwo.sf(distance, used)),
            "Kolmogorov–Smirnov",
            f"distance {distance:.3g} over {used} values",
        )
    )
    p_value, test, detail = min(tests)
    return Outcome(p_value >= share, test, min(1.0, 4 * p_value), detail)


def _streamed(flat: torch.Tensor, mean: float) -> tuple[float, float, float]:
    """Return (mean, E[(x−μ)²], E[(x_i−μ)(x_{i+1}−μ)]) with μ the planned mean, a few MB at a time."""
    total = square = product = 0.0
    chunk = 1 << 18
    for start in range(0, flat.numel(), chunk):
        values = flat[start : start + chunk + 1].double() - mean
        own = values[:chunk]
        total += float(own.sum())
        square += float(own.square().sum())
        product += float((values[:-1] * values[1:]).sum())
    count = flat.numel()
    return mean + total / count, square / count, product / max(count - 1, 1)


def _kurtosis(initializer: Initializer) -> float:
    from scipy import stats

    if isinstance(initializer, Uniform):
        return 1.8
    if isinstance(initializer, TruncatedNormal):
        return 3.0 + float(stats.truncnorm.stats(-initializer.cutoff, initializer.cutoff, moments="k"))
    return 3.0


def _distribution(initializer: Initializer) -> _Distribution:
    from scipy import special

    if isinstance(initializer, Uniform):
        low, width = initializer.low, initializer.high - initializer.low
        return lambda x: np.clip((x - low) / width, 0.0, 1.0)
    if isinstance(initializer, TruncatedNormal):
        mean, sigma, cutoff = initializer.mean, initializer.sigma, initializer.cutoff
        base, mass = special.ndtr(-cutoff), special.ndtr(cutoff) - special.ndtr(-cutoff)
        return lambda x: np.clip((special.ndtr((x - mean) / sigma) - base) / mass, 0.0, 1.0)
    assert isinstance(initializer, Normal)
    mean, std = initializer.mean, initializer.std
    return lambda x: np.asarray(special.ndtr((x - mean) / std))


def _ks_distance(initializer: Initializer, flat: torch.Tensor, stored: torch.dtype) -> tuple[float, int]:
    """Return the largest gap between empirical and planned distribution, and the number of values used.

    Stored values stand for all that round to them, so both distributions are compared
    at the upper edges of the rounding cells: right for float32 and for bfloat16 alike.
    """
    step = -(-flat.numel() // _KS_SAMPLE)
    sample = flat[::step].cpu()
    values, counts = torch.unique(sample.float() if sample.element_size() < 4 else sample, return_counts=True)
    upper = _next_above(values, stored)
    edges = (values.double() + upper.double()) / 2
    below = np.cumsum(counts.numpy()) / sample.numel()
    planned = _distribution(initializer)(edges.numpy())
    # Between the edges of one cell and the next nothing is observed, so the empirical
    # distribution is also known at the lower edge of each cell.
    lower = (values.double() + _next_below(values, stored).double()) / 2
    before = below - counts.numpy() / sample.numel()
    planned_before = _distribution(initializer)(lower.numpy())
    gap = max(float(np.abs(below - planned).max()), float(np.abs(before - planned_before).max()))
    return gap, sample.numel()


def _next_above(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if values.dtype == dtype:
        return torch.nextafter(values, torch.full_like(values, math.inf))
    # No nextafter for this storage type on every build: step by its spacing, which
    # doubles with the exponent and stops shrinking at the smallest normal number.
    info = torch.finfo(dtype)
    exponent = torch.floor(torch.log2(values.abs().clamp_min(info.tiny)))
    return values + torch.exp2(exponent) * info.eps


def _next_below(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return -_next_above(-values, dtype)
