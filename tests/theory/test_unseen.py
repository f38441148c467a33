"""Functions that `moments` was not made with, against 25-digit integrals by mpmath."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import nn

from goodinit.errors import ArgumentError
from goodinit.theory import moments

ACCURACY = 1e-10
# Widths of the Gaussian from far below any structure to far above it.
NARROW_TO_WIDE = (1e-8, 1e-2, 1.0, 1e2, 1e8)


def integrals(function, derivative, kinks, q):
    """E[φ], E[φ²], E[φ′²] from the definition, cut at the kinks, over ±15 standard deviations."""
    with mp.workdps(25):
        s = mp.sqrt(q)
        cuts = sorted({*(k for k in kinks if abs(k) < 15 * s), *(3 * i * s for i in range(-5, 6))})

        def mean(term):
            density = lambda x: term(x) * mp.exp(-x * x / (2 * q)) / (s * mp.sqrt(2 * mp.pi))  # noqa: E731
            return mp.quad(density, cuts, maxdegree=9)

        return (
            float(mean(function)),
            float(mean(lambda x: function(x) ** 2)),
            float(mean(lambda x: derivative(x) ** 2)),
        )


def hinges(x):
    return torch.relu(x + 1.1) - 2 * torch.relu(x - 0.123) + 3 * torch.relu(x - 0.777)


def bent(x):
    return torch.where(x > 0.9, x * x, torch.where(x < -0.4, -x, 0.5))


def masked(x):
    x[x < 0.37] *= 0.2  # in place, and a jump
    return x


class Learned(nn.Module):
    """A module with a parameter of its own, in bfloat16: 0.37 is stored as 0.369140625."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.37]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.prelu(x, self.slope)


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def one_where(condition):
    return mp.mpf(1) if condition else mp.mpf(0)


def relu(x):
    return max(x, mp.mpf(0))


# name: function, the same and its derivative in mpmath, where they are not smooth, variances
UNSEEN = {
    "threshold at 0.37": (
        nn.Threshold(0.37, -0.2),
        lambda x: x if x > 0.37 else mp.mpf(-0.2),
        lambda x: one_where(x > 0.37),
        [0.37],
        NARROW_TO_WIDE,
    ),
    "three hinges": (
        hinges,
        lambda x: relu(x + 1.1) - 2 * relu(x - 0.123) + 3 * relu(x - 0.777),
        lambda x: one_where(x > -1.1) - 2 * one_where(x > 0.123) + 3 * one_where(x > 0.777),
        [-1.1, 0.123, 0.777],
        NARROW_TO_WIDE,
    ),
    "where": (
        bent,
        lambda x: x * x if x > 0.9 else -x if x < -0.4 else mp.mpf(0.5),
        lambda x: 2 * x if x > 0.9 else one_where(x < -0.4),
        [-0.4, 0.9],
        NARROW_TO_WIDE,
    ),
    "in place": (
        masked,
        lambda x: x if x >= 0.37 else mp.mpf(0.2) * x,
        lambda x: one_where(x >= 0.37) + mp.mpf(0.2) * one_where(x < 0.37),
        [0.37],
        NARROW_TO_WIDE,
    ),
    "a bfloat16 module": (
        Learned().bfloat16(),
        lambda x: x if x > 0 else mp.mpf(0.369140625) * x,
        lambda x: one_where(x > 0) + mp.mpf(0.369140625) * one_where(x < 0),
        [0],
        NARROW_TO_WIDE,
    ),
    "np.clip": (
        lambda x: np.clip(np.asarray(x), -0.33, 1.21),
        lambda x: min(max(x, mp.mpf(-0.33)), mp.mpf(1.21)),
        lambda x: one_where(-0.33 < x < 1.21),
        [-0.33, 1.21],
        NARROW_TO_WIDE,
    ),
    "a function of one number": (
        lambda x: 0.2 if x < 0.37 else math.log1p(x),
        lambda x: mp.mpf(0.2) if x < 0.37 else mp.log1p(x),
        lambda x: one_where(x >= 0.37) / (1 + abs(x)),
        [0.37],
        (1.0,),
    ),
    "|sin 5x|": (
        lambda x: torch.sin(5 * x).abs(),
        lambda x: abs(mp.sin(5 * x)),
        lambda x: 5 * mp.cos(5 * x),
        [float(k * mp.pi / 5) for k in range(-8, 9)],
        (1e-8, 1e-2),
    ),
    "sigmoid(50x)": (
        lambda x: torch.sigmoid(50 * x),
        lambda x: logistic(50 * x),
        lambda x: 50 * logistic(50 * x) * logistic(-50 * x),
        [k / 10 for k in range(-10, 11)],
        (1e-8, 1e-2, 1.0),
    ),
    "x eˣ": (
        lambda x: x * torch.exp(x),
        lambda x: x * mp.exp(x),
        lambda x: (1 + x) * mp.exp(x),
        [],
        (1e-8, 1.0),
    ),
}


