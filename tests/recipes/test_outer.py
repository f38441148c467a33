"""Parameters that make vectors of single numbers, as tokens of numeric features are made."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit

Spelling = Callable[[Tensor, Tensor, Tensor], Tensor]

_SPELLINGS: dict[str, Spelling] = {
    "product": lambda x, w, b: x[..., None] * w + b,
    "other order": lambda x, w, b: b[None] + w[None] * x.unsqueeze(-1),
    "einsum": lambda x, w, b: torch.einsum("bn,nd->bnd", x, w) + b,
    "addcmul": lambda x, w, b: torch.addcmul(b, x[..., None], w),
    "addcmul in place": lambda x, w, b: b.expand(len(x), *b.shape).clone().addcmul_(w, x[..., None]),
}


class _Tokens(nn.Module):
    def __init__(self, numbers: int, width: int, spelling: str, normed: bool) -> None:
        super().__init__()
        bound = width**-0.5
        self.w = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.out, self.spelling = nn.Linear(width, 64), spelling

    def tokens(self, x: Tensor) -> Tensor:
        return _SPELLINGS[self.spelling](x, self.w, self.b)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.norm(self.tokens(x)))
        return y


class _Waves(nn.Module):
    """Learned frequencies."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(count) * 16)
        self.out = nn.Linear(2 * count, 4)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies[None] * 2 * math.pi
        y: Tensor = self.out(torch.cat([angle.cos(), angle.sin()], -1))
        return y


class _Normed(nn.Module):
    """A gain that meets the statistic of a normalization first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.gain = nn.Linear(width, width), nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x * (self.gain * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("spelling", list(_SPELLINGS))
@pytest.mark.parametrize(("numbers", "width"), [(4, 64), (8, 32)])
def test_tokens_of_numbers_have_unit_size_and_keep_the_numbers(
    numbers: int, width: int, spelling: str, normed: bool
) -> None:
    torch.manual_seed(0)
    model, x = _Tokens(numbers, width, spelling, normed), torch.randn(512, numbers)
    goodinit.initialize(model, example=x, seed=0)
    with torch.no_grad():
        tokens, out = model.tokens(x), model(x)
    # Squares of 256 drawn numbers or more: within a third.
    assert 0.66 < float(tokens.square().mean()) < 1.5
    # What varies between inputs, of each token's output: a fifth at the least.
    assert float(out.var(0).mean()) > 0.2 * float(out.square().mean())
    directions = torch.nn.functional.normalize(model.w.detach(), dim=-1)
    assert float((directions @ directions.T - torch.eye(numbers)).abs().max()) < 0.8


def test_frequencies_stay_as_their_author_drew_them() -> None:
    torch.manual_seed(0)
    model = _Waves(16)
    before = model.frequencies.detach().clone()
    plan = goodinit.initialize(model, example=torch.rand(64), seed=0)
    assert torch.equal(before, model.frequencies.detach())
    assert "frequencies" in plan["frequencies"].why or "used after" in plan["frequencies"].why


def test_a_gain_that_meets_a_statistic_first_is_still_a_gain() -> None:
    model = _Normed(16)
    goodinit.initialize(model, example=torch.randn(4, 16), seed=0)
    assert torch.equal(model.gain.detach(), torch.ones(16))
