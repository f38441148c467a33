"""Initializers that fill a whole array with a structure: orthogonal, identity, Dirac, sparse.

Each builds the array of its whole block on the CPU and copies the part that was
asked for, so that every sharding of a tensor receives the same values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from goodinit import rng
from goodinit.errors import ArgumentError, TensorError, WrongTypeError
from goodinit.initializers.base import Initializer, Progress, non_negative
from goodinit.initializers.haar import haar_matrices

__all__ = [
    "DeltaOrthogonal",
    "Dirac",
    "Identity",
    "Orthogonal",
    "Sparse",
    "Structured",
    "kernel_centre",
]


@dataclass(frozen=True)
class Structured(Initializer):
    """Shared: build the block's whole array, then copy the part of it."""

    elementwise: ClassVar[bool] = False

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        # float64 tensors get float64 arithmetic; every other dtype gets the float32
        # result rounded once, so that bf16 weights are float32 weights rounded.
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        array = self._array(block, key, dtype)
        tensor.copy_(array[part.slices_in(block)])
        if progress:
            progress(tensor.numel())

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        raise NotImplementedError

    def _mean(self) -> float:
        raise ArgumentError(f"the moments of {self!r} depend on the shape: moments(shape) gives them")

    _std = _mean


def _need_dims(owner: Initializer, shape: tuple[int, ...], low: int, high: int) -> None:
    if not low <= len(shape) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}" if high < 99 else f"at least {low}"
        raise TensorError(
            f"{type(owner).__name__} needs a tensor of {wanted} dimensions, found shape {shape}"
        )


def _check_groups(owner: str, groups: int) -> None:
    if isinstance(groups, bool) or not isinstance(groups, int):
        raise WrongTypeError(f"{owner}: groups must be an integer, found {groups!r}")
    if groups < 1:
        raise ArgumentError(f"{owner}: groups must be at least 1, found {groups}")


def _divide(owner: Initializer, shape: tuple[int, ...], groups: int) -> None:
    if shape[0] % groups:
        raise TensorError(
            f"{type(owner).__name__}: dim 0 must be divisible by groups={groups}, found shape {shape}"
        )


def _can_hold(tensor: torch.Tensor) -> bool:
    """Whether a tensor's own memory can serve to build its matrix, with the bits of memory of its own.

    Libraries round differently in memory that does not begin where an allocator would begin it.
    """
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.is_cpu
        and tensor.dtype in (torch.float32, torch.float64)
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and tensor.data_ptr() % 64 == 0
    )


