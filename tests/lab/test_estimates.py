"""Intervals cover what they promise, and a fact says no where it should."""

from __future__ import annotations

import torch

from goodinit.lab.estimates import exact, fact, geometric_mean, mean, said
from goodinit.records import Interval


def test_intervals_of_a_mean_cover_it_as_often_as_they_promise() -> None:
    # 4,000 intervals of 95 %: the count within is binomial with std 13.8, so 5 of these are passed by
    # chance with probability 6e-7.
    drawn = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [mean(row.tolist()) for row in drawn]
    assert abs(sum(each.low <= 0 <= each.high for each in found) - 3800) < 69
    # The planted fault: intervals of a normal law instead of Student's are too narrow for six values.
    narrow = sum(abs(each.value) <= (each.high - each.value) * 1.96 / 2.5706 for each in found)
    assert abs(narrow - 3800) > 69


def test_a_geometric_mean_is_the_mean_of_logarithms() -> None:
    found = geometric_mean([1.0, 10.0, 100.0])
    assert abs(found.value - 10.0) < 1e-12
    assert abs(found.low * found.high - 100.0) < 1e-9


def test_a_fact_holds_within_twice_its_interval_and_not_beyond() -> None:
    figure = Interval(1.0, 0.9, 1.1)
    assert fact("x", figure, 1.19).holds
    assert not fact("x", figure, 1.21).holds
    assert not fact("x", figure, 0.79).holds


def test_a_fact_allows_the_error_that_the_claim_itself_has() -> None:
    assert not fact("x", exact(1.04), 1.0).holds
    assert fact("x", exact(1.04), 1.0, within=0.05).holds
    assert not fact("x", exact(1.06), 1.0, within=0.05).holds
    assert "±5 %" in fact("x", exact(1.04), 1.0, within=0.05).stated


def test_a_fact_about_a_range_needs_an_overlap() -> None:
    assert fact("x", Interval(2.0, 1.8, 2.2), (2.1, 3.0)).holds
    assert not fact("x", Interval(1.0, 0.9, 1.1), (2.1, 3.0)).holds


def test_a_fact_without_a_claim_says_nothing() -> None:
    assert fact("x", exact(1.0)).holds is None


def test_words_carry_the_interval() -> None:
    assert said(Interval(1234.5, 1000.0, 1500.0)) == "1,230 (1,000 to 1,500)"
