"""What no scale holds is said: functions without a second moment. What is zero for now stops nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit


class _Between(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(32, 32), nn.Linear(32, 4), between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.between(self.a(x)))
        return out


@pytest.mark.parametrize(
    ("between", "said"),
    [
        (torch.log, "log is not finite for 50% of Gaussian signals"),
        (torch.sqrt, "sqrt is not finite for 50%"),
        (lambda z: torch.relu(z).log(), "log ∘ relu is not finite for 50%"),
        (torch.reciprocal, "reciprocal of Gaussian signals has no finite second moment"),
        (lambda z: 1 / z, "no finite second moment"),
    ],
)
def test_a_function_without_a_second_moment_is_announced(
    between: Callable[[Tensor], Tensor], said: str
) -> None:
    row = goodinit.plan(_Between(between), example=torch.randn(8, 32))["b.weight"]
    assert row.announced is not None
    assert said in row.announced.what
    assert row.announced.what in row.why


@pytest.mark.parametrize(
    "between",
    [
        lambda z: z.abs().log(),
        lambda z: nn.functional.softplus(z).log(),
        lambda z: torch.softmax(z, -1).log(),
        lambda z: z.var(-1, keepdim=True).sqrt() + 0 * z,
        torch.nn.functional.gelu,
        lambda z: z / z.norm(dim=-1, keepdim=True),
    ],
)
def test_functions_that_hold_are_not_announced(between: Callable[[Tensor], Tensor]) -> None:
    plan = goodinit.plan(_Between(between), example=torch.randn(8, 32))
    assert all(row.announced is None for row in plan.rows)


@pytest.mark.parametrize("between", [lambda z: z * 0, lambda z: z.sign().clamp(0, 0)])
def test_a_signal_that_is_zero_gives_the_next_weight_no_std_of_zero(
    between: Callable[[Tensor], Tensor],
) -> None:
    row = goodinit.plan(_Between(between), example=torch.randn(8, 32))["b.weight"]
    assert row.std == pytest.approx(32**-0.5)
