"""Moments of one tensor, exact where float32 would overflow, underflow or cancel, at the speed of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from goodinit.records import Moments

__all__ = [
    "BLOCK",
    "COUNT",
    "LARGEST",
    "NONFINITE",
    "any_square_sum",
    "as_moments",
    "flat_real",
    "in_range",
    "merged",
    "moments",
    "share_of_small",
    "share_of_zeros",
    "square_sum",
    "sums",
    "varying",
    "varying_part",
]

# Places in the vector of `sums`.
COUNT, NONFINITE, MEAN, CENTRED, ZEROS, SMALL, LARGEST = range(7)
# Elements measured at a time: 1 MiB of float32 stays in a core's cache through all passes, and bounds the
# extra memory of a probe. On accelerators larger blocks, since starting a kernel costs more than memory.
BLOCK, _DEVICE_BLOCK = 1 << 18, 1 << 23
# float32 adds this many squares to within a few 1e-8; the sums of rows are added in float64.
_ROW = 1024
# Below this size float64 throughout costs nothing.
_SMALL_TENSOR = 4096
# Squares of float32 are safe in between: 1e15² · 1024 < 3e38, and what is lost below 1e-19 is nothing next to
# a value of 1e-12. float64 is as safe far beyond its own bounds here.
_RANGE = {torch.float32: (1e-12, 1e15), torch.float64: (1e-140, 1e140)}
# Where the mean is this many standard deviations, values are centred before they are squared.
_CENTRE = 2.0


def flat_real(tensor: torch.Tensor) -> torch.Tensor:
    """Return the values as a flat real tensor on a device that has float64."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.device.type == "mps":  # has no float64
        tensor = tensor.cpu()
    return tensor.reshape(-1)


def moments(tensor: torch.Tensor) -> Moments:
    """Return mean, second moment and std over all finite elements, and how many are not finite.

    The standard deviation is the population one, √(E[x²] − E[x]²), computed from
    centred values so that it keeps its digits where the mean is large.

    Args:
        tensor: any floating or complex tensor (a complex number counts as two reals).

    Returns:
        The moments; NaN where no element is finite.

    >>> moments(torch.tensor([1.0, 3.0, float("nan")]))
    Moments(count=3, mean=2.0, second_moment=5.0, std=1.0, nonfinite=1)
    """
    return as_moments(sums(tensor))


def sums(tensor: torch.Tensor, *, counts: bool = False) -> torch.Tensor:
    """Return what `as_moments` and `merged` need, as a float64 vector on the tensor's device.

    Entries: number of elements, of non-finite ones, then of the finite ones the mean,
    Σ(x − mean)² and, where asked for, the number of zeros, the number of zeros and
    subnormals, and the largest absolute value. On an accelerator nothing here waits
    for the device.

    Args:
        tensor: any floating or complex tensor.
        counts: whether to fill the last three entries, which take as long as all the
            others; NaN stands in their place otherwise.

    >>> sums(torch.tensor([1.0, 3.0])).tolist()[:4]
    [2.0, 0.0, 2.0, 2.0]
    """
    flat = flat_real(tensor)
    if flat.device.type == "cpu":
        if flat.numel() > _SMALL_TENSOR:
            quick = _quickly(flat, counts)
            if quick is not None:
                return quick
        blocks = [_carefully(part, counts) for part in flat.split(BLOCK)]
    else:
        blocks = [_on_device(part, counts) for part in flat.split(_DEVICE_BLOCK)]
    return merged(blocks)


