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
    columns = q.shape[2]
    for first in reversed(range(0, columns, _PANEL)):
        width = min(_PANEL, columns - first)
        panel, rest = q[:, first:, first : first + width], q[:, first:, first + width :]
        reflectors = panel.tril(-1)
        head = panel.diagonal(dim1=1, dim2=2).double()
        sign = torch.where(head < 0, -1.0, 1.0)
        below = torch.linalg.vector_norm(reflectors, dim=1, dtype=torch.float64).square_()
        norm = (below + head * head).sqrt_()
        # A column of zeros, which has a probability of about 1e-10, would divide by zero.
        head = (head + sign * torch.where(norm == 0, 1.0, norm)).to(q.dtype)
        reflectors.diagonal(dim1=1, dim2=2).copy_(head)
        triangle = torch.bmm(reflectors.mT, reflectors).triu_()
        # In float64, from the rounded reflectors: an error here adds up over all columns.
        triangle.diagonal(dim1=1, dim2=2).copy_(below.add_(head.double().square_()).div_(2))
        eye = torch.eye(width, dtype=q.dtype, device="cpu").expand_as(triangle)
        left = torch.bmm(reflectors, torch.linalg.solve_triangular(triangle, eye, upper=True))
        if rest.shape[2]:
            right = torch.bmm(reflectors[:, width:].mT, rest[:, width:])
            rest[:, :width].zero_()
            rest.baddbmm_(left, right, alpha=-1)
        panel.zero_().diagonal(dim1=1, dim2=2).fill_(1)
        panel.baddbmm_(left, reflectors[:, :width].mT, alpha=-1).mul_(-sign[:, None].to(q.dtype))


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
