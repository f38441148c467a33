"""Haar-distributed orthogonal matrices from keyed draws, by matrix products alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from goodinit import rng

__all__ = ["haar_matrices"]

# Reflections applied at once. Narrower panels make the products memory bound, wider ones spend more on
# their own triangle; 192 was the fastest of 96, 128, 192, 256 at 4096 x 4096.
_PANEL = 192


def haar_matrices(
    block: rng.Region,
    shape: tuple[int, int, int],
    key: int,
    dtype: torch.dtype,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return independent Haar-distributed matrices (count, rows, cols) with orthonormal rows or columns.

    Q = H₁ ⋯ Hₙ D for a tall matrix of n columns, its transpose for a wide one. xₖ is the part of column k
    from the diagonal down of a keyed Gaussian matrix; Hₖ = I − 2vₖvₖᵀ/‖vₖ‖², vₖ = xₖ + sₖ‖xₖ‖e₁,
    sₖ = sign of xₖ's first element, D = diag(−sₖ). So Hₖ D takes e₁ to the uniform direction xₖ/‖xₖ‖,
    and Q is uniform. Nothing is factorized; memory beyond the matrix is three panels of 192 columns.

    Orthogonal to rounding: the elements of QᵀQ − I are at most about a dozen ulps of `dtype`. Matrix
    products round differently on different libraries and thread counts, so values agree to about 1e-6 in
    float32 and 1e-14 in float64, not bit for bit.

    Args:
        block: the box of the global tensor, of count·rows·cols elements.
        shape: (count, rows, cols).
        key: 64-bit key.
        dtype: float32 or float64.
        out: where to build them: contiguous, of block.size and dtype; a new tensor by default.

    Source: Stewart (1980), The efficient generation of random orthogonal matrices, section 3; Schreiber and
    Van Loan (1989) for products of reflections as I − VTVᵀ; Puglisi (1992), T⁻¹ from VᵀV.
    """
    values = torch.empty(block.size, dtype=dtype, device="cpu") if out is None else out
    rng.fill_normal_(values, key, 0.0, 1.0, region=block)
    matrices = values.view(shape)
    with _full_precision():
        _orthogonalize_(matrices.mT if shape[1] < shape[2] else matrices)
    return matrices


def _orthogonalize_(q: torch.Tensor) -> None:
    """Turn Gaussian matrices (count, m, n ≤ m) into Haar-distributed ones, the last panel first."""
    rows, columns = q.shape[1:]
    for first in reversed(range(0, columns, _PANEL)):
        width = min(_PANEL, columns - first)
        right = q.narrow(1, first, rows - first)
        panel, rest = right.narrow(2, first, width), right.narrow(2, first + width, columns - first - width)
        # Lengths in float64: their errors add up over all columns.
        below = panel.to(torch.float64, copy=True).square_().tril_(-1).sum(1)
        head = panel.diagonal(dim1=1, dim2=2).double()
        # A column of zeros, which has a probability of about 1e-10, would divide by zero.
        head = head.abs().clamp_min_(1e-10).copysign_(head)
        norm = torch.addcmul(below, head, head).sqrt_().copysign_(head)
        head = head + norm
        signs = norm.sign().neg_().to(q.dtype).unsqueeze(1)
        if rest.shape[2]:
            _reflect_(panel, rest, head.to(q.dtype), below, signs)
        else:
            vectors, scale = (panel / head.unsqueeze(1)).to(q.dtype), (head / norm).to(q.dtype)
            panel.copy_(torch.linalg.householder_product(vectors, scale)).mul_(signs)


def _reflect_(
    panel: torch.Tensor, rest: torch.Tensor, head: torch.Tensor, below: torch.Tensor, signs: torch.Tensor
) -> None:
    """Apply a panel's reflections to the columns right of it, then put H₁ ⋯ Hₙ D's own into the panel."""
    width = panel.shape[2]
    # The reflectors are the panel below its diagonal, so only their top needs a copy without what is above.
    top, low = panel[:, :width].tril(-1), panel[:, width:]
    top.diagonal(dim1=1, dim2=2).copy_(head)
    triangle = torch.bmm(top.mT, top).baddbmm_(low.mT, low).triu_()
    triangle.diagonal(dim1=1, dim2=2).copy_(below.add_(head.double().square_()).div_(2))
    right = torch.linalg.solve_triangular(triangle, torch.bmm(low.mT, rest[:, width:]), upper=True)
    rest[:, width:].baddbmm_(low, right, alpha=-1)
    rest[:, :width] = torch.bmm(top, right.neg_())
    right = torch.linalg.solve_triangular(triangle, top.mT, upper=True).mul_(-signs)
    panel[:, width:] = torch.bmm(low, right)
    panel[:, :width] = torch.bmm(top, right)
    panel.diagonal(dim1=1, dim2=2).add_(signs[:, 0])


@contextmanager
def _full_precision() -> Iterator[None]:
    """Whatever the caller allows its own products: no autocast, no bfloat16 inside float32 ones."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
