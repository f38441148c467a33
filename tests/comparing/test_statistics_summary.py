"""`summarize`: members in, records and sentences out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from goodinit.comparing.statistics import Summary, summarize
from goodinit.comparing.statistics.sample_size import seeds_needed
from goodinit.errors import ArgumentError
from goodinit.records.comparisons import Comparison, MemberRun

STEPS = (0, 50, 100)
Score = Callable[[str, float, int], float]


def member(plan: str, lr: float, seed: int, score: float, outcome: str | None = None) -> MemberRun:
    outcome = outcome or ("finished" if math.isfinite(score) else "diverged")
    last = math.nan if outcome == "diverged" else score
    values = (10.0, 5.0, last)
    return MemberRun(plan, lr, seed, values, values, values, outcome, 100 if outcome == "diverged" else None)


def summary(
    score: Score,
    plans: tuple[str, ...] = ("a", "b"),
    lrs: tuple[float, ...] = (0.1,),
    seeds: int = 32,
    higher: bool = False,
    **options: Any,
) -> Summary:
    runs = [member(p, lr, s, score(p, lr, s)) for s in range(seeds) for lr in lrs for p in plans]
    return summarize(plans, lrs, tuple(range(seeds)), STEPS, higher, runs, metric="mse", **options)


def noise(key: int) -> Score:
    return lambda plan, lr, seed: float(
        np.random.default_rng((key, sum(map(ord, plan)), int(1000 * lr), seed)).standard_normal()
    )


def better(by: dict[str, float], key: int = 0) -> Score:
    """Standard normal scores, lower for each plan by so much."""
    return lambda plan, lr, seed: noise(key)(plan, lr, seed) - by.get(plan, 0.0)


def test_a_plan_that_wins_is_named_with_counts_size_and_interval() -> None:
    found = summary(better({"b": 2.0}))
    (gap,) = found.differences
    assert (gap.first, gap.second, gap.lr, gap.test) == ("a", "b", 0.1, "sign")
    assert gap.wins + gap.losses == 32
    assert gap.losses > 25
    assert gap.p_holm <= 0.05
    assert gap.effect < -0.7
    assert gap.difference.low <= 2.0 <= gap.difference.high
    assert gap.seeds_needed is None
    told = found.conclusions[0]
    assert told == gap.conclusion
    assert re.match(rf"b beats a at lr 0\.1: better on {gap.losses} of 32 seeds \(p ", told)
    assert "a minus b in mse: " in told
    assert "95 % interval" in told


def test_what_is_not_shown_is_said_with_the_seeds_that_would_settle_it() -> None:
    found = summary(better({"b": 0.4}))
    (gap,) = found.differences
    assert gap.p_holm > 0.05
    share = (max(gap.wins, gap.losses) + 1) / 34
    assert gap.seeds_needed == seeds_needed(share)
    assert gap.conclusion.startswith("No difference between a and b can be concluded at lr 0.1: ")
    assert f"About {gap.seeds_needed} seeds would settle it" in gap.conclusion
    assert "beats" not in " ".join(found.conclusions)


def test_an_even_tally_is_beyond_any_number_of_seeds() -> None:
    (gap,) = summary(lambda plan, lr, seed: float((plan == "a") == seed % 2)).differences
    assert (gap.wins, gap.losses, gap.seeds_needed, gap.p, gap.effect) == (16, 16, None, 1.0, 0.0)
    assert "too small for any reasonable number of seeds" in gap.conclusion


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_too_few_seeds_are_told_that_they_settle_nothing(seeds: int) -> None:
    found = summary(better({"b": 50.0}), seeds=seeds)
    (gap,) = found.differences
    assert gap.p_holm == 1.0
    assert "settle nothing, whatever they show; it takes 6 or more" in gap.conclusion
    assert "no interval of a median reaches 95 %" in found.conclusions[-1]
    assert found.summaries[0].score.confidence == 1 - 2 ** (1 - seeds)


def test_six_seeds_that_agree_settle_a_single_comparison() -> None:
    (gap,) = summary(better({"b": 50.0}), seeds=6).differences
    assert gap.p_holm == 2 / 2**6


@pytest.mark.parametrize("higher", [False, True])
def test_a_member_that_diverged_loses_and_two_that_diverged_tie(higher: bool) -> None:
    bad = {("a", 0), ("a", 1), ("b", 1), ("b", 2)}
    found = summary(lambda plan, lr, seed: math.nan if (plan, seed) in bad else 1.0, seeds=12, higher=higher)
    (gap,) = found.differences
    assert (gap.wins, gap.losses, gap.ties) == (1, 1, 10)
    assert gap.effect == 0.0
    assert found.summaries[0].diverged.value == 2 / 12
    assert found.summaries[0].score.value == 1.0
    worst = -math.inf if higher else math.inf
    ends = found.summaries[0].metric
    assert worst in (ends.low[-1], ends.high[-1])
    assert found.summaries[0].train.high[-1] == math.inf


def test_failures_are_counted_by_kind_and_compared() -> None:
    def outcome(plan: str, seed: int) -> str:
        return "finished" if plan == "b" or seed >= 12 else "dead" if seed < 3 else "diverged"

    runs = [member(p, 0.1, s, noise(1)(p, 0.1, s), outcome(p, s)) for p in "ab" for s in range(32)]
    found = summarize(("a", "b"), (0.1,), range(32), STEPS, False, runs, metric="mse")
    assert found.summaries[0].diverged.value == 9 / 32
    assert found.summaries[0].dead.value == 3 / 32
    (gap,) = found.differences
    assert (
        "a fails more often than b at lr 0.1: 12 of 32 (9 diverged, 3 dead) against 0 of 32" in gap.conclusion
    )
    text = "\n".join(found.conclusions)
    assert "a at lr 0.1: 9 of 32 diverged (16 to 45 % with 95 % confidence)." in text
    assert "a at lr 0.1: 3 of 32 ended with a constant output" in text


def test_failure_shares_that_chance_explains_are_not_claimed_to_differ() -> None:
    bad = {("a", 0), ("a", 1), ("b", 5)}
    (gap,) = summary(lambda plan, lr, seed: math.nan if (plan, seed) in bad else 1.0).differences
    assert "no difference in their shares can be concluded" in gap.conclusion
    assert "more often" not in gap.conclusion


def test_most_members_diverged_is_said_in_words_and_not_as_infinity() -> None:
    found = summary(lambda plan, lr, seed: math.nan if plan == "a" and seed % 4 else 1.0)
    (gap,) = found.differences
    assert gap.difference.value == math.inf
    assert "b beats a" in gap.conclusion
    assert "a has no finite mse on half of them or more" in gap.conclusion
    assert found.summaries[0].score.value == math.inf


def test_members_without_a_finite_score_are_not_said_to_score_the_same() -> None:
    (gap,) = summary(lambda plan, lr, seed: math.nan).differences
    assert gap.conclusion.startswith(
        "Nothing tells a from b at lr 0.1: no member of either ends with a finite mse."
    )


def test_a_metric_that_is_no_number_is_counted_and_is_the_worst() -> None:
    runs = [
        member(p, 0.1, s, math.nan if p == "a" and s < 3 else 1.0, "finished")
        for p in "ab"
        for s in range(32)
    ]
    found = summarize(("a", "b"), (0.1,), range(32), STEPS, False, runs, metric="mse")
    assert "a at lr 0.1: mse is not a number for 3 of 32, which count as the worst." in found.conclusions
    assert not any(sentence.startswith("b at lr 0.1: mse") for sentence in found.conclusions)
    assert (found.differences[0].wins, found.differences[0].losses) == (0, 3)
    assert found.summaries[0].diverged.value == 0


def test_identical_members_score_the_same_and_are_told_so() -> None:
    found = summary(lambda plan, lr, seed: float(seed))
    assert found.conclusions[0] == "a and b score the same on all 32 seeds at lr 0.1."
    assert found.differences[0].p == found.differences[0].p_holm == 1.0


def test_higher_is_better_turns_winners_around_and_nothing_else() -> None:
    low = summary(better({"b": 0.7}), lrs=(0.1, 0.2))
    high = summary(lambda plan, lr, seed: -better({"b": 0.7})(plan, lr, seed), lrs=(0.1, 0.2), higher=True)
    for one, other in zip(
        (*low.differences, *low.best_differences), (*high.differences, *high.best_differences), strict=True
    ):
        assert (one.wins, one.losses, one.p, one.p_holm) == (other.wins, other.losses, other.p, other.p_holm)
        assert (one.effect, one.seeds_needed) == (other.effect, other.seeds_needed)
        assert one.difference.value == -other.difference.value
    assert [each.score.value for each in low.best] == [-each.score.value for each in high.best]


def test_the_order_of_plans_and_of_members_decides_nothing() -> None:
    one, other = (summary(better({"b": 0.7}), plans) for plans in (("a", "b"), ("b", "a")))
    (forth,), (back,) = one.differences, other.differences
    assert (forth.wins, forth.losses, forth.p_holm) == (back.losses, back.wins, back.p_holm)
    assert forth.effect == -back.effect
    runs = [member(p, 0.1, s, better({"b": 0.7})(p, 0.1, s)) for p in "ab" for s in range(32)]
    shuffled = [runs[i] for i in np.random.default_rng(0).permutation(64)]
    sorted_, mixed = (
        summarize(("a", "b"), (0.1,), range(32), STEPS, False, each) for each in (runs, shuffled)
    )
    assert sorted_ == mixed


def test_each_plan_is_judged_at_its_best_rate() -> None:
    def score(plan: str, lr: float, seed: int) -> float:
        return noise(2)(plan, lr, seed) + 3 * abs(math.log10(lr) - {"a": -1, "b": -2, "c": -3}[plan])

    rates = (0.001, 0.01, 0.1)
    found = summary(score, ("a", "b", "c"), rates)
    # Equally good at their best, although at every single rate one is far better than another.
    assert all(gap.p_holm > 0.05 for gap in found.best_differences)
    assert all(gap.lr is None for gap in found.best_differences)
    assert sum(gap.p_holm <= 0.05 for gap in found.differences) >= 6
    assert [each.lr for each in found.best] == [None] * 3
    for each, lr in zip(found.best, (0.1, 0.01, 0.001), strict=True):
        (at,) = (one for one in found.summaries if (one.plan, one.lr) == (each.plan, lr))
        assert (each.score, each.metric) == (at.score, at.metric)
    text = "\n".join(found.conclusions)
    assert "a does best at lr 0.1, the largest tried; a larger one may be better." in text
    assert "b does best at lr 0.01." in text
    assert "c does best at lr 0.001, the smallest tried; a smaller one may be better." in text
    assert "a little too good" in text
    assert "a beats b at lr 0.1." in text
    assert re.match(
        r"[abc] has the best median, each at its best learning rate: .* cannot be told apart", text
    )


def test_the_leader_is_told_with_those_it_beats_and_those_it_does_not() -> None:
    found = summary(better({"b": 3.0, "c": 3.0}), ("a", "b", "c"))
    leader, other = ("b", "c") if found.best[1].score.value < found.best[2].score.value else ("c", "b")
    assert re.match(
        rf"{leader} has the best median at lr 0\.1: median mse .*\(95 % interval .*, 32 seeds\)\. "
        rf"It beats a, and cannot be told apart from {other}\.",
        found.conclusions[0],
    )
    assert found.conclusions[-1].startswith("3 tests share one error rate")
    assert "It beats all others." in summary(better({"b": 3.0, "c": 9.0}), ("a", "b", "c")).conclusions[0]


def test_a_plan_that_fails_more_often_at_some_rate_is_told_in_a_sweep() -> None:
    found = summary(
        lambda plan, lr, seed: (
            math.nan if plan == "a" and lr == 0.3 and seed < 20 else noise(4)(plan, lr, seed)
        ),
        lrs=(0.1, 0.3),
    )
    assert any(told.startswith("a fails more often than b at lr 0.3: 20 of 32") for told in found.conclusions)


def test_a_single_plan_is_summarized_without_comparison() -> None:
    found = summary(noise(0), ("only",))
    assert found.differences == found.best_differences == ()
    assert re.fullmatch(
        r"only at lr 0\.1: median mse .* \(95 % interval .*, 32 seeds\)\.", found.conclusions[0]
    )


def test_wilcoxon_is_used_when_asked_for_and_finds_what_the_sign_test_misses() -> None:
    score = better({"b": 0.85}, 3)
    (sign,), (rank,) = (summary(score, seeds=20, test=test).differences for test in ("sign", "wilcoxon"))
    assert (sign.test, rank.test) == ("sign", "wilcoxon")
    assert rank.p < sign.p
    both = summary(score, lrs=(0.1, 0.2), seeds=20, test="wilcoxon")
    assert {gap.test for gap in (*both.differences, *both.best_differences)} == {"wilcoxon"}


def test_the_correction_is_over_plans_rates_and_failures() -> None:
    found = summary(better({"b": 1.0}), lrs=(0.1, 0.2, 0.3))
    every = (*found.differences, *found.best_differences)
    assert len(every) == 4
    least = min(every, key=lambda gap: gap.p)
    assert least.p_holm == pytest.approx(4 * least.p)
    assert "4 tests share one error rate" in found.conclusions[-1]


def test_a_summary_becomes_json_and_back_with_its_infinities() -> None:
    found = summary(lambda plan, lr, seed: math.nan if plan == "a" else 1.0, lrs=(0.1, 0.2), seeds=8)
    runs = tuple(member(p, lr, s, 1.0) for p in "ab" for lr in (0.1, 0.2) for s in range(8))
    told = {
        "model": "m",
        "data": "d",
        "metric": "mse",
        "higher_is_better": False,
        "settings": {},
        "runs": runs,
    }
    axes = {"plans": ("a", "b"), "lrs": (0.1, 0.2), "seeds": tuple(range(8)), "steps": STEPS}
    made = Comparison(**told, **axes, **vars(found))
    assert Comparison.from_json(made.to_json()) == made
    assert all(type(gap.wins) is int and type(gap.p) is float for gap in found.differences)


def test_missing_runs_and_unknown_tests_are_refused() -> None:
    runs = [member("a", 0.1, seed, 1.0) for seed in range(4)]
    with pytest.raises(ArgumentError, match=r"1 of 5 are missing, the first plan 'a', lr 0\.1, seed 4"):
        summarize(("a",), (0.1,), range(5), STEPS, False, runs)
    with pytest.raises(ArgumentError, match="at least one"):
        summarize((), (0.1,), range(5), STEPS, False, runs)
    with pytest.raises(ArgumentError, match="'sign' or 'wilcoxon', found 't'"):
        summarize(("a",), (0.1,), range(4), STEPS, False, runs, test="t")
