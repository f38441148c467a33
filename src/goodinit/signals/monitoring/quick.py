"""Sizes and dead units of one tensor, without waiting for the device."""

from __future__ import annotations

import torch

from goodinit.signals.probing.moments import flat_real

__all__ = ["alive_units", "fetched", "rounded", "squared_norm"]

# float32 sums of more elements than this lose digits: 2⁻²⁴·√2¹⁸ is 3e-5.
_CHUNK = 1 << 18
# Outside of these a square leaves float32's normal range or nears it: 1e-30 to 1e36.
_LOW, _HIGH = 1e-15, 1e18


def squared_norm(tensor: torch.Tensor) -> torch.Tensor:
    """Return Σ|x|² as a float64 scalar on the tensor's device; NaN or infinite if any x is.

    Relative error about 1e-5 for float32 and shorter types, whatever the size of x: where
    a square could leave float32's range the sum is taken in float64.

    >>> f"{float(squared_norm(torch.full((4,), 1e-30))):.3g}"
    '4e-60'
    """
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce().values()
    flat = flat_real(tensor)
    total = torch.zeros((), dtype=torch.float64, device=flat.device)
    for part in flat.split(_CHUNK):
        if flat.device.type == "cpu" and part.dtype != torch.float64:
            norm = float(torch.linalg.vector_norm(part.float()))
            # Also where an element alone is out of range the norm is.
            if _LOW * part.numel() ** 0.5 < norm < _HIGH:
                total += norm * norm
                continue
        total += torch.linalg.vector_norm(part, dtype=torch.float64).square()
    return total


def alive_units(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return for each unit along `axis` whether any of its elements is not exactly zero.

    >>> alive_units(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 1)
    tensor([False,  True])
    """
    tensor = tensor.detach()
    if tensor.ndim == 0:
        return tensor.ne(0).reshape(1)
    units = tensor.shape[axis]
    if tensor.device.type == "cpu" and tensor.ndim > 1 and axis % tensor.ndim != 0 and tensor.shape[0] > 8:
        # Most units show that they are alive within a few samples; only the rest is read whole.
        alive = tensor[: max(1, tensor.shape[0] // 8)].ne(0).movedim(axis, 0).reshape(units, -1).any(dim=1)
        rest = (~alive).nonzero().flatten()
        if rest.numel():
            few = tensor.index_select(axis, rest) if rest.numel() < units else tensor
            alive[rest] = few.ne(0).movedim(axis, 0).reshape(rest.numel(), -1).any(dim=1)
        return alive
    return tensor.ne(0).movedim(axis, 0).reshape(units, -1).any(dim=1)


def fetched(scalars: list[torch.Tensor]) -> list[float]:
    """Bring scalars to the host, all of one device at once.

    >>> fetched([torch.tensor(1.0), torch.tensor(2.0)])
    [1.0, 2.0]
    """
    found: list[float] = [0.0] * len(scalars)
    for device in {scalar.device for scalar in scalars}:
        places = [place for place, scalar in enumerate(scalars) if scalar.device == device]
        values: list[float] = torch.stack([scalars[place].double() for place in places]).tolist()
        for place, value in zip(places, values, strict=True):
            found[place] = value
    return found


def rounded(value: float) -> float:
    """Round to seven digits, what float32 holds: shorter lines in the file.

    >>> rounded(1 / 3)
    0.3333333
    """
    return float(f"{value:.7g}")
