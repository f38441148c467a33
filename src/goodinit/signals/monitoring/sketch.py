"""Short linear sketches of parameters: distances and angles survive, the tensors need not."""

from __future__ import annotations

from functools import lru_cache

import torch

from goodinit.signals.probing.moments import flat_real

__all__ = ["SIZE", "sketch"]

# Numbers kept of a parameter. A squared norm read from the sketch has relative standard
# deviation √(2/SIZE) = 4.4 %, so a distance has 2.2 %.
SIZE = 1024
# Elements that are multiplied by signs at a time: bounds the extra memory to 4 MiB.
_CHUNK = 1 << 20
# Chunk c starts at sign c, so that two elements of one bucket never share a sign; the wrap
# comes after _CHUNK · _SHIFTS elements.
_SHIFTS = 1024


@lru_cache(maxsize=8)
def _signs(device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0x676F6F64)
    bits = torch.randint(0, 2, (_CHUNK + _SHIFTS,), generator=generator, dtype=torch.int8)
    return (2 * bits - 1).to(device, torch.float32)


def sketch(tensor: torch.Tensor) -> torch.Tensor:
    """Return a count sketch: s_j = Σ_{i ≡ j mod 1024} σ_i·x_i with fixed random signs σ.

    It is linear, s(x) − s(y) = s(x − y), and ⟨s(x), s(y)⟩ is an unbiased estimate of
    ⟨x, y⟩ over the signs with variance about (‖x‖²‖y‖² + ⟨x, y⟩²)/1024. A tensor of at
    most 1024 elements is returned whole, and then nothing is estimated.

    Args:
        tensor: any floating or complex tensor.

    Returns:
        At most 1024 float64 numbers on the tensor's device (float32 where it has no float64).

    >>> sketch(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [1.0, 2.0, 3.0, 4.0]

    Source: M. Charikar, K. Chen, M. Farach-Colton, "Finding frequent items in data
    streams", 2002 (buckets and signs; here the buckets are residues).
    """
    flat = flat_real(tensor)
    if flat.numel() <= SIZE:
        return flat.double()
    signs = _signs(flat.device)
    total = torch.zeros(SIZE, dtype=torch.float64, device=flat.device)
    for index, part in enumerate(flat.split(_CHUNK)):
        shift = index % _SHIFTS
        wide = part if part.dtype == torch.float64 else part.float()
        signed = wide * signs[shift : shift + part.numel()]
        whole = part.numel() - part.numel() % SIZE
        if whole:
            total += signed[:whole].view(-1, SIZE).sum(dim=0)
        if whole < part.numel():
            total[: part.numel() - whole] += signed[whole:]
    return total
