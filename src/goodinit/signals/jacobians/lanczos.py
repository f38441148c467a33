"""Singular values of many linear maps at once from products with vectors alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Product", "bidiagonalize", "merged_nodes", "quadrature"]

# A product of a map with one vector for each sample: (samples, from) -> (samples, to), float64.
Product = Callable[[Tensor], Tensor]

# Lengths below this share of the largest are rounding: the Krylov space is exhausted. The maps
# are evaluated in the model's dtype, mostly float32.
_EXHAUSTED = 1e-6


def bidiagonalize(multiply: Product, transposed: Product, start: Tensor, steps: int) -> Tensor:
    """Return the upper bidiagonal matrices B of Golub and Kahan, shape (samples, k, k), float64.

    A v_j = α_j u_j + β_{j−1} u_{j−1},  Aᵀ u_j = α_j v_j + β_j v_{j+1}

    BᵀB is Lanczos's matrix of AᵀA started at v_1, but the squares are never formed, so that small
    singular values keep their digits. All vectors are kept and each new one is made orthogonal
    to them twice.

    Args:
        multiply: v -> A v.
        transposed: u -> Aᵀ u.
        start: one vector for each sample, (samples, from), float64.
        steps: number of products with A and with Aᵀ.

    >>> matrix = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    >>> both = lambda v: v @ matrix
    >>> found = bidiagonalize(both, both, torch.ones(1, 2, dtype=torch.float64), 2)
    >>> torch.linalg.svdvals(found)[0].round(decimals=9).tolist()
    [3.0, 1.0]

    Source: Golub and Kahan 1965; Golub and Van Loan, Matrix Computations, section 10.4.
    """
    samples = start.shape[0]
    out = start.new_zeros(samples, steps, steps)
    scale = start.new_zeros(samples)
    v, _ = _unit(start, scale)
    rights: list[Tensor] = [v]
    lefts: list[Tensor] = []
    previous, beta = torch.zeros(()), start.new_zeros(samples)
    for j in range(steps):
        u = multiply(v)
        if j:
            u = u - beta[:, None] * previous
        u, alpha = _unit(_orthogonal(u, lefts), scale)
        scale = torch.maximum(scale, alpha)
        out[:, j, j] = alpha
        lefts.append(u)
        if j + 1 == steps:
            break
        v, beta = _unit(_orthogonal(transposed(u) - alpha[:, None] * v, rights), scale)
        scale = torch.maximum(scale, beta)
        out[:, j, j + 1] = beta
        rights.append(v)
        previous = u
    return out


def _orthogonal(vector: Tensor, others: list[Tensor]) -> Tensor:
    if not others:
        return vector
    basis = torch.stack(others, dim=1)
    for _ in range(2):
        vector = vector - (basis.transpose(1, 2) @ (basis @ vector[:, :, None])).squeeze(-1)
    return vector


def _unit(vector: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors over their lengths, and the lengths; both zero where only rounding is left."""
    length = vector.norm(dim=1)
    kept = torch.where(length > _EXHAUSTED * scale, length, 0.0)
    return torch.where(kept > 0, 1 / kept, 0.0)[:, None] * vector, kept


def quadrature(bidiagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Return Gauss's nodes and weights for the density of singular values seen from the start vector.

    Nodes are the singular values of B and weights the squared first components of its right
    singular vectors, so that Σ w f(σ²) = vᵀ f(AᵀA) v for polynomials up to degree 2k − 1.

    Args:
        bidiagonal: what `bidiagonalize` returns.

    Source: Golub and Meurant 1994; Ubaru, Chen and Saad 2017 (stochastic Lanczos quadrature).
    """
    _, values, rows = torch.linalg.svd(bidiagonal)
    return values, rows[:, :, 0] ** 2


def merged_nodes(values: Tensor, weights: Tensor, most: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return at most about `most` nodes in rising order, with weights that sum to 1.

    Neighbours are merged into their root mean square, which keeps Σ w σ².

    >>> merged_nodes(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), 10)
    ((1.0, 2.0), (0.75, 0.25))
    """
    flat, order = values.flatten().sort()
    shares = weights.flatten()[order]
    shares = shares / shares.sum()
    # Groups by the middle of each node's share of the cumulated weight.
    middle = shares.cumsum(0) - shares / 2
    group = (middle * most).floor().clamp(max=most - 1).long()
    weight = torch.zeros(most, dtype=flat.dtype).index_add_(0, group, shares)
    square = torch.zeros(most, dtype=flat.dtype).index_add_(0, group, shares * flat**2)
    full = weight > 0
    # Rounding can put equal neighbours in the wrong order.
    found = (square[full] / weight[full]).sqrt().cummax(0).values
    return tuple(found.tolist()), tuple(weight[full].tolist())
