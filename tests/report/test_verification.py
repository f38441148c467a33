"""Failures come first; what passed is one line with the false-alarm rate."""

from __future__ import annotations

from goodinit.records import RowCheck, Verification
from goodinit.report import to_text


def test_all_passed_is_one_line_with_the_false_alarm_rate() -> None:
    checks = (RowCheck("a", True, "exact", None, ""), RowCheck("b", True, "std", 0.4, ""))
    assert to_text(Verification(checks, 1e-6)) == (
        "All 2 parameters follow the plan (1 exact, 1 by statistics; false-alarm rate 1e-06 over all rows)."
    )


def test_failures_come_first_with_test_p_value_and_what_was_found() -> None:
    checks = (
        RowCheck("a.weight", True, "std", 0.4, ""),
        RowCheck("b.weight", False, "std", 1e-30, "std 0.5, planned 0.1"),
        RowCheck("c.bias", False, "exact", None, "3 of 4 elements differ"),
    )
    lines = to_text(Verification(checks, 1e-6)).splitlines()
    assert lines[0] == "2 of 3 parameters do not follow the plan."
    assert "b.weight" in lines[3]
    assert "1e-30" in lines[3]
    assert "std 0.5, planned 0.1" in lines[3]
    assert "exact" in lines[4]
    assert lines[-1].startswith("1 parameter passed (0 exact, 1 by statistics; false-alarm rate 1e-06")
    assert not any("a.weight" in line for line in lines)


def test_alike_failures_are_one_row_with_the_worst_of_them() -> None:
    checks = tuple(
        RowCheck(f"layers.{i}.w", False, "std", 10.0 ** -(i + 7), f"detail {i}") for i in range(50)
    )
    text = to_text(Verification(checks, 1e-6))
    assert "layers.{0..49}.w ×50" in text
    assert "detail 49" in text
    assert "detail 3" not in text


def test_what_passed_is_listed_on_request() -> None:
    checks = (RowCheck("a.weight", True, "std", 0.4, ""),)
    assert "a.weight" in to_text(Verification(checks, 1e-6), full=True)


def test_an_empty_verification_claims_nothing() -> None:
    assert to_text(Verification((), 1e-6)) == "Nothing to verify: the plan has no rows."


def test_names_with_brackets_are_shown() -> None:
    assert "a[0]" in to_text(Verification((RowCheck("a[0]", False, "[t]", 0.0, "[d]"),), 1e-6))