def agree(found, expected):
    mean, second, slope = expected
    return (
        abs(found.mean - mean) <= ACCURACY * math.sqrt(second)
        and abs(found.second_moment - second) <= ACCURACY * second
        and abs(found.derivative_second_moment - slope) <= ACCURACY * slope + 1e-30
    )


@pytest.mark.parametrize("case", UNSEEN)
def test_unseen_functions_are_integrated_to_the_promised_accuracy(case):
    function, same, derivative, kinks, variances = UNSEEN[case]
    for q in variances:
        found = moments(function, q)
        assert agree(found, integrals(same, derivative, kinks, q)), q
        assert found.error <= ACCURACY, q
    # The same check refuses a variance that is off by 1e-8.
    q = min(variances, key=lambda q: abs(math.log(q)))
    assert not agree(moments(function, q * (1 + 1e-8)), integrals(same, derivative, kinks, q))


def test_staircases_and_saws_are_integrated_step_by_step():
    k = np.arange(-60, 61)
    mass = ndtr((k + 1) / 3) - ndtr(k / 3)
    stairs = moments(lambda x: torch.floor(3 * x) / 3)
    assert stairs.second_moment == pytest.approx(float(mass @ (k / 3) ** 2), rel=ACCURACY)
    assert stairs.derivative_second_moment == 0
    # Fourier: frac(y) − 1/2 = −Σ sin(2πky) / πk, and E[sin²(ωx)] = (1 − e^(−2ω²)) / 2; here all terms but 1.
    saw = moments(lambda x: 1.7 * x - torch.floor(1.7 * x) - 0.5)
    orders = np.arange(1, 200_001)
    total = float(np.sum(1 / (2 * np.pi**2 * orders.astype(float) ** 2)))
    missing = 1 / 12 - total  # the tail of the sum of 1/k²
    assert saw.second_moment == pytest.approx(total + missing, rel=1e-9)
    assert saw.derivative_second_moment == pytest.approx(1.7**2, rel=ACCURACY)


def test_bumps_as_narrow_as_promised_are_found_wherever_they_are():
    generator = np.random.default_rng(3)
    near = [(place, 1 / 1600, 9.0) for place in generator.uniform(-12, 12, 20)]
    far = [(place, place / 600, 1e4) for place in generator.uniform(16, 400, 20)]
    for place, width, q in near + far:
        found = moments(lambda x, place=place, width=width: torch.exp(-(((x - place) / width) ** 2) / 2), q)
        both = q + width**2 / 2
        expected = width / math.sqrt(2) / math.sqrt(both) * math.exp(-(place**2) / (2 * both))
        assert found.second_moment == pytest.approx(expected, rel=ACCURACY), place


def stair_moment(dtype):
    """E[tanh(x)²] with x and tanh rounded to a dtype of 16 bits: a sum over all its values."""
    every = torch.arange(2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    every = every[every.isfinite() & (every < 40)]
    x = every.double().numpy()
    edges = np.concatenate([[0.0], (x[1:] + x[:-1]) / 2, [np.inf]])
    mass = 2 * (ndtr(-edges[:-1]) - ndtr(-edges[1:]))
    return float(mass @ torch.tanh(every).double().numpy() ** 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("back", [False, True])
def test_a_function_that_rounds_is_not_said_to_be_more_accurate_than_its_rounding(dtype, back):
    with pytest.warns(UserWarning, match="not 1e-10"):
        found = moments(lambda x: torch.tanh(x.to(dtype)).to(torch.float64 if back else dtype))
    smooth = moments("tanh").second_moment
    for meant in (stair_moment(dtype), smooth):  # what was written, and what was meant
        assert abs(found.second_moment / meant - 1) <= found.error <= 1e-2
    assert stair_moment(dtype) != pytest.approx(smooth, rel=1e-7)


def test_float32_in_numpy_is_refused_for_its_derivative_is_noise():
    with pytest.raises(ArgumentError, match="computed in float64"):
        moments(lambda x: np.tanh(np.asarray(x).astype(np.float32)))
