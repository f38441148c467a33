"""On a terminal a bar says how much is done and how long the rest takes; elsewhere nothing is written."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.progress import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error one; pytest takes it back between a fixture and its test."""
    found = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stderr", found)
    return found


def test_the_bar_says_how_much_is_done_and_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, now = a_terminal(monkeypatch), 0.0
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    with bar("5 networks", 100, True) as advance:
        for _ in range(4):
            now += 3.0
            advance(10)
    # 40 of 100 took 12 seconds.
    last = terminal.text().rstrip().splitlines()[-1]
    assert "5 networks" in last
    assert "40%" in last
    assert re.search(r"0:00:12\s+left\s+0:00:18", last), last


def small() -> nn.Module:
    return nn.Linear(2, 1)


def run(**options: Any) -> None:
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    compare(small, ["torch", "xavier_normal"], (x, x[:, :1]), seeds=3, steps=7, lr=0.1, **options)


def test_a_comparison_shows_its_bar_and_says_what_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    run(progress=True)
    assert "6 networks, 7 steps" in terminal.text()
    assert "100%" in terminal.text()


def test_no_bar_is_shown_where_it_is_not_wanted_or_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = a_terminal(monkeypatch)
    run(progress=False)
    monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    run(progress=True)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_all_work_is_counted_once(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    @contextmanager
    def counting(title: str, total: int, shown: bool) -> Iterator[Any]:
        counted.append(-total)
        yield counted.append

    monkeypatch.setattr("goodinit.comparing.running.bar", counting)
    run(engine=engine)
    assert counted[0] == -42
    assert sum(counted) == 0
