"""How alike outputs are: the cosine between samples, and the rank of tokens or samples."""

from __future__ import annotations

import torch

from goodinit.signals.probing.moments import varying
from goodinit.signals.probing.sampling import spaced

__all__ = ["cosine", "gram", "rank", "varying_from"]

# More samples, tokens or features say nothing new about a mean cosine or a rank, and cost their square.
_SAMPLES, _TOKENS, _FEATURES, _SEQUENCES = 64, 64, 1024, 2
# Products are summed in float32 over this many features, then in float64: many short sums are also much
# quicker than few long ones. Of products at a time, as many as take a megabyte.
_ROW, _PRODUCTS = 1024, 1 << 18
# Products are exact to some 1e-7, so that this share of them is to some 1e-6.
_APART = 0.1


def gram(samples: torch.Tensor) -> torch.Tensor:
    """Return the inner products between at most 64 evenly spaced rows, in float64."""
    kept = samples[spaced(len(samples), _SAMPLES)]
    count = len(kept)
    total = torch.zeros(count, count, dtype=torch.float64, device=kept.device)
    for part in kept.split(_ROW * max(_PRODUCTS // max(count, 1) ** 2, 1), dim=1):
        wide = _multipliable(part)
        whole = wide.shape[1] // _ROW * _ROW
        rows = wide[:, :whole].unflatten(1, (whole // _ROW, _ROW)).transpose(0, 1)
        total += torch.bmm(rows, rows.transpose(1, 2)).double().sum(dim=0)
        if whole < wide.shape[1]:
            rest = wide[:, whole:]
            total += (rest @ rest.T).double()
    return total


def _multipliable(rows: torch.Tensor) -> torch.Tensor:
    """Return rows in a precision in which their products keep at least six digits."""
    # Under a lower matmul precision, and on devices that may use one, float32 products lose them.
    exact = rows.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
    return rows.float() if exact and rows.dtype != torch.float64 else rows.double()


def cosine(products: torch.Tensor) -> torch.Tensor:
    """Return (Σ cos, pairs) over all pairs of different rows that are not zero, from their `gram`.

    >>> cosine(gram(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]))).tolist()
    [1.0, 3.0]
    """
    size = products.diagonal().sqrt()
    scale = torch.where(size > 0, 1 / size, 0.0)
    cosines = products * scale[:, None] * scale
    kept = (size > 0).sum(dtype=torch.float64)
    return torch.stack([(cosines.sum() - cosines.diagonal().sum()) / 2, kept * (kept - 1) / 2])


def varying_from(products: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Return what `varying` does, from the `gram` of the samples where that is precise enough.

    Σ_i Var_b(x_bi) = (tr G − Σ_bc G_bc/B)/B cancels where samples are nearly the same.
    """
    count, width = samples.shape
    if products.device.type == "cpu" and len(products) == count:
        trace = products.diagonal().sum()
        apart = trace - products.sum() / count
        if apart > _APART * trace:
            return torch.stack([apart / width, apart.new_full((), count)])
    return varying(samples)


def rank(output: torch.Tensor, products: torch.Tensor | None) -> torch.Tensor:
    """Return (Σ rank, Σ rows, number of Gram matrices) of one output.

    The participation ratio tr(G)²/tr(G²) of the Gram matrix G of rows: for sequences
    of features (B, T, C) the rows are the tokens of one sample (at most 64 tokens of 2
    samples, 1,024 features, evenly spaced), otherwise the samples. Matrices of zeros
    are left out.

    Args:
        output: of shape (B, T, C), or anything where `products` is given.
        products: the `gram` of the samples where these are the rows.

    >>> rank(torch.eye(3).repeat(2, 1, 1), None).tolist()
    [6.0, 6.0, 2.0]
    """
    if products is not None:
        grams = products[None]
    else:
        limits = (_SEQUENCES, _TOKENS, _FEATURES)
        places = tuple(spaced(count, most) for count, most in zip(output.shape, limits, strict=True))
        some = _multipliable(output[places])
        grams = (some @ some.transpose(1, 2)).double()
    trace = grams.diagonal(dim1=1, dim2=2).sum(dim=1)
    good = trace > 0
    unit = grams / torch.where(good, trace, 1.0)[:, None, None]
    ratio = 1 / unit.square().sum(dim=(1, 2)).clamp(min=1e-300)
    number = good.sum(dtype=torch.float64)
    return torch.stack([torch.where(good, ratio, 0.0).sum(), number * grams.shape[1], number])
