"""Does one tensor follow one distribution? Exact where it can be, else by tests with a stated level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from goodinit.initializers import (
    ChronoBias,
    Constant,
    DeltaOrthogonal,
    Initializer,
    LooksLinear,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from goodinit.initializers.structured import kernel_centre
from goodinit.plans.tails import correlation_tail, mean_square_tail

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
    initializer: Initializer,
    tensor: torch.Tensor,
    level: float,
    stored: torch.dtype | None = None,
    zeroed: Sequence[int] = (),
) -> Outcome:
    """Test whether a tensor's values follow a simple initializer.

    Random laws: all values in bounds; then mean, variance, neighbouring elements'
    correlation and the Kolmogorov–Smirnov distance, each at a quarter of `level`.

    Args:
        initializer: a concrete initializer that is not composed of others.
        tensor: the values.
        level: probability of failing values that do follow it.
        stored: the dtype whose rounding the values went through (default: the tensor's).
        zeroed: rows of dimension 0 that were set to zero afterwards.
    """
    stored = stored or tensor.dtype
    if tensor.numel() == 0:
        return Outcome(True, "empty", None, "no elements")
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        return Outcome(False, "finite", None, f"{bad} of {tensor.numel()} elements are NaN or infinite")
    for index in zeroed:
        if bool((tensor[index] != 0).any()):
            return Outcome(False, "exact", None, f"row {index} should be all zero")
    mean, std = initializer.moments(tuple(tensor.shape))
    if initializer.deterministic or std == 0.0:
        exact = initializer if initializer.deterministic else Constant(mean)
        return _equals(exact, tensor, stored, zeroed)
    if isinstance(initializer, Orthogonal | DeltaOrthogonal | LooksLinear):
        return _orthogonal(initializer, tensor, stored, zeroed)
    if isinstance(initializer, ChronoBias):
        steps = initializer.uniform_of(tensor)
        if steps is None:
            return Outcome(False, "blocks", None, "the gates' blocks are no signed copies of one another")
        return _law(Uniform(1.0, initializer.horizon - 1), steps, level, stored)
    if isinstance(initializer, Sparse):
        return _sparse(initializer, tensor, level, stored, zeroed)
    if zeroed:
        tensor = tensor[[index for index in range(tensor.shape[0]) if index not in set(zeroed)]]
        if tensor.numel() == 0:
            return Outcome(True, "empty", None, "no elements beside the zeroed rows")
    return _law(initializer, tensor, level, stored)


def _equals(
    initializer: Initializer, tensor: torch.Tensor, stored: torch.dtype, zeroed: Sequence[int]
) -> Outcome:
    expected = torch.empty(tensor.shape, dtype=stored, device="cpu")
    initializer.fill_(expected, key=0)
    expected = expected.to(tensor.dtype)
    for index in zeroed:
        expected[index] = 0
    different = int((expected != tensor.cpu()).sum())
    detail = (
        "equal" if not different else f"{different} of {tensor.numel()} elements differ from {initializer!r}"
    )
    return Outcome(not different, "exact", None, detail)


def _orthogonal(
    initializer: Orthogonal | DeltaOrthogonal | LooksLinear,
    tensor: torch.Tensor,
    stored: torch.dtype,
    zeroed: Sequence[int],
) -> Outcome:
    array = tensor.double().cpu().clone()
    if isinstance(initializer, DeltaOrthogonal):
        centre = kernel_centre(array)
        matrix = centre.clone()
        centre.zero_()
        if bool((array != 0).any()):
            return Outcome(False, "orthogonal", None, "elements beside the kernel's centre are not zero")
        matrices = matrix.unsqueeze(0)
    elif isinstance(initializer, LooksLinear):
        core = initializer.core_of(array)
        if core is None:
            return Outcome(False, "orthogonal", None, "the two halves are not mirror images in sign")
        matrices = core.unsqueeze(0)
    else:
        matrices = array.reshape(initializer.matrices(tuple(tensor.shape)))
    _, rows, columns = matrices.shape
    gram = (matrices @ matrices.mT if rows <= columns else matrices.mT @ matrices) / initializer.gain**2
    size = gram.shape[-1]
    # The factorization leaves a few ulps of the working precision. Rounding for storage moves each
    # element by at most eps/2 of itself, and below the normal numbers by half a quantum; by
    # Cauchy–Schwarz a dot product of two rows then moves by at most eps and √length quanta.
    length = max(rows, columns)
    working = torch.finfo(torch.float64 if stored == torch.float64 else torch.float32).eps
    narrowing = 0.0 if torch.finfo(stored).eps <= working else 1.1 * torch.finfo(stored).eps
    allowed = 32 * working + narrowing + _quantum(stored) * math.sqrt(length) / initializer.gain
    if zeroed:
        # Without k of its rows WᵀW is I less a matrix of rank k: all but k eigenvalues stay 1.
        eigenvalues = torch.linalg.eigvalsh(gram)
        allowed *= math.sqrt(size)  # ‖ΔW‖ ≤ ‖ΔW‖_F
        outside = (eigenvalues > 1 + allowed) | (eigenvalues < -allowed)
        wrong = int(outside.sum()) + int(
            ((eigenvalues < 1 - allowed).sum(-1) - len(zeroed)).clamp_min(0).sum()
        )
        detail = (
            f"{wrong} singular values differ from gain={initializer.gain:g}, beside {len(zeroed)} zero rows"
        )
        return Outcome(not wrong, "orthogonal", None, detail)
    error = float((gram - torch.eye(size, dtype=gram.dtype, device="cpu")).abs().max())
    detail = f"largest |WWᵀ/gain² − I| is {error:.2g}, allowed {allowed:.2g}"
    return Outcome(error <= allowed, "orthogonal", None, detail)


def _sparse(
    initializer: Sparse, tensor: torch.Tensor, level: float, stored: torch.dtype, zeroed: Sequence[int]
) -> Outcome:
    from scipy import stats

    zeros = (tensor == 0).sum(dim=0)
    wanted = initializer.zeros(tensor.shape[0])
    if bool((zeros < wanted).any()):
        return Outcome(False, "zeros", None, f"a column has {int(zeros.min())} zeros, planned are {wanted}")
    # More zeros than planned come from zeroed rows and from values that storage rounds to zero; a draw
    # is zero by itself once in 2²⁴ at most.
    surplus = int((zeros - wanted - len(zeroed)).clamp_min(0).sum())
    vanishing = max(math.erf(_quantum(stored) / (2 * math.sqrt(2) * initializer.std)), 2.0**-24)
    if stats.binom.sf(surplus - 1, tensor.numel(), vanishing) < level / 2:
        return Outcome(False, "zeros", None, f"a column has {int(zeros.max())} zeros, planned are {wanted}")
    rest = tensor[tensor != 0]
    # Where storage rounds more values to zero than a test would miss, the law of the rest is unknown.
    if vanishing * math.sqrt(rest.numel()) > 0.1 or not rest.numel():
        return Outcome(True, "zeros", None, f"{wanted} zeros in each column; {stored} is too coarse for more")
    return _law(Normal(0.0, initializer.std), rest, level / 2, stored)


def _quantum(dtype: torch.dtype) -> float:
    """The distance of the numbers of a dtype around zero."""
    info = torch.finfo(dtype)
    return float(info.smallest_normal * info.eps)


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

    # Storage in few bits rounds values to a grid of relative spacing eps, and of a fixed one around
    # zero; it moves the mean and variance by less than these amounts. Where that grid is as coarse as
    # the law, only the distribution over its cells says something.
    eps, quantum = float(torch.finfo(stored).eps), _quantum(stored) / std
    if quantum < 1:
        z = max(0.0, abs(measured_mean - mean) - eps * abs(mean)) * math.sqrt(count) / std
        tests.append((2 * float(stats.norm.sf(z)), "mean", f"mean {measured_mean:.4g}, planned {mean:.4g}"))
        slack = 2 * eps + eps * abs(mean) / std + quantum**2
        p_value = mean_square_tail(initializer, measured_var / std**2, count, slack)
        tests.append((p_value, "std", f"std {math.sqrt(measured_var):.4g}, planned {std:.4g}"))
        if count > 1:
            detail = f"neighbours correlate by {lag / std**2:+.3g}"
            tests.append((correlation_tail(lag / std**2, count), "independence", detail))
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
    # No nextafter for this storage type on every build: step by its spacing, which doubles with the
    # exponent and stops shrinking at the smallest normal number. Towards zero from a power of two, the
    # spacing is that of the numbers below it.
    info = torch.finfo(dtype)
    fraction, exponent = torch.frexp(values.abs().clamp_min(info.tiny))
    step = torch.ldexp(torch.full_like(values, info.eps), exponent - 1)
    inwards = (values < -info.tiny) & (fraction == 0.5)
    return values + torch.where(inwards, step / 2, step)


def _next_below(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return -_next_above(-values, dtype)
