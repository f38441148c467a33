"""Products of two linear signals in a residual branch are one branch, and only one factor is its share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import goodinit

_BLOCKS = 8


class _Product(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.norm, self.g, self.f = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.both, self.how = nn.Linear(width, 2 * width), how

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        y = self.norm(x)
        if self.how == "gate first":
            return x + self.g(c) * self.f(y)
        if self.how == "gate last":
            return x + self.f(y) * self.g(c)
        if self.how == "same input":
            return x + self.f(y) * self.g(y)
        if self.how == "packed":
            one, other = self.both(y).chunk(2, -1)
            return x + one * other
        hidden = torch.tanh(self.f(y))
        return x + self.g(c) * self.both(hidden).chunk(2, -1)[0]


class _Blocks(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Product(width, how) for _ in range(_BLOCKS))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, c)
        return x


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("how", ["gate first", "gate last", "same input", "packed", "deeper value"])
def test_branches_of_products_add_together_what_the_stream_began_with(how: str, width: int) -> None:
    torch.manual_seed(0)
    model, x, c = _Blocks(width, how), torch.randn(256, width), torch.randn(256, width)
    unused = {"gate first": "both", "gate last": "both", "same input": "both", "packed": "[fg]"}
    overrides = {f"blocks.*.{unused[how]}.*": "keep"} if how in unused else {}
    goodinit.initialize(model, example=(x, c), overrides=overrides, seed=0)
    with torch.no_grad():
        added = float((model(x, c) - x).square().mean())
    # Both factors at 1/8 would add 1/8; eight draws of a whole matrix each stay within a third.
    assert 0.66 < added < 1.5
