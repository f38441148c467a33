"""What a plan and a verification say in one sentence."""

from __future__ import annotations

from goodinit.records import PlanRecord, Verification
from goodinit.report.html.numbers import scientific
from goodinit.report.words import count

__all__ = ["plan_sentence", "verification_sentence"]


def plan_sentence(record: PlanRecord) -> str:
    """Return which model and recipe a plan is for."""
    return f"Plan of {record.model} by recipe {record.recipe}."


def verification_sentence(outcome: Verification) -> tuple[str, str, tuple[str, ...]]:
    """Return the outcome in one sentence, its tone, and the facts beside it.

    >>> verification_sentence(Verification((), 1e-6))[:2]
    ('Nothing to verify: the plan has no rows.', 'warning')
    """
    total, failed = len(outcome.checks), len(outcome.failures)
    if not total:
        return "Nothing to verify: the plan has no rows.", "warning", ()
    exact = sum(check.passed and check.p_value is None for check in outcome.checks)
    facts = (
        f"{count(total - failed, 'parameter')} passed",
        f"{exact:,} exactly, {total - failed - exact:,} by statistics",
        f"false-alarm rate {scientific(outcome.false_alarm_rate)} over all rows",
    )
    if failed:
        verb = "does" if failed == 1 else "do"
        return f"{failed:,} of {count(total, 'parameter')} {verb} not follow the plan.", "error", facts
    who = "The one parameter follows" if total == 1 else f"All {count(total, 'parameter')} follow"
    return f"{who} the plan.", "fine", facts
