"""What is drawn in the place of signals and weights, and what it may cost."""

from __future__ import annotations

import pytest
import torch

from goodinit.graph.drawing import Budget, SpentError, drawn, mapped, wide


def test_one_seed_and_key_draw_the_same_numbers() -> None:
    assert torch.equal(drawn((3, 4), 1, 7, Budget()), drawn((3, 4), 1, 7, Budget()))
    assert not torch.equal(drawn((3, 4), 1, 7, Budget()), drawn((3, 4), 1, 8, Budget()))
    assert not torch.equal(drawn((3, 4), 1, 7, Budget()), drawn((3, 4), 2, 7, Budget()))


# An inner product of rows over 3,000 results scatters by about √(2/3000) = 0.03; 0.2 is six sigma.
@pytest.mark.parametrize(("features", "results"), [(1000, 3000), (640, 3001), (4096, 3000)])
def test_a_drawn_map_keeps_what_rows_have_in_common(features: int, results: int) -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(1, features, generator=generator)
    rows = 0.8 * common + 0.6 * torch.randn(6, features, generator=generator)
    out = mapped(rows, results, 0, 5, Budget())
    assert out.shape == (6, results)
    before, after = torch.corrcoef(rows), torch.corrcoef(out)
    assert (before - after).abs().max() < 0.2
    assert torch.equal(out, mapped(rows, results, 0, 5, Budget()))
    assert not torch.equal(out, mapped(rows, results, 0, 6, Budget()))


def test_only_large_weights_are_drawn_in_groups() -> None:
    assert wide(8, 4096, 4096)
    assert not wide(8, 64, 64)
    assert wide(100_000, 300, 800)
    assert not wide(100_000, 100, 800)


def test_what_is_more_than_is_left_is_refused_and_costs_nothing() -> None:
    budget = Budget(operations=3, numbers=100, products=10.0)
    budget.spend(operations=1, numbers=60)
    with pytest.raises(SpentError):
        budget.spend(operations=1, numbers=60)
    assert (budget.operations, budget.numbers) == (2, 40)
    with pytest.raises(SpentError):
        drawn((1000,), 0, 0, budget)
