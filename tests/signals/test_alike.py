"""Cosines and ranks equal what plain definitions give, and tell collapsed from distinct rows."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from goodinit.signals import probe
from goodinit.signals.probing.alike import cosine, gram, rank, varying_from
from goodinit.signals.probing.moments import varying


def _mean_cosine(samples: torch.Tensor) -> float:
    pairs = itertools.combinations(samples.double(), 2)
    return float(torch.stack([functional.cosine_similarity(a, b, dim=0) for a, b in pairs]).mean())


def _participation(rows: torch.Tensor) -> float:
    eigenvalues = torch.linalg.eigvalsh(rows.double() @ rows.double().T)
    return float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.floats(-3, 3), st.integers(0, 99))
def test_the_mean_cosine_equals_the_mean_over_pairs(count: int, width: int, mean: float, seed: int) -> None:
    samples = torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + mean
    total, pairs = cosine(gram(samples)).tolist()
    assert pairs == count * (count - 1) / 2
    assert total / pairs == pytest.approx(_mean_cosine(samples), abs=1e-5)


def test_samples_of_zeros_make_no_pair() -> None:
    samples = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    total, pairs = cosine(gram(samples)).tolist()
    assert (pairs, total) == (1.0, pytest.approx(0.5**0.5))


def test_of_many_samples_evenly_spaced_ones_are_compared() -> None:
    # A ramp of directions: a sample of the first 64 alone would find them nearly equal.
    angles = torch.linspace(0, 1.5, 1000)
    samples = torch.stack([angles.cos(), angles.sin()], dim=1)
    total, pairs = cosine(gram(samples)).tolist()
    assert total / pairs == pytest.approx(_mean_cosine(samples[::10]), abs=0.02)
    assert _mean_cosine(samples[:64]) != pytest.approx(total / pairs, abs=0.02)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_low_matmul_precision_does_not_blur_them(precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    samples = torch.randn(5, 3000)
    try:
        torch.set_float32_matmul_precision(precision)
        products = gram(samples)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(products, samples.double() @ samples.double().T, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shared", [0.0, 1.0, 30.0, 1e4])
def test_the_varying_part_is_the_same_by_either_way(shared: float) -> None:
    samples = torch.randn(6, 5000) + shared
    exact = samples.double().var(dim=0, correction=0).mean().item()
    for total, count in (varying(samples).tolist(), varying_from(gram(samples), samples).tolist()):
        assert total / count == pytest.approx(exact, rel=1e-5)


def test_the_products_alone_would_lose_a_small_varying_part() -> None:
    samples = torch.randn(6, 5000) + 1e4
    products = gram(samples)
    naive = (products.diagonal().sum() - products.sum() / 6).item() / 6 / 5000
    assert naive != pytest.approx(samples.double().var(dim=0, correction=0).mean().item(), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_the_rank_is_the_participation_ratio_of_eigenvalues(
    count: int, tokens: int, width: int, seed: int
) -> None:
    output = torch.randn(count, tokens, width, generator=torch.Generator().manual_seed(seed))
    total, rows, number = rank(output, None).tolist()
    assert (rows, number) == (count * tokens, count)
    assert total / number == pytest.approx(sum(map(_participation, output)) / count, rel=1e-4)


def test_equal_tokens_have_rank_one_and_orthogonal_ones_as_many_as_there_are() -> None:
    assert rank(torch.ones(2, 5, 8), None).tolist() == [2.0, 10.0, 2.0]
    total, _, number = rank(1e-6 * torch.eye(8)[:5].repeat(2, 1, 1), None).tolist()
    assert total / number == pytest.approx(5.0)


def test_matrices_of_zeros_have_no_rank() -> None:
    output = torch.stack([torch.eye(3), torch.zeros(3, 3)])
    assert rank(output, None).tolist() == pytest.approx([3.0, 3.0, 1.0])


def test_rows_are_tokens_of_sequences_and_samples_otherwise() -> None:
    (layer,) = probe(nn.Linear(6, 10), torch.randn(4, 7, 6)).layers
    assert (layer.rows, layer.units) == (7, 10)
    (layer,) = probe(nn.Linear(6, 10), torch.randn(4, 6)).layers
    assert layer.rows == 4
    (layer,) = probe(nn.Conv2d(2, 3, 1), torch.randn(5, 2, 4, 4)).layers
    assert layer.rows == 5


def test_a_layer_that_forgets_its_input_has_correlation_one_and_rank_one() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8))
    with torch.no_grad():
        model[1].weight.mul_(1e-6)
    first, second = probe(model, torch.randn(16, 6)).layers
    assert second.correlation == pytest.approx(1.0, abs=1e-5)
    assert second.rank == pytest.approx(1.0, abs=1e-5)
    assert first.correlation < 0.9
    assert first.rank > 1.5


def test_one_sample_has_no_correlation_and_non_finite_values_have_neither() -> None:
    (layer,) = probe(nn.Linear(6, 8), torch.randn(1, 6)).layers
    assert layer.correlation is None
    assert layer.varying is None
    (layer,) = probe(nn.Linear(6, 8), torch.full((3, 6), float("nan"))).layers
    assert (layer.correlation, layer.rank, layer.unit_moments) == (None, None, ())
