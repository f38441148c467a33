"""The progress bar: late, on a terminal only, and gone when the work ends."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from goodinit.cli.progress import DELAY, progress


class Screen(io.StringIO):
    """A terminal that says when something was drawn on it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = threading.Event()

    def write(self, text: str) -> int:
        if text:
            self.drawn.set()
        return super().write(text)


def terminal(screen: Screen) -> Console:
    return Console(file=screen, force_terminal=True, width=80, legacy_windows=False)


def test_a_bar_appears_after_two_seconds() -> None:
    assert DELAY == 2.0


def test_long_work_is_shown_with_its_share_and_leaves_nothing_behind() -> None:
    screen = Screen()
    with progress("filling", 4, console=terminal(screen), delay=0.0) as advance:
        # Nothing here measures time; the limit only ends a broken test.
        assert screen.drawn.wait(timeout=60)
        advance(1)
    shown = screen.getvalue()
    assert "filling" in shown
    assert "25%" in shown
    # The last line is erased and the cursor shown again.
    assert shown.endswith("\x1b[2K") or shown.rstrip("\n").endswith(("\x1b[2K", "\x1b[?25h"))


def test_work_of_unknown_length_is_shown_without_a_share() -> None:
    screen = Screen()
    with progress("building", console=terminal(screen), delay=0.0):
        assert screen.drawn.wait(timeout=60)
    assert "building" in screen.getvalue()
    assert "%" not in screen.getvalue()


def test_short_work_shows_nothing() -> None:
    screen = Screen()
    with progress("filling", 4, console=terminal(screen), delay=3600.0) as advance:
        advance(4)
    assert screen.getvalue() == ""


def test_hidden_work_shows_nothing() -> None:
    screen = Screen()
    with progress("filling", 4, console=terminal(screen), delay=0.0, hidden=True) as advance:
        advance(4)
        assert not screen.drawn.wait(timeout=0.2)
    assert screen.getvalue() == ""


def test_nothing_is_drawn_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with progress("filling", 4, delay=0.0) as advance:
        advance(4)
        assert threading.active_count() == before  # not even a timer was set
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_timer_ends_with_the_work_also_after_an_error() -> None:
    before = set(threading.enumerate())

    def fail() -> None:
        with progress("filling", 4, console=terminal(Screen()), delay=3600.0):
            raise KeyError("planted")

    with pytest.raises(KeyError):
        fail()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
    assert set(threading.enumerate()) <= before
