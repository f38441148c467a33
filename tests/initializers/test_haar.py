"""Haar-distributed matrices: the stated values, the right distribution, orthogonal to rounding."""

from __future__ import annotations

import json
import math
from pathlib import Path
from unittest import mock

import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from goodinit.initializers import Orthogonal, haar
from goodinit.initializers.haar import haar_matrices
from goodinit.rng import ALGORITHM, Region, derive_key

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "orthogonal.json"


def draw(*shape: int, key: int = 5, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    count, rows, columns = shape
    return haar_matrices(Region.whole((count * rows, columns)), (count, rows, columns), key, dtype)


def gram_error(matrices: torch.Tensor) -> float:
    tall = (matrices if matrices.shape[-2] >= matrices.shape[-1] else matrices.mT).double()
    return float((tall.mT @ tall - torch.eye(tall.shape[-1])).abs().max())


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-14), (torch.float32, 3e-6)])
def test_known_matrices_come_out_to_rounding(dtype: torch.dtype, error: float) -> None:
    file = json.loads(VECTORS.read_text(encoding="ascii"))
    assert file["algorithm"] == ALGORITHM
    for case in file["content"]:
        found = draw(*case["shape"], key=derive_key(0, case["name"]), dtype=dtype).double().reshape(-1)
        expected = torch.tensor([float.fromhex(x) for x in case["values"]], dtype=torch.float64)
        # float32 Gaussians are not the float64 ones rounded, so the stated error is wider than its ulp.
        assert float((found - expected).abs().max()) <= error, case["shape"]


@pytest.mark.parametrize("shape", [(2, 50, 50), (1, 41, 33), (1, 33, 41), (3, 7, 1), (1, 1, 7)])
def test_the_width_of_panels_does_not_matter(shape: tuple[int, int, int]) -> None:
    whole = draw(*shape)
    for panel in (1, 4, 16, 33):
        with mock.patch.object(haar, "_PANEL", panel):
            torch.testing.assert_close(draw(*shape), whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 500, 500), (1, 700, 300), (1, 300, 700), (1, 2000, 20), (30, 64, 64)])
def test_the_error_is_a_few_ulps(shape: tuple[int, int, int]) -> None:
    assert gram_error(draw(*shape)) <= 24 * torch.finfo(torch.float64).eps
    assert gram_error(draw(*shape, dtype=torch.float32)) <= 12 * torch.finfo(torch.float32).eps


def test_a_planted_error_of_the_norms_is_seen() -> None:
    # The reflectors' norms as sums of float32 products would give them.
    square = torch.Tensor.square_
    with mock.patch.object(torch.Tensor, "square_", lambda x: square(x).float().double()):
        assert gram_error(draw(1, 300, 300)) > 24 * torch.finfo(torch.float64).eps


def alarms(matrices: torch.Tensor) -> list[str]:
    """Which facts about Haar measure on O(3) a sample contradicts; false alarm of each: 1e-7."""
    count = len(matrices)
    determinant, trace = torch.linalg.det(matrices).sign(), matrices.diagonal(dim1=1, dim2=2).sum(1)
    # The phases of a rotation's eigenvalues are 0 and ±θ, θ of density (1 − cos θ)/π.
    angle = torch.arccos(((determinant * trace - 1) / 2).clamp(-1, 1))
    facts = {
        "determinant": stats.binomtest(int((determinant > 0).sum()), count).pvalue,
        "eigenphase": stats.kstest(
            angle.numpy(), lambda t: (t - torch.sin(torch.as_tensor(t)).numpy()) / math.pi
        ).pvalue,
    }
    for row in range(3):
        for column in range(3):
            entry = matrices[:, row, column].numpy()  # uniform, by Archimedes
            facts[f"entry {row}{column}"] = stats.kstest(entry, stats.uniform(-1, 2).cdf).pvalue
    # E tr = 0, E tr² = 1, E tr⁴ = 3 (Diaconis and Shahshahani 1994, for n ≥ 2); on O(3) E tr(Q²) = 1.
    squared = (matrices @ matrices).diagonal(dim1=1, dim2=2).sum(1)
    for name, values, mean in (
        ("tr", trace, 0),
        ("tr2", trace**2, 1),
        ("tr Q2", squared, 1),
        ("tr4", trace**4, 3),
    ):
        z = float((values.mean() - mean) / values.std() * math.sqrt(count))
        facts[name] = 2 * stats.norm.sf(abs(z))
    return [name for name, p in facts.items() if p < 1e-7]


