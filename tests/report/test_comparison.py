"""Comparisons and experiments as text, in a notebook and as a page."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest

from goodinit.records import (
    Comparison,
    Curve,
    Difference,
    ExperimentResult,
    Fact,
    Grid,
    Histogram,
    Interval,
    Line,
    MemberRun,
    Moments,
    Picture,
    PlanSummary,
    Sheet,
    Violin,
)
from goodinit.report import compact, render, to_text

STEPS = (0, 50, 100)
NUMBERS = (0.0, 1.0, -2.5, 1e-30, 1e30, 5e-324, 1.7e308, math.nan, math.inf, -math.inf)
HOSTILE = '<img src=x onerror="alert(1)"> %{y} $error'


def comparison(
    plans: tuple[str, ...] = ("default", "auto"),
    lrs: tuple[float, ...] = (0.01, 0.1),
    draw: random.Random | None = None,
) -> Comparison:
    """A comparison of three seeds; its numbers are drawn from the extremes where a generator is given."""

    def some(value: float) -> float:
        return value if draw is None else draw.choice(NUMBERS)

    def summary(plan: str, lr: float | None) -> PlanSummary:
        middle, low, high = (tuple(some(k / (1 + step)) for step in STEPS) for k in (1.0, 0.5, 2.0))
        curve = Curve(STEPS, middle, low, high)
        shares = Interval(1 / 3, 0.06, 0.79), Interval(0.0, 0.0, 0.56)
        metric = Curve(STEPS, low, low, high)
        score = Interval(some(0.25), some(0.125), some(0.5))
        return PlanSummary(plan, lr, 3, score, *shares, curve, curve, metric)

    def difference(lr: float | None) -> Difference:
        spread = Interval(some(-3.25), some(-4.0), some(-2.5))
        words = f"{plans[0]} and {plans[1]} cannot be told apart."
        return Difference(plans[0], plans[1], lr, spread, 1, 1, 1, "sign", 1.0, 1.0, 0.0, None, words)

    def member(plan: str, lr: float, seed: int) -> MemberRun:
        failed = seed == 2
        curve = (some(1.0), some(0.5), math.nan if failed else some(0.25))
        return MemberRun(
            plan, lr, seed, curve, curve, curve, "diverged" if failed else "finished", 100 if failed else None
        )

    return Comparison(
        model="Net",
        data="s4",
        plans=plans,
        lrs=lrs,
        seeds=(0, 1, 2),
        steps=STEPS,
        metric="accuracy",
        higher_is_better=True,
        settings={"optimizer": "sgd"},
        runs=tuple(member(plan, lr, seed) for plan in plans for lr in lrs for seed in range(3)),
        summaries=tuple(summary(plan, lr) for plan in plans for lr in lrs),
        best=tuple(summary(plan, None) for plan in plans),
        differences=tuple(difference(lr) for lr in lrs),
        best_differences=(difference(None),),
        conclusions=("They cannot be told apart.", "About 140 seeds would settle it."),
        notes=("one thread",),
    )


def experiment(label: str = "Xavier", draw: random.Random | None = None) -> ExperimentResult:
    """An experiment with every kind of picture."""

    def some(value: float) -> float:
        return value if draw is None else draw.choice(NUMBERS)

    x = (1.0, 2.0, 3.0)
    y = tuple(some(value) for value in x)
    lines = (Line(label, x, y, y, y), Line(f"{label}: theory", x, y, theory=True), Line("other", x, x))
    histogram = Histogram(-1.0, 1.0, (1, 5, 9, 5, 1))
    violins = tuple(
        Violin(f"fc{layer}", histogram, Moments(21, some(0.0), 0.1, 0.3), group)
        for layer in range(3)
        for group in (label, "other")
    )
    grid = Grid(
        ("0.01", "0.1"), (label, "other"), ((some(0.0), some(0.5)), (some(0.1), some(0.9))), "share dead"
    )
    pictures = (
        Picture("by-depth", "By depth", "Grows.", "depth", "ratio", False, True, lines),
        Picture("by-rate", "By rate", "Falls.", "rate", "ratio", True, False, lines),
        Picture("violins", "Weights", "Alike.", "layer", "weight", violins=violins),
        Picture("dead", "Dead units", "Rise.", "rate", "plan", grid=grid),
    )
    facts = (
        Fact("ratio", Interval(some(2013.0), 1700.0, 2400.0), "about 2,000", True),
        Fact("n", Interval(1.0, 1.0, 1.0)),
    )
    return ExperimentResult(
        name="one",
        title="One",
        question="Does it?",
        answer=("It does.", "By 6."),
        textbook="It is right.",
        size="small",
        settings={"seeds": "3"},
        facts=facts,
        pictures=pictures,
        sheets=(Sheet("Layers", ("layer", "fan_in"), (("fc0", "2"),)),),
        comparisons=(comparison(draw=draw),),
        notes=("a note",),
    )


def figures(page: str) -> dict[str, dict[str, object]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, dict[str, object]] = json.loads(
        page.split('id="figures">')[1].split("</script>")[0], parse_constant=refuse
    )
    return found


def test_a_comparison_says_its_conclusions_and_shows_plans_and_differences() -> None:
    text = to_text(comparison())
    assert text.splitlines()[:2] == ["They cannot be told apart.", "About 140 seeds would settle it."]
    assert "final accuracy" in text
    assert "default − auto" in text
    page = render(comparison())
    for words in (
        "About 140 seeds would settle it.",
        "diverged by step 100",
        "optimizer",
        "one thread",
        "0.125 to 0.5",
    ):
        assert words in page, words


def test_the_curves_stand_beside_the_rates_only_where_there_are_several_rates() -> None:
    several, one = figures(render(comparison())), figures(render(comparison(lrs=(0.1,))))
    assert set(several) == {"curve-train", "curve-test", "curve-metric", "rates", "failures"}
    assert set(one) == {"curve-train", "curve-test", "curve-metric"}


def test_a_metric_that_is_the_loss_is_drawn_once() -> None:
    made = comparison()
    same = dataclasses.replace(
        made, best=tuple(dataclasses.replace(each, metric=each.test) for each in made.best)
    )
    assert "curve-metric" in figures(render(made))
    assert "curve-metric" not in figures(render(same))


def test_an_experiment_shows_question_answer_textbook_facts_and_pictures() -> None:
    page, text = render(experiment()), to_text(experiment(), width=140)
    for words in ("Does it?", "It does.", "By 6.", "It is right.", "about 2,000"):
        assert words in page, words
        assert words in text, words
    assert {"by-depth", "by-rate", "violins", "dead", "c0-curve-train"} <= set(figures(page))


def test_theory_stands_dashed_in_the_colour_of_what_it_predicts() -> None:
    drawn = figures(render(experiment()))["by-depth"]["views"][0]["traces"]  # type: ignore[index]
    lines = {trace["name"]: trace["line"] for trace in drawn if "name" in trace}
    assert lines["Xavier: theory"]["color"] == lines["Xavier"]["color"] != lines["other"]["color"]
    assert (lines["Xavier: theory"]["dash"], lines["Xavier"]["dash"]) == ("dash", "solid")


def test_colours_go_two_ways_from_a_middle_alone() -> None:
    def scale(grid: Grid) -> dict[str, object]:
        made = dataclasses.replace(experiment(), pictures=(Picture("g", "G", "S.", grid=grid),))
        trace: dict[str, object] = figures(render(made))["g"]["views"][0]["traces"][0]  # type: ignore[index]
        return trace

    plain = Grid(("a",), ("b", "c"), ((0.5,), (3.0,)), "factor")
    assert "zmin" not in scale(plain)
    assert [scale(dataclasses.replace(plain, middle=1.0))[end] for end in ("zmin", "zmax")] == [-1.0, 3.0]
    # One value alone is measured from 0, so that a share of 1 is dark.
    same = dataclasses.replace(plain, values=((1.0,), (1.0,)))
    assert [scale(same)[end] for end in ("zmin", "zmax")] == [0.0, 1.0]


def test_rows_of_a_heat_map_are_named_in_full() -> None:
    grid = Grid(
        ("a",), ("weights 1,000 times too large", "sigmoid, torch default"), ((0.5,), (3.0,)), "factor"
    )
    made = dataclasses.replace(experiment(), pictures=(Picture("g", "G", "S.", grid=grid),))
    layout = figures(render(made))["g"]["views"][0]["layout"]  # type: ignore[index]
    assert layout["yaxis"]["ticktext"] == list(grid.rows)


def test_plans_stand_in_the_order_given_from_the_top_of_the_map_of_failures() -> None:
    drawn = figures(render(comparison(("first", "second"))))["failures"]["views"][0]
    assert drawn["layout"]["yaxis"]["ticktext"] == ["second", "first"]  # type: ignore[index]


@pytest.mark.parametrize("made", [comparison(), experiment()], ids=["comparison", "experiment"])
def test_what_was_saved_is_the_same_and_renders_the_same(made: Comparison | ExperimentResult) -> None:
    again = type(made).from_json(made.to_json())
    assert again.to_json() == made.to_json()
    assert render(again) == render(made)


def test_names_are_escaped() -> None:
    for made in (comparison((HOSTILE, "auto")), experiment(HOSTILE)):
        for text in (render(made), compact(made)):
            assert "<img" not in text
    assert HOSTILE in to_text(comparison((HOSTILE, "auto")), width=400)


@pytest.mark.parametrize("block", range(2))
def test_any_numbers_can_be_shown(block: int) -> None:
    drawn = 0
    for seed in range(25 * block, 25 * (block + 1)):
        draw = random.Random(seed)
        for made in (comparison(draw=draw), experiment(draw=draw)):
            drawn += len(figures(render(made)))
            assert compact(made)
            assert to_text(made, width=140)
    assert drawn > 300


def test_a_comparison_of_nothing_is_said_to_be_one() -> None:
    empty = dataclasses.replace(
        comparison(), runs=(), summaries=(), best=(), differences=(), best_differences=(), conclusions=()
    )
    assert "Nothing was compared." in render(empty)
    assert "Nothing was compared." in compact(empty)
