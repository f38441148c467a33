"""A plan of a hundred layers is a few lines, and what departs from the rules comes first."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from goodinit.records import PlanRecord, RowRecord
from goodinit.report import to_text
from goodinit.report.folding import fold
from goodinit.report.plan import folded


def row(name: str, initializer: str = "Normal(mean=0.0, std=0.125)", why: str = "a rule") -> RowRecord:
    return RowRecord(name, (64, 64), initializer, 0.0, 0.125, 64.0, 64.0, why)


def plan(*rows: RowRecord) -> PlanRecord:
    return PlanRecord("Net", "kaiming_normal", rows)


def test_a_hundred_alike_layers_are_one_entry() -> None:
    text = to_text(plan(*(row(f"layers.{i}.weight") for i in range(100))))
    assert "layers.{0..99}.weight ×100 64×64" in text
    assert len(text.splitlines()) < 8


def test_every_row_is_shown_on_request() -> None:
    text = to_text(plan(*(row(f"layers.{i}.weight") for i in range(30))), full=True)
    assert all(f"layers.{i}.weight" in text for i in range(30))


def test_kept_and_overridden_rows_come_before_the_rules() -> None:
    text = to_text(
        plan(
            row("a.weight"),
            row("b.weight", why="override by name"),
            row("c.weight", initializer="Keep()", why="kept: frozen (requires_grad is False)"),
        )
    )
    assert text.index("b.weight") < text.index("c.weight") < text.index("By rule") < text.index("a.weight")
    assert "2 kept or overridden" in text


def test_a_rule_that_speaks_of_keeping_is_no_exception() -> None:
    assert "overridden" not in to_text(plan(row("a.weight", why="an orthogonal map keeps norms exactly")))


def test_totals_count_elements_and_tied_names() -> None:
    tied = dataclasses.replace(row("table.weight"), aliases=("head.weight",))
    text = to_text(plan(tied, row("b.weight")))
    assert "2 parameters, 8,192 elements; 1 tied name." in text
    assert "table.weight 64×64 = head.weight" in text


def test_numbers_are_cut_to_four_digits() -> None:
    text = to_text(
        plan(row("a.weight", initializer="Uniform(low=-0.17677669529663687, high=0.17677669529663687)"))
    )
    assert "Uniform(low=-0.1768, high=0.1768), fans 64→64: a rule" in text


def test_markup_in_names_and_reasons_is_shown() -> None:
    text = to_text(plan(row("a[0].weight", why="because [bold]")))
    assert "a[0].weight" in text
    assert "because [bold]" in text


def test_lines_keep_to_the_width() -> None:
    text = to_text(
        plan(*(row(f"a.very.long.module.path.{i}.weight", why="words " * 30) for i in range(3))), width=60
    )
    assert max(map(len, text.splitlines())) <= 60


def test_rows_with_different_values_stay_apart() -> None:
    rows = [row("layers.0.weight"), row("layers.1.weight", initializer="Constant(value=0.0)")]
    assert [name for name, _, _ in folded(rows)] == ["layers.0.weight", "layers.1.weight"]


names = st.lists(
    st.from_regex(r"[a-c](\.([0-9]|1[0-9]|[a-c][0-9]?)){0,3}", fullmatch=True), unique=True, max_size=30
)


@given(names)
def test_folding_loses_no_name_and_joins_only_what_differs_in_numbers(found: list[str]) -> None:
    groups = fold(found, name=str, key=lambda name: 0)
    assert sorted(name for _, group in groups for name in group) == sorted(found)
    for pattern, group in groups:
        if len(group) == 1:
            assert pattern == group[0]
        shapes = {tuple("#" if part.isdigit() else part for part in name.split(".")) for name in group}
        assert len(shapes) == 1


def test_numbers_inside_words_are_not_folded() -> None:
    assert [name for name, _ in fold(["conv1.w", "conv2.w"], name=str, key=len)] == ["conv1.w", "conv2.w"]


def test_gaps_are_listed_not_bridged() -> None:
    assert fold(["a.0", "a.2", "a.5"], name=str, key=len)[0][0] == "a.{0,2,5}"
    assert fold([f"a.{i}" for i in (0, 2, 4, 6)], name=str, key=len)[0][0] == "a.{0,2,4,…}"
