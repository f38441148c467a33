"""The drop-in's draws follow the laws that their names say.

Every check raises a false alarm with probability at most 1e-6 (the bound stands beside
it), seeds are fixed, and a planted wrong law fails the same check.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from goodinit import init

FALSE_ALARM = 1e-6
SHAPE = (400, 500)

pytestmark = pytest.mark.filterwarnings("ignore:mean is more than 2 std")


def distance(values: torch.Tensor, law: Any) -> float:
    """Largest distance between the values' and the law's distribution functions."""
    sample = np.sort(values.double().flatten().numpy())
    cdf, n = law.cdf(sample), sample.size
    return float(max(np.max(np.arange(1, n + 1) / n - cdf), np.max(cdf - np.arange(n) / n)))


def follows(values: torch.Tensor, law: Any) -> bool:
    """Dvoretzky, Kiefer & Wolfowitz with Massart's constant (1990): P(D > e) <= 2 exp(-2 n e^2)."""
    return distance(values, law) <= math.sqrt(math.log(2 / FALSE_ALARM) / (2 * values.numel()))


def symmetric(std: float) -> Any:
    return stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)


FAN_IN, FAN_OUT = SHAPE[1], SHAPE[0]
Fill = Callable[[torch.Tensor], torch.Tensor]
LAWS: dict[str, tuple[Fill, Any]] = {
    "uniform_": (init.uniform_, stats.uniform(0, 1)),
    "uniform_ on [-1, 3]": (lambda t: init.uniform_(t, -1.0, 3.0), stats.uniform(-1, 4)),
    "normal_": (init.normal_, stats.norm(0, 1)),
    "normal_ of mean 5": (lambda t: init.normal_(t, 5.0, 0.1), stats.norm(5, 0.1)),
    "trunc_normal_": (init.trunc_normal_, stats.truncnorm(-2, 2)),
    "trunc_normal_ of [2, 4] sigma": (
        lambda t: init.trunc_normal_(t, 0.0, 1.0, 2.0, 4.0),
        stats.truncnorm(2, 4),
    ),
    "trunc_normal_ beyond 3 sigma": (
        lambda t: init.trunc_normal_(t, 0.0, 1.0, -math.inf, -3.0),
        stats.truncnorm(-math.inf, -3),
    ),
    "trunc_normal_ off centre": (
        lambda t: init.trunc_normal_(t, 1.0, 0.5, 0.0, 1.2),
        stats.truncnorm(-2, 0.4, 1, 0.5),
    ),
    "trunc_normal_ of negative std": (
        lambda t: init.trunc_normal_(t, 1.0, -0.5, 0.0, 1.2),
        stats.truncnorm(-2, 0.4, 1, 0.5),
    ),
    "xavier_uniform_": (
        lambda t: init.xavier_uniform_(t, 1.5),
        symmetric(1.5 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    ),
    "xavier_normal_": (init.xavier_normal_, stats.norm(0, math.sqrt(2 / (FAN_IN + FAN_OUT)))),
    "kaiming_uniform_": (
        lambda t: init.kaiming_uniform_(t, 0.3),
        symmetric(math.sqrt(2 / (1.09 * FAN_IN))),
    ),
    "kaiming_uniform_ fan_out": (
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="tanh"),
        symmetric(5 / 3 / math.sqrt(FAN_OUT)),
    ),
    "kaiming_normal_": (
        lambda t: init.kaiming_normal_(t, nonlinearity="relu"),
        stats.norm(0, math.sqrt(2 / FAN_IN)),
    ),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_draws_follow_the_law(name: str, dtype: torch.dtype) -> None:
    fill, law = LAWS[name]
    torch.manual_seed(20)
    values = fill(torch.empty(SHAPE, dtype=dtype))
    assert follows(values, law)
    low, high = law.support()
    # float32 rounds the bounds themselves.
    slack = torch.finfo(dtype).eps * max(1.0, abs(float(values.min())), abs(float(values.max())))
    assert low - slack <= values.min()
    assert values.max() <= high + slack


@pytest.mark.parametrize("name", LAWS)
def test_a_law_that_is_off_by_a_twentieth_is_caught(name: str) -> None:
    fill, law = LAWS[name]
    torch.manual_seed(20)
    values = fill(torch.empty(SHAPE))
    centre = float(law.mean())
    assert not follows((values - centre) * 1.05 + centre, law)
    assert not follows(values + 0.05 * float(law.std()), law)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "xavier_normal_"])
