"""The drop-in's structured fills: identity, Dirac, orthogonal, sparse."""

# No `from __future__ import annotations`: these signatures equal torch's, and
# inspect.signature compares annotations as objects.

import math
import operator

import torch
from torch import Tensor

from goodinit._init_fills import check_by_torch, check_memory, gets_our_draws, holds_nothing, key_from
from goodinit.errors import TensorError
from goodinit.initializers import Dirac, Identity, Orthogonal, Sparse
from goodinit.rng import fill_normal_
from goodinit.rng.memory import check_apart


def _check_apart(tensor: Tensor) -> None:
    """As `check_memory`; and one value written to two elements would be wrong in one of them."""
    check_memory(tensor)
    if tensor.layout is torch.strided and not torch.compiler.is_compiling():
        check_apart(tensor)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with 1 on its main diagonal and 0 elsewhere, and return it.

    Args:
        tensor: two dimensions, any layout and dtype.

    Raises:
        TensorError: if the tensor has not 2 dimensions.

    >>> eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if tensor.ndimension() != 2:
        raise TensorError("Only tensors with 2 dimensions are supported")
    _check_apart(tensor)
    if not gets_our_draws(tensor):
        return torch.nn.init.eye_(tensor)
    return Identity().fill_(tensor, 0)


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution kernel so that it passes its inputs through, group by group, and return it.

    w[g·out/groups + d, d, centre] = 1 for each group g and each d < min(out/groups, in); else 0.

    Args:
        tensor: (out, in / groups, *kernel) with 1 to 3 kernel dimensions, any layout and dtype.
        groups: number of groups, at least 1; it divides out.

    Raises:
        TensorError: if the tensor has not 3 to 5 dimensions, or groups do not divide out.
        ArgumentError: if groups is negative.

    >>> dirac_(torch.empty(2, 2, 3))[0]
    tensor([[0., 1., 0.],
            [0., 0., 0.]])
    """
    if tensor.ndimension() not in (3, 4, 5):
        raise TensorError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.size(0) % groups != 0:
        raise TensorError("dim 0 must be divisible by groups")
    _check_apart(tensor)
    if not gets_our_draws(tensor):
        return torch.nn.init.dirac_(tensor, groups)
    return Dirac(int(operator.index(groups))).fill_(tensor, 0)


def orthogonal_(
    tensor: Tensor,
    gain: float = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the tensor with a (semi-)orthogonal matrix times `gain` and return it.

    W Wᵀ = gain² I for wide and WᵀW = gain² I for tall W of shape (shape[0], ∏shape[1:]),
    Haar-distributed. bf16, fp16 and 8-bit weights are the float32 matrix rounded once.

    Args:
        tensor: at least two dimensions, any layout and floating dtype.
        gain: multiplier of the matrix.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        TensorError: if the tensor has fewer than 2 dimensions.
        NotImplementedError: as torch, if it is complex or holds integers.

    >>> w = orthogonal_(torch.empty(3, 5))
    >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-5)
    True

    Source: Saxe, McClelland & Ganguli (2014), section 3.
    """
    if tensor.ndimension() < 2:
        raise TensorError("Only tensors with 2 or more dimensions are supported")
    if holds_nothing(tensor):
        return tensor
    check_memory(tensor)
    if not gets_our_draws(tensor) or tensor.is_complex():
        return torch.nn.init.orthogonal_(tensor, gain, generator=generator)
    check_by_torch(tensor, "normal_", 0, 1, generator=generator)
    check_by_torch(tensor, "mul_", gain)
    Orthogonal(abs(float(gain))).fill_(tensor, key_from(generator, tensor.device))
    if gain < 0:
        with torch.no_grad():
            tensor.neg_()
    return tensor


def sparse_(
    tensor: Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill a matrix with ⌈sparsity·rows⌉ zeros in each column and N(0, std²) elsewhere, and return it.

    The places of the zeros come from the generator too (torch's come from the global one).

    Args:
        tensor: (rows, columns), any layout and floating or complex dtype.
        sparsity: share of zeros in each column; above 1 all are zero, as in torch.
        std: standard deviation of the rest, at least 0; of the complex number, if complex.
        generator: where the key is drawn from (default: the generator of the tensor's device).

    Raises:
        TensorError: if the tensor has not 2 dimensions.
        ArgumentError: if sparsity is negative or not finite.
        RuntimeError: as torch, if std < 0.

    >>> (sparse_(torch.empty(4, 3), sparsity=0.5) == 0).sum(0)
    tensor([2, 2, 2])

    Source: Martens (2010), section 5.
    """
    if tensor.ndimension() != 2:
        raise TensorError("Only tensors with 2 dimensions are supported")
    if tensor.is_meta:
        return tensor
    check_memory(tensor)
    if not gets_our_draws(tensor):
        return torch.nn.init.sparse_(tensor, sparsity, std, generator=generator)
    math.ceil(sparsity * tensor.shape[0])  # torch's words for what is no finite number
    check_by_torch(tensor, "normal_", 0, std, generator=generator)
    if holds_nothing(tensor):
        return tensor
    share, key = float(min(sparsity, 1.0)), key_from(generator, tensor.device)
    if not tensor.is_complex():
        return Sparse(share, float(std)).fill_(tensor, key)
    with torch.no_grad():
        real, imaginary = torch.view_as_real(tensor).unbind(-1)
        Sparse(share, float(std) / math.sqrt(2.0)).fill_(real, key)
        fill_normal_(imaginary, key, 0.0, float(std) / math.sqrt(2.0), stream=2)
        imaginary.masked_fill_(real == 0, 0.0)
    return tensor