@pytest.mark.parametrize("panel", [1, 2, 192])
def test_the_matrices_are_haar_distributed(panel: int) -> None:
    with mock.patch.object(haar, "_PANEL", panel):
        assert alarms(draw(20000, 3, 3)) == []


def test_corners_of_larger_and_oblong_matrices_are_haar_distributed() -> None:
    # Times fixed orthogonal matrices on both sides, Haar measure stays. A corner's own law: the first
    # column of O(5) without two coordinates, and a wide matrix is a transposed tall one.
    for matrices in (draw(4000, 5, 5), draw(4000, 5, 4), draw(4000, 4, 5)):
        for entry in (matrices[:, 0, 0], matrices[:, 3, 3], matrices[:, 2, 1]):
            law = stats.beta(0.5, 2.0)  # the square of a coordinate of a uniform direction in 5 dimensions
            assert stats.kstest((entry**2).numpy(), law.cdf).pvalue > 1e-7
            assert stats.binomtest(int((entry > 0).sum()), 4000).pvalue > 1e-7


def test_planted_faults_are_not_haar_distributed() -> None:
    gaussian = torch.randn(20000, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    without_signs = torch.linalg.qr(gaussian).Q
    assert "entry 00" in alarms(without_signs)
    rotations = draw(20000, 3, 3)
    assert "determinant" in alarms(rotations * torch.linalg.det(rotations).sign()[:, None, None])
    uniform_axis = gaussian[:, :, :1] / gaussian[:, :, :1].norm(dim=1, keepdim=True)
    reflections = torch.eye(3, dtype=torch.float64) - 2 * uniform_axis @ uniform_axis.mT
    assert {"eigenphase", "tr"} <= set(alarms(reflections))
    # The factor D left out: each reflection then sends e₁ to −s·x/‖x‖, never to its own half.
    with mock.patch.object(torch.Tensor, "mul_", lambda x, y: x):
        assert "entry 00" in alarms(draw(20000, 3, 3))


def test_a_column_of_zeros_is_survived() -> None:
    zeros = torch.zeros(1, 4, 3, dtype=torch.float64)
    haar._orthogonalize_(zeros)
    assert gram_error(zeros) < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_built_in_place_has_the_bits_of_one_that_is_copied(dtype: torch.dtype) -> None:
    for shape in ((300, 300), (40, 250), (6, 8, 5)):
        initializer = Orthogonal(1.5, groups=2)
        in_place = initializer.fill_(torch.empty(shape, dtype=dtype), key=3)
        strided = initializer.fill_(
            torch.empty(shape[::-1], dtype=dtype).permute(*range(len(shape))[::-1]), key=3
        )
        shifted = torch.empty(math.prod(shape) + 1, dtype=dtype)[1:].view(shape)
        assert torch.equal(in_place, strided)
        assert torch.equal(in_place, initializer.fill_(shifted, key=3))


class Allocations(TorchDispatchMode):
    """The elements of the largest tensor that any operation returned in memory of its own."""

    largest = 0

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() != self.known:
            self.largest = max(self.largest, out.untyped_storage().nbytes() // out.element_size())
        return out


def test_nothing_of_the_matrix_size_is_allocated() -> None:
    weight = torch.zeros(1500, 1400)
    with Allocations(weight) as seen:
        Orthogonal().fill_(weight, key=1)
    assert 0 < seen.largest <= 192 * 1500
    with Allocations(weight) as planted:
        Orthogonal().fill_(weight.mT, key=1)
    assert planted.largest == weight.numel()


def test_the_callers_precision_does_not_matter() -> None:
    expected = Orthogonal().fill_(torch.empty(300, 300), key=1)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = Orthogonal().fill_(torch.empty(300, 300), key=1)
            assert torch.mm(found, found).dtype == torch.bfloat16  # the planted fault: what products do here
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, expected)


def test_narrow_dtypes_are_the_float32_matrix_rounded_once() -> None:
    whole = Orthogonal().fill_(torch.empty(40, 30), key=1)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(Orthogonal().fill_(torch.empty(40, 30, dtype=dtype), key=1), whole.to(dtype))
