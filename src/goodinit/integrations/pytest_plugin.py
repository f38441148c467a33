"""Fixtures that hold a model's start to its health: ``assert_healthy`` and ``goodinit_check``.

Loaded by pytest itself through the entry point; torch is imported by the first test
that asks for a fixture, not before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from goodinit.records import Baseline, Report

__all__ = ["assert_healthy", "goodinit_check"]


@pytest.fixture
def goodinit_check(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`goodinit.check`, whose reports are shown if the test fails."""
    from goodinit import signals

    def check(*args: Any, **kwargs: Any) -> Report:
        report = signals.check(*args, **kwargs)
        request.node.add_report_section("call", "goodinit", report.to_text())
        return report

    return check


@pytest.fixture
def assert_healthy() -> Callable[..., Report]:
    """A function that checks a model and fails the test with the report if anything was found.

    ``assert_healthy(model, batch, loss=None, allow=(), baseline=None)`` takes what `goodinit.check`
    takes; `allow` names codes, such as ``("GI106",)``, that are no failure in this test, and
    `baseline` a file of findings that are known: then only new or worse ones fail.
    """
    from goodinit import signals
    from goodinit.errors import ArgumentError, UnhealthyError

    def check(
        model: Any,
        batch: Any = None,
        *,
        allow: str | Iterable[str] = (),
        baseline: Baseline | str | Path | None = None,
        **options: Any,
    ) -> Report:
        __tracebackhide__ = True
        accepted = {allow} if isinstance(allow, str) else frozenset(allow)
        if strange := sorted(repr(code) for code in accepted if not re.fullmatch(r"GI\d{3}", str(code))):
            raise ArgumentError(
                f"allow: expected codes of findings such as 'GI106', got {', '.join(strange)}"
            )
        report = signals.check(model, batch, **options)
        judged = report.findings if baseline is None else report.against(baseline).findings
        if any(finding.code not in accepted and finding.severity != "note" for finding in judged):
            raise UnhealthyError(report.to_text())
        return report

    return check
