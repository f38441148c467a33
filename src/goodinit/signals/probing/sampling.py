"""Regular subsamples: elements for histograms, places for rows, units and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from goodinit.records import Histogram
from goodinit.signals.probing.moments import flat_real

__all__ = ["KEPT", "histogram", "sample", "sampled_small", "spaced"]

# Units and time steps kept one by one.
KEPT = 64
# 2,048 values put 2 % on the height of a bin that holds a tenth of them.
_SAMPLED, _BINS = 2048, 48


def spaced(count: int, most: int) -> slice:
    """Return at most `most` evenly spaced places among `count`, the last included.

    A slice makes a view and, on an accelerator, nothing waits for a list of places to arrive.

    >>> list(range(10))[spaced(10, 4)]
    [0, 3, 6, 9]
    """
    step = -(-count // most) if count else 1
    return slice((count - 1) % step if count else 0, None, step)


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """Return at most 2,048 elements at a regular stride that shares no factor with the tensor's size.

    A stride that divided the width of a row would meet the same few units again and again.

    >>> sample(torch.arange(6.0)).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    flat = flat_real(tensor)
    if flat.numel() <= _SAMPLED:
        return flat.double()
    stride = -(-flat.numel() // _SAMPLED)
    while math.gcd(stride, flat.numel()) > 1:
        stride += 1
    return flat[::stride].double()


def sampled_small(values: torch.Tensor, dtype: torch.dtype) -> float:
    """Return the share of sampled values that are zero or subnormal in the precision they came from.

    >>> sampled_small(torch.tensor([0.0, 1e-5, 1.0, 2.0]), torch.float16)
    0.5
    """
    limits = torch.finfo(dtype)
    return float((values.abs() < limits.tiny).double().mean()) if values.numel() else 0.0


def histogram(samples: Sequence[torch.Tensor]) -> Histogram | None:
    """Count sampled values in equal bins between the smallest and the largest; None where none is finite.

    Args:
        samples: flat float64 tensors on the CPU.

    >>> histogram([torch.tensor([0.0, 1.0, 1.0, float("nan")])]).sampled
    3
    """
    # NumPy, because a probe makes a thousand of these and torch's start of each operation would count.
    values = np.concatenate([each.numpy() for each in samples])
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(high - low):
        values = values[np.isfinite(values)]
        if not values.size:
            return None
        low, high = float(values.min()), float(values.max())
    # Also where the range is too wide or too narrow to be divided.
    if not 0 < high - low < math.inf:
        return Histogram(low, high, (values.size, *([0] * (_BINS - 1))))
    bins = ((values - low) / (high - low) * _BINS).astype(np.intp)
    return Histogram(low, high, tuple(np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS).tolist()))