def kernel_centre(kernel: torch.Tensor) -> torch.Tensor:
    """Return the (out, in) view of a convolution kernel (out, in, *kernel) at its centre.

    >>> kernel_centre(torch.arange(6.0).reshape(1, 2, 3))
    tensor([[1., 4.]])
    """
    for length in reversed(kernel.shape[2:]):
        kernel = kernel.select(-1, length // 2)
    return kernel


@dataclass(frozen=True)
class Orthogonal(Structured):
    """A (semi-)orthogonal matrix times `gain`; trailing dimensions are flattened.

    W Wᵀ = gain² I for wide and Wᵀ W = gain² I for tall matrices, Haar-distributed;
    mean 0 and std gain / √max(rows, columns). With `groups`, dimension 0 is cut into
    that many equal blocks, each an independent orthogonal matrix: gates, packed
    q/k/v, grouped convolutions.

    Args:
        gain: multiplier of the matrix, at least 0.
        groups: number of blocks along dimension 0.

    Raises:
        TensorError: on filling a tensor of fewer than 2 dimensions, or whose
            dimension 0 the groups do not divide.

    >>> w = Orthogonal(2.0).fill_(torch.empty(3, 5), key=1)
    >>> torch.allclose(w @ w.T, 4 * torch.eye(3), atol=1e-5)
    True

    Source: Saxe, McClelland & Ganguli (2014), section 3.
    """

    gain: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", non_negative("Orthogonal", "gain", self.gain))
        _check_groups("Orthogonal", self.groups)

    def matrices(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (groups, rows, columns) of the matrices in a tensor of this shape."""
        _need_dims(self, shape, 2, 99)
        _divide(self, shape, self.groups)
        return self.groups, shape[0] // self.groups, math.prod(shape[1:])

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean 0, std gain / √max(rows, columns)."""
        _, rows, columns = self.matrices(shape)
        return 0.0, self.gain / math.sqrt(max(rows, columns, 1))

    @property
    def bounds(self) -> tuple[float, float]:
        """±gain."""
        return -self.gain, self.gain

    def _fill(
        self, tensor: torch.Tensor, key: int, part: rng.Region, block: rng.Region, progress: Progress | None
    ) -> None:
        if part != block or not _can_hold(tensor):
            super()._fill(tensor, key, part, block, progress)
            return
        self._array(block, key, tensor.dtype, tensor.detach())
        if progress:
            progress(tensor.numel())

    def _array(
        self, block: rng.Region, key: int, dtype: torch.dtype, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        matrices = haar_matrices(block, self.matrices(block.size), key, dtype, out)
        return matrices.mul_(self.gain).view(block.size)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.orthogonal_``, block by block."""
        self.matrices(tuple(tensor.shape))
        with torch.no_grad():
            for block in tensor.chunk(self.groups):
                torch.nn.init.orthogonal_(block, self.gain, generator=generator)
        return tensor


@dataclass(frozen=True)
class DeltaOrthogonal(Structured):
    """A convolution kernel that is zero but for its centre, which holds an orthogonal matrix.

    The convolution then keeps the norm of its input exactly (stride 1, out ≥ in
    channels, circular padding). Shape (out, in, *kernel); the orthogonal matrix is
    (out, in), so std over all elements is gain / √(max(out, in)·∏kernel).

    Args:
        gain: multiplier of the matrix, at least 0.

    Raises:
        TensorError: on filling a tensor that has not 3 to 5 dimensions.

    >>> w = DeltaOrthogonal().fill_(torch.empty(4, 4, 3), key=1)
    >>> bool((w[:, :, 0] == 0).all()), torch.allclose(w[:, :, 1] @ w[:, :, 1].T, torch.eye(4), atol=1e-5)
    (True, True)

    Source: Xiao et al. (2018), Dynamical isometry and a mean field theory of CNNs, algorithm 2.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", non_negative("DeltaOrthogonal", "gain", self.gain))

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean 0, std gain / √(max(out, in)·∏kernel)."""
        _need_dims(self, shape, 3, 5)
        return 0.0, self.gain / math.sqrt(max(shape[0], shape[1], 1) * max(math.prod(shape[2:]), 1))

    @property
    def bounds(self) -> tuple[float, float]:
        """±gain."""
        return -self.gain, self.gain

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        _need_dims(self, block.size, 3, 5)
        array = torch.zeros(block.size, dtype=dtype, device="cpu")
        centre = block
        for dim, length in enumerate(block.size[2:], start=2):
            centre = centre.narrow(dim, length // 2, 1)
        shape = (1, block.size[0], block.size[1])
        kernel_centre(array).copy_(haar_matrices(centre, shape, key, dtype)[0].mul_(self.gain))
        return array


@dataclass(frozen=True)
class Identity(Structured):
    """The identity matrix times `gain`: ones on the main diagonal, zeros elsewhere.

    Args:
        gain: value on the diagonal.

    Raises:
        TensorError: on filling a tensor that is no matrix.

    >>> Identity().fill_(torch.empty(2, 3), key=0)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """

    gain: float = 1.0

    @property
    def deterministic(self) -> bool:
        """Always."""
        return True

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", non_negative("Identity", "gain", self.gain))

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean and std over all elements of a matrix of this shape."""
        _need_dims(self, shape, 2, 2)
        return _indicator_moments(min(shape), math.prod(shape), self.gain)

    @property
    def bounds(self) -> tuple[float, float]:
        """0 and gain."""
        return 0.0, self.gain

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        _need_dims(self, block.size, 2, 2)
        return torch.eye(*block.size, dtype=dtype, device="cpu").mul_(self.gain)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.eye_`` times gain; draws nothing."""
        with torch.no_grad():
            return torch.nn.init.eye_(tensor).mul_(self.gain)


@dataclass(frozen=True)
class Dirac(Structured):
    """A convolution kernel that passes its input channels through unchanged, group by group.

    Args:
        groups: number of groups; it divides the number of output channels.

    Raises:
        TensorError: on filling a tensor that has not 3 to 5 dimensions, or whose
            output channels the groups do not divide.

    >>> Dirac().fill_(torch.empty(2, 2, 3), key=0)[0]
    tensor([[0., 1., 0.],
            [0., 0., 0.]])
    """

    groups: int = 1

    @property
    def deterministic(self) -> bool:
        """Always."""
        return True

    def __post_init__(self) -> None:
        _check_groups("Dirac", self.groups)

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean and std over all elements of a kernel of this shape."""
        self._check(shape)
        ones = self.groups * min(shape[0] // self.groups, shape[1])
        return _indicator_moments(ones, math.prod(shape), 1.0)

    @property
    def bounds(self) -> tuple[float, float]:
        """0 and 1."""
        return 0.0, 1.0

    def _check(self, shape: tuple[int, ...]) -> None:
        _need_dims(self, shape, 3, 5)
        _divide(self, shape, self.groups)

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        self._check(block.size)
        array = torch.zeros(block.size, dtype=dtype, device="cpu")
        centre = kernel_centre(array)
        per_group = block.size[0] // self.groups
        diagonal = torch.arange(min(per_group, block.size[1]), device="cpu")
        for group in range(self.groups):
            centre[group * per_group + diagonal, diagonal] = 1.0
        return array

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.dirac_``; draws nothing."""
        return torch.nn.init.dirac_(tensor, self.groups)


@dataclass(frozen=True)
class Sparse(Structured):
    """A matrix with ⌈sparsity·rows⌉ zeros in each column, at random places, and N(0, std²) elsewhere.

    Args:
        sparsity: share of zeros in each column, in [0, 1].
        std: std of the other elements, at least 0.

    Raises:
        ArgumentError: if a number is out of its domain.
        TensorError: on filling a tensor that is no matrix.

    >>> w = Sparse(0.5).fill_(torch.empty(4, 3), key=1)
    >>> (w == 0).sum(0)
    tensor([2, 2, 2])

    Source: Martens (2010), Deep learning via Hessian-free optimization, section 5.
    """

    sparsity: float
    std: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsity", non_negative("Sparse", "sparsity", self.sparsity))
        object.__setattr__(self, "std", non_negative("Sparse", "std", self.std))
        if self.sparsity > 1:
            raise ArgumentError(f"Sparse: sparsity is a share in [0, 1], found {self.sparsity!r}")

    def zeros(self, rows: int) -> int:
        """Return the number of zeros in each column of a matrix with this many rows."""
        return min(rows, math.ceil(self.sparsity * rows))

    def moments(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean 0, std·√(share of elements that are not zeroed)."""
        _need_dims(self, shape, 2, 2)
        rows = max(shape[0], 1)
        return 0.0, self.std * math.sqrt(1 - self.zeros(rows) / rows)

    def _array(self, block: rng.Region, key: int, dtype: torch.dtype) -> torch.Tensor:
        _need_dims(self, block.size, 2, 2)
        array = torch.empty(block.size, dtype=dtype, device="cpu")
        rng.fill_normal_(array, key, 0.0, self.std, region=block)
        # A column's zeros are the rows with the smallest of its uniform words, from
        # a stream of their own so that they are independent of the values.
        order = torch.empty(block.size, dtype=torch.float64, device="cpu")
        rng.fill_uniform_(order, key, 0.0, 1.0, region=block, stream=1)
        smallest = order.argsort(dim=0, stable=True)[: self.zeros(block.size[0])]
        return array.scatter_(0, smallest, 0.0)

    def fill_by_torch_(self, tensor: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """``torch.nn.init.sparse_``."""
        return torch.nn.init.sparse_(tensor, self.sparsity, self.std, generator=generator)


def _indicator_moments(ones: int, count: int, value: float) -> tuple[float, float]:
    share = ones / max(count, 1)
    return share * value, value * math.sqrt(share * (1 - share))
