"""Structures are what they say, in every dtype."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from goodinit.initializers import (
    Blocks,
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    LecunUniform,
    LooksLinear,
    Normal,
    Orthogonal,
    Sparse,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    ZeroRows,
)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (64, 7), (7, 64), (8, 3, 2, 2), (1, 9), (9, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = Orthogonal(2.0).fill_(torch.empty(shape, dtype=dtype), key=3).flatten(1).double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    error = float((gram - 4 * torch.eye(gram.shape[0])).abs().max())
    assert error <= 32 * torch.finfo(dtype).eps


def test_orthogonal_matrices_are_haar_distributed() -> None:
    # Under Haar measure the first entry of a 3×3 orthogonal matrix is uniform on [−1, 1]
    # (Archimedes), and the determinant's sign is a fair coin. False alarm of each: 1e-6.
    groups = (
        Orthogonal(groups=4000).fill_(torch.empty(12000, 3, dtype=torch.float64), key=5).reshape(4000, 3, 3)
    )
    assert stats.kstest(groups[:, 0, 0].numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-6
    assert stats.binomtest(int((torch.linalg.det(groups) > 0).sum()), 4000).pvalue > 1e-6
    # Without the sign correction LAPACK's Q is not uniform: the same test finds it.
    gaussian = torch.randn(4000, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    uncorrected = torch.linalg.qr(gaussian).Q
    assert stats.kstest(uncorrected[:, 0, 0].numpy(), stats.uniform(-1, 2).cdf).pvalue < 1e-6


def test_groups_and_blocks_are_independent_matrices() -> None:
    packed = Orthogonal(groups=3).fill_(torch.empty(12, 4), key=1)
    for block in packed.chunk(3):
        torch.testing.assert_close(block @ block.T, torch.eye(4))
    assert not torch.equal(packed[:4], packed[4:8])


def test_a_delta_orthogonal_convolution_keeps_the_norm() -> None:
    kernel = DeltaOrthogonal().fill_(torch.empty(16, 16, 3, 3), key=2)
    signal = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(signal, (1, 1, 1, 1), mode="circular")
    assert torch.conv2d(padded, kernel).norm() == pytest.approx(float(signal.norm()), rel=1e-5)


def test_a_looks_linear_relu_network_is_linear_at_the_start() -> None:
    network = [LooksLinear(mirror="outputs"), LooksLinear(), LooksLinear(), LooksLinear(mirror="inputs")]
    shapes = [(16, 8), (16, 16), (16, 16), (8, 16)]
    weights = [layer.fill_(torch.empty(shapes[k]), key=k) for k, layer in enumerate(network)]

    def run(x: torch.Tensor) -> torch.Tensor:
        for weight in weights[:-1]:
            x = torch.relu(x @ weight.T)
        return x @ weights[-1].T

    a, b = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run(a) + run(b), run(a + b))
    torch.testing.assert_close(run(a).norm(dim=1), a.norm(dim=1))


def test_identity_and_dirac_pass_their_input_through() -> None:
    vector = torch.arange(3.0)
    assert torch.equal(Identity().fill_(torch.empty(3, 3), key=0) @ vector, vector)
    signal = torch.randn(1, 4, 9)
    kernel = Dirac(groups=2).fill_(torch.empty(4, 2, 3), key=0)
    assert torch.equal(torch.conv1d(signal, kernel, padding=1, groups=2), signal)


def test_sparse_columns_have_the_stated_zeros_at_different_places() -> None:
    matrix = Sparse(0.25).fill_(torch.empty(40, 30), key=1)
    assert ((matrix == 0).sum(0) == 10).all()
    assert len({tuple(column.tolist()) for column in (matrix == 0).T}) == 30


def test_equal_elementwise_blocks_are_one_initializer() -> None:
    assert Blocks.of([(2, Normal()), (3, Normal())]) == Normal()
    assert Blocks.of([(2, Orthogonal()), (3, Orthogonal())]) != Orthogonal()
    assert Blocks.of([(2, Constant(0)), (3, Constant(1))]).deterministic
    assert not ZeroRows(Normal(), (0,)).deterministic


def test_blocks_keep_the_address_of_each_element() -> None:
    whole = Normal().fill_(torch.empty(6, 4), key=9)
    blocks = Blocks(((2, Constant(0.0)), (4, Normal()))).fill_(torch.empty(6, 4), key=9)
    assert torch.equal(blocks[2:], whole[2:])


def test_named_scalings_are_the_published_formulas() -> None:
    shape, fans = (30, 20), {"fan_in": 20.0, "fan_out": 30.0}
    assert XavierNormal(2.0).resolve(shape, **fans).moments(shape)[1] == pytest.approx(2 * (2 / 50) ** 0.5)
    assert XavierUniform().resolve(shape, **fans) == Uniform(
        -(3**0.5) * (1 / 5), (3**0.5) * (1 / 5)
    )  # √6/√50 = √3/5
    assert KaimingNormal().resolve(shape, **fans).moments(shape)[1] == pytest.approx((2 / 20) ** 0.5)
    assert KaimingUniform(mode="fan_out").resolve(shape, **fans).bounds[1] == pytest.approx((6 / 30) ** 0.5)
    assert KaimingNormal(torch.nn.LeakyReLU(0.2)).gain == pytest.approx((2 / 1.04) ** 0.5, rel=1e-9)
    assert LecunNormal().resolve(shape, **fans) == Normal(0.0, 20**-0.5)
    assert LecunUniform(0.5).resolve(shape, **fans).bounds[1] == pytest.approx(0.5 * (3 / 20) ** 0.5)
    assert VarianceScaling().resolve((0, 4), fan_in=0.0, fan_out=0.0) == Constant(0.0)
