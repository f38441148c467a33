"""Each promise of docs/guarantees.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# Bullets that promise nothing that a test could hold: what may change, and what is not promised.
WITHOUT = ("Version 0.x", "Speed.", "The kernels on other", '`engine="torch"`')


def faults(text: str) -> list[str]:
    """Promises without a test, and tests that do not exist."""
    found = []
    for promise in re.findall(r"^- (.*(?:\n  .*)*)", text, flags=re.MULTILINE):
        named = NAMED.findall(promise)
        if not named and not promise.startswith(WITHOUT):
            found.append(f"no test: {promise[:60]}")
        for path, test in named:
            file = ROOT / path
            tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
            if test not in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}:
                found.append(f"does not exist: {path}::{test}")
    return found


def test_each_promise_names_tests_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(NAMED.findall(text)) > 30
    assert faults(text) == []


def test_planted_promises_without_a_test_are_caught() -> None:
    planted = (
        "- The sky is blue.\n"
        "- Water is wet.\n  `tests/test_guarantees.py::test_water`, `tests/none.py::test_none`\n"
        "- Speed. None.\n"
        "- This holds. `tests/test_guarantees.py::test_each_promise_names_tests_that_exist`\n"
    )
    assert faults(planted) == [
        "no test: The sky is blue.",
        "does not exist: tests/test_guarantees.py::test_water",
        "does not exist: tests/none.py::test_none",
    ]