def test_values_of_one_place_over_many_calls_follow_the_law_too(name: str) -> None:
    """Each call has its own key; the draws of one element over 2,000 calls are independent."""
    fill, _ = LAWS[name]
    law = {**{k: v for k, (_, v) in LAWS.items()}, "xavier_normal_": stats.norm(0, math.sqrt(2 / 3))}[name]
    torch.manual_seed(21)
    calls = torch.stack([fill(torch.empty(1, 2)) for _ in range(2000)])
    assert follows(calls[:, 0, 0], law)
    # Bartlett: the correlation of n independent pairs has std 1/sqrt(n); 4.9 of them is 1e-6.
    pairs = [(calls[1:, 0, 0], calls[:-1, 0, 0]), (calls[:, 0, 0], calls[:, 0, 1])]
    for x, y in pairs:
        assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 4.9 / math.sqrt(2000)
    stuck = calls[:, 0, 0].clone()
    stuck[1::2] = stuck[::2]  # planted: every second call repeats the one before
    assert float(torch.corrcoef(torch.stack([stuck[1:], stuck[:-1]]))[0, 1]) > 4.9 / math.sqrt(2000)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_normals_have_the_std_of_the_complex_number(dtype: torch.dtype) -> None:
    torch.manual_seed(22)
    values = init.normal_(torch.empty(SHAPE, dtype=dtype), 0.0, 3.0)
    part = stats.norm(0, 3 / math.sqrt(2))
    assert follows(values.real, part)
    assert follows(values.imag, part)
    assert follows(values.abs() ** 2, stats.expon(scale=9))  # the parts are independent
    assert not follows(values.real, stats.norm(0, 3))  # planted: the std of a part
    assert not follows(2 * values.real**2, stats.expon(scale=9))  # planted: equal parts
    shifted = init.normal_(torch.empty(SHAPE, dtype=dtype), 2.0, 3.0)
    theirs = torch.nn.init.normal_(torch.empty(SHAPE, dtype=dtype), 2.0, 3.0)
    for values_ in (shifted, theirs):  # torch gives the mean to both parts
        assert follows(values_.imag, stats.norm(2, 3 / math.sqrt(2)))


def test_complex_uniforms_draw_both_parts() -> None:
    torch.manual_seed(23)
    values = init.xavier_uniform_(torch.empty(SHAPE, dtype=torch.complex64))
    law = symmetric(math.sqrt(2 / (FAN_IN + FAN_OUT)))
    assert follows(values.real, law)
    assert follows(values.imag, law)
    assert not follows(values.real + values.imag, law)


def orthogonality_error(w: torch.Tensor) -> float:
    m = w.double().reshape(w.shape[0], -1)
    product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    return float((product - torch.eye(len(product))).abs().max())


@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (16, 16), (20, 2, 3, 4), (2, 3, 4, 5), (1, 7), (7, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_orthogonal_matrix_is_orthogonal(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(24)
    w = init.orthogonal_(torch.empty(shape, dtype=dtype))
    limit = 20 * torch.finfo(dtype).eps
    assert orthogonality_error(w) < limit
    w.view(-1)[0] += 1e-3  # planted
    assert orthogonality_error(w) > limit


def test_gain_scales_an_orthogonal_matrix_and_its_sign_counts() -> None:
    def draw(gain: float) -> torch.Tensor:
        return init.orthogonal_(torch.empty(5, 8), gain, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(draw(2.5), 2.5 * draw(1.0))
    assert torch.equal(draw(-1.0), -draw(1.0))
    assert draw(0.0).count_nonzero() == 0


def test_orthogonal_matrices_are_haar_distributed() -> None:
    """An entry of a Haar-distributed 3 by 3 matrix is uniform on [-1, 1] (Archimedes)."""
    torch.manual_seed(25)
    entries = torch.stack([init.orthogonal_(torch.empty(3, 3))[0, 0] for _ in range(2000)])
    assert follows(entries, stats.uniform(-1, 2))
    raw = torch.linalg.qr(torch.randn(2000, 3, 3))[0][:, 0, 0]  # planted: QR without the signs of R
    assert not follows(raw, stats.uniform(-1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_sparse_columns_have_the_zeros_at_random_places(dtype: torch.dtype) -> None:
    rows, cols, share = 10, 4000, 0.25
    torch.manual_seed(26)
    w = init.sparse_(torch.empty(rows, cols, dtype=dtype), share, std=2.0)
    zero = w == 0
    assert (zero.sum(0) == math.ceil(share * rows)).all()
    drawn = w[~zero]
    if dtype.is_complex:
        assert follows(drawn.abs() ** 2, stats.expon(scale=4))
        assert not follows(2 * drawn.real**2, stats.expon(scale=4))  # planted: equal parts
    else:
        assert follows(drawn, stats.norm(0, 2))
        assert not follows(drawn, stats.norm(0, 2.2))

    def evenly_spread(zero: torch.Tensor) -> bool:
        # Zeros of one row over independent columns are binomial; 5.4 std for each of 10 rows is 1e-6 in all.
        p = math.ceil(share * rows) / rows
        deviations = (zero.sum(1) - cols * p) / math.sqrt(cols * p * (1 - p))
        return bool(deviations.abs().max() < 5.4)

    assert evenly_spread(zero)
    assert not evenly_spread(zero.sort(0).values)  # planted: zeros always in the same rows


def test_a_share_above_one_is_all_zeros_and_below_zero_is_refused() -> None:
    assert init.sparse_(torch.ones(3, 4), 1.5).count_nonzero() == 0
    assert init.sparse_(torch.ones(3, 4), 0.0).count_nonzero() == 12
    with pytest.raises(ValueError, match="sparsity"):
        init.sparse_(torch.ones(3, 4), -0.5)
