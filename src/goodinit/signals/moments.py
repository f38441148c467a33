"""Moments of one tensor, taken in float64 so that squares neither overflow nor underflow."""

from __future__ import annotations

import math

import torch

from goodinit.records import Moments

__all__ = ["flat_real", "moments", "varying_part"]

# Elements turned into float64 at a time: bounds the extra memory of a probe to 64 MiB.
_CHUNK = 1 << 23


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
    flat = flat_real(tensor)
    chunks = [_finite(part) for part in flat.split(_CHUNK)] if flat.numel() <= _CHUNK else None
    parts = chunks if chunks is not None else (_finite(part) for part in flat.split(_CHUNK))
    finite, total, square = 0, 0.0, 0.0
    for part in parts:
        finite += part.numel()
        total += float(part.sum())
        square += float(part.dot(part))
    if finite == 0:
        return Moments(flat.numel(), math.nan, math.nan, math.nan, flat.numel())
    mean, centred = total / finite, 0.0
    for part in chunks if chunks is not None else (_finite(part) for part in flat.split(_CHUNK)):
        away = part - mean
        centred += float(away.dot(away))
    return Moments(flat.numel(), mean, square / finite, math.sqrt(centred / finite), flat.numel() - finite)


def _finite(part: torch.Tensor) -> torch.Tensor:
    wide = part.double()
    good = torch.isfinite(wide)
    return wide if bool(good.all()) else wide[good]


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
    rows = flat_real(tensor).view(samples, -1)
    total = 0.0
    for part in rows.split(max(1, _CHUNK // samples), dim=1):
        total += float(part.double().var(dim=0, correction=0).sum())
    value = total / rows.shape[1]
    return value if math.isfinite(value) else None