def merged(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Merge vectors of `sums` of parts, or of batches, into the vector of them together.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances, 1979, equation 1.5.

    >>> one, two = sums(torch.tensor([1.0, 3.0])), sums(torch.tensor([8.0]))
    >>> as_moments(merged([one, two])) == moments(torch.tensor([1.0, 3.0, 8.0]))
    True
    """
    if len(parts) == 1:
        return parts[0]
    table = torch.stack(list(parts))
    finite = table[:, COUNT] - table[:, NONFINITE]
    total = finite.sum()
    mean = (finite * table[:, MEAN]).sum() / total.clamp(min=1)
    centred = table[:, CENTRED].sum() + (finite * (table[:, MEAN] - mean) ** 2).sum()
    result = table.sum(dim=0)
    result[MEAN], result[CENTRED], result[LARGEST] = mean, centred, table[:, LARGEST].amax()
    return result


def as_moments(vector: torch.Tensor) -> Moments:
    """Return the moments that a vector of `sums` describes."""
    count, nonfinite, mean, centred = vector[: CENTRED + 1].tolist()
    finite = count - nonfinite
    if not finite:
        return Moments(int(count), math.nan, math.nan, math.nan, int(nonfinite))
    variance = centred / finite
    return Moments(int(count), mean, mean * mean + variance, math.sqrt(variance), int(nonfinite))


def share_of_zeros(vector: torch.Tensor) -> float:
    """Return the share of exact zeros in a vector of `sums`."""
    return float(vector[ZEROS] / vector[COUNT].clamp(min=1))


def share_of_small(vector: torch.Tensor) -> float:
    """Return the share of elements that are zero or subnormal in a vector of `sums`."""
    return float(vector[SMALL] / vector[COUNT].clamp(min=1))


def in_range(vector: torch.Tensor) -> bool:
    """Are all values finite, and squares of them safe in float32? Waits for the device."""
    if vector[NONFINITE]:
        return False
    low, high = _RANGE[torch.float32]
    mean_square = float(vector[MEAN].square() + vector[CENTRED] / vector[COUNT].clamp(min=1))
    return mean_square == 0 or low * low <= mean_square <= high * high


def square_sum(flat: torch.Tensor) -> torch.Tensor:
    """Return Σx² of a flat contiguous tensor as a float64 number; squares must be in range."""
    return torch.cat(_norms(flat)).double().square().sum()


def any_square_sum(flat: torch.Tensor) -> torch.Tensor:
    """Return Σx² of a flat tensor as a float64 number, whatever its range."""
    if flat.device.type == "cpu" and flat.dtype == torch.float32 and flat.numel():
        low, high = _RANGE[torch.float32]
        found = square_sum(flat.contiguous())
        if low * low <= float(found) / flat.numel() <= high * high:
            return found
    wide = (flat.cpu() if flat.device.type == "mps" else flat).double()
    norm: torch.Tensor = torch.linalg.vector_norm(wide)
    return norm.square()


def _norms(flat: torch.Tensor) -> list[torch.Tensor]:
    """Return norms of rows, and of what is left over."""
    whole = flat.numel() // _ROW * _ROW
    norms = [torch.linalg.vector_norm(flat[:whole].view(-1, _ROW), dim=1)] if whole else []
    if whole < flat.numel():
        norms.append(torch.linalg.vector_norm(flat[whole:]).reshape(1))
    return norms


def _totals(flat: torch.Tensor) -> list[torch.Tensor]:
    """Return sums of rows, and of what is left over."""
    whole = flat.numel() // _ROW * _ROW
    totals = [flat[:whole].view(-1, _ROW).sum(dim=1)] if whole else []
    if whole < flat.numel():
        totals.append(flat[whole:].sum().reshape(1))
    return totals


def _largest_subnormal(dtype: torch.dtype) -> float:
    limits = torch.finfo(dtype)
    return limits.tiny * (1 - limits.eps)


def _quickly(flat: torch.Tensor, counts: bool) -> torch.Tensor | None:
    """Measure in the tensor's own precision (at least float32); None where that is not safe."""
    wide = torch.float64 if flat.dtype == torch.float64 else torch.float32
    count = flat.numel()
    zeros = small = largest = 0.0 if counts else math.nan
    totals: list[torch.Tensor] = []
    norms: list[torch.Tensor] = []
    room = _room(flat, wide) if counts else None
    for part in _widened(flat, wide):
        totals += _totals(part)
        norms += _norms(part)
        if room is not None:
            nothing, little, most = _counts(part, room[: part.numel()], _largest_subnormal(flat.dtype))
            zeros, small, largest = zeros + nothing, small + little, max(largest, most)
    mean, square = _added(totals, norms)
    mean /= count
    floor, ceiling = _RANGE[wide]
    if square == 0:
        if torch.count_nonzero(flat):
            return None
    elif not floor * floor <= square / count <= ceiling * ceiling:  # also where a value is NaN
        return None
    centred = max(square - count * mean * mean, 0.0)
    if count * mean * mean > _CENTRE**2 * centred:
        mean, centred = _around(flat, wide, mean)
    return torch.tensor([count, 0.0, mean, centred, zeros, small, largest], dtype=torch.float64)


def _counts(part: torch.Tensor, room: torch.Tensor, below: float) -> tuple[int, int, float]:
    """Return how many are zero, how many are at most `below` in size, and the largest size."""
    sizes = torch.abs(part, out=room)
    least, most = torch.amin(sizes).item(), torch.amax(sizes).item()  # quicker than both at once
    zeros = small = 0
    # Counting is slow, and most tensors hold nothing to count.
    if least == 0:
        zeros = part.numel() - int(torch.count_nonzero(part))
    if least <= below:
        small = part.numel() - int(torch.count_nonzero(torch.hardshrink(part, below, out=room)))
    return zeros, small, most


def _around(flat: torch.Tensor, wide: torch.dtype, mean: float) -> tuple[float, float]:
    """Return the mean and Σ(x − mean)² from differences to a number near the mean: these are exact."""
    pivot = torch.tensor(mean, dtype=wide)
    totals: list[torch.Tensor] = []
    norms: list[torch.Tensor] = []
    room = _room(flat, wide)
    for part in _widened(flat, wide):
        away = torch.sub(part, pivot, out=room[: part.numel()])
        totals += _totals(away)
        norms += _norms(away)
    total, square = _added(totals, norms)
    shift = total / flat.numel()
    return float(pivot) + shift, max(square - flat.numel() * shift * shift, 0.0)


def _added(totals: list[torch.Tensor], norms: list[torch.Tensor]) -> tuple[float, float]:
    """Return Σx and Σx² from sums and norms of rows."""
    return torch.cat(totals).double().sum().item(), torch.cat(norms).double().square().sum().item()


def _room(flat: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
    """Return memory for one block: fresh memory for each would cost more than the arithmetic."""
    return torch.empty(min(flat.numel(), BLOCK), dtype=wide)


def _widened(flat: torch.Tensor, wide: torch.dtype) -> Iterator[torch.Tensor]:
    room = None if flat.dtype == wide else _room(flat, wide)
    for part in flat.split(BLOCK):
        yield part if room is None else room[: part.numel()].copy_(part)


def _carefully(part: torch.Tensor, counts: bool) -> torch.Tensor:
    """Measure one block in float64."""
    wide = part.double()
    good = torch.isfinite(wide)
    if not bool(good.all()):
        wide = wide[good]
    finite = wide.numel()
    mean = float(wide.sum()) / finite if finite else 0.0
    away = wide - mean
    entries = [part.numel(), part.numel() - finite, mean, float(away.dot(away))]
    if counts:
        size = wide.abs()
        entries += [float((size == 0).sum()), float((size <= _largest_subnormal(part.dtype)).sum())]
        entries += [float(size.max()) if finite else 0.0]
    return torch.tensor(entries + [math.nan] * (LARGEST + 1 - len(entries)), dtype=torch.float64)


def _on_device(part: torch.Tensor, counts: bool) -> torch.Tensor:
    """The same without a decision that would have to wait for the device."""
    wide = part.double()
    good = torch.isfinite(wide)
    wide = torch.where(good, wide, 0.0)
    finite = good.sum(dtype=torch.float64)
    bad = part.numel() - finite
    mean = wide.sum() / finite.clamp(min=1)
    away = torch.where(good, wide - mean, 0.0)
    entries = [torch.full_like(finite, part.numel()), bad, mean, away.square().sum()]
    if counts:
        size = wide.abs()
        small = size <= _largest_subnormal(part.dtype)
        entries += [(size == 0).sum(dtype=torch.float64) - bad, small.sum(dtype=torch.float64) - bad]
        entries += [size.amax()]
    else:
        entries += [torch.full_like(finite, math.nan)] * 3
    return torch.stack(entries)


def varying(samples: torch.Tensor) -> torch.Tensor:
    """Return (B · v, B): the varying part v of B rows, each the values of one sample, ready to be added up.

    Every block is centred on its first row, so that what all samples share, however
    large, leaves no rounding behind.
    """
    count, width = samples.shape
    device = samples.device.type != "cpu"
    total = torch.zeros((), dtype=torch.float64, device=samples.device)
    for part in samples.split(max(64, (_DEVICE_BLOCK if device else BLOCK) // count), dim=1):
        if device:
            total += part.double().var(dim=0, correction=0).sum() * count
            continue
        if part.dtype not in _RANGE:
            part = part.float()
        away = part - part[:1]
        total += square_sum(away.reshape(-1)) - square_sum(away.sum(dim=0)) / count
    value = (total / width).clamp(min=0.0)
    return torch.stack([value, torch.full_like(value, count)])


def varying_part(tensor: torch.Tensor) -> float | None:
    """Return the part of the second moment that differs from sample to sample.

    E_i[Var_b(x_bi)]: the variance over the first dimension b at each remaining
    position i, averaged. What is left of the second moment, E_i[(E_b x_bi)²], is
    the same for every input and carries nothing about it.

    Args:
        tensor: an output whose first dimension counts samples.

    Returns:
        The varying part, in the unit of the second moment; None where there are
        fewer than two samples or any value is not finite.

    >>> varying_part(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    0.5
    """
    tensor = tensor.detach()
    if tensor.ndim < 2 or tensor.shape[0] < 2 or tensor.numel() == 0 or tensor.layout != torch.strided:
        return None
    samples = tensor.shape[0]
    total, count = varying(flat_real(tensor).view(samples, -1).double()).tolist()
    return total / count if math.isfinite(total) else None
