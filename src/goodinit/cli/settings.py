"""What every command shares: how it prints, and that only its own words reach standard output."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TextIO

import click

from goodinit.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Settings", "command_settings", "show", "show_json", "writing"]

P = ParamSpec("P")

# 128 + SIGPIPE: what a shell reports of a program whose reader went away.
_NO_READER = 141


@dataclass
class Settings:
    """The options that all commands share, filled in while the arguments are parsed."""

    json: bool = False
    quiet: bool = False
    traceback: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout)


def command_settings(function: Callable[Concatenate[Settings, P], int]) -> Callable[P, int]:
    """Give a command the shared options, and hand it their values as its first argument.

    While it runs, whatever the user's own code prints goes to standard error, so that
    ``--json`` prints JSON and nothing else.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        settings = click.get_current_context().find_object(Settings)
        assert settings is not None
        with contextlib.redirect_stdout(sys.stderr):
            return function(settings, *args, **kwargs)

    command: Callable[P, int] = run
    for names, text in reversed(_OPTIONS):
        command = click.option(*names, is_flag=True, expose_value=False, callback=_keep, help=text)(command)
    return command


_OPTIONS = (
    (("--json",), "Print JSON alone."),
    (("--quiet", "-q"), "Print nothing but errors."),
    (("--traceback",), "Show where in the code an error was raised."),
)


def _keep(context: click.Context, option: click.Parameter, value: bool) -> None:
    assert option.name is not None
    setattr(context.obj, option.name, value)


def show(settings: Settings, *parts: RenderableType) -> None:
    """Print for a reader, in colour on a terminal; nothing under ``--json`` or ``--quiet``."""
    if settings.json or settings.quiet:
        return
    from rich.console import Console

    console = Console(file=settings.stdout, highlight=False, soft_wrap=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, markup=False)
    lines = captured.get().splitlines()
    _write(settings, "\n".join(line.rstrip(" ") for line in lines) + "\n")


def show_json(settings: Settings, value: Any) -> None:
    """Print JSON under ``--json``: a value, or text that is JSON already."""
    if settings.json and not settings.quiet:
        _write(settings, (value if isinstance(value, str) else json.dumps(value, indent=2)) + "\n")


def _write(settings: Settings, text: str) -> None:
    try:
        try:
            settings.stdout.write(text)
        except UnicodeEncodeError as error:  # a stream that cannot show √ or → still gets the rest
            settings.stdout.write(text.encode(error.encoding, "replace").decode(error.encoding))
        settings.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Python would complain once more on exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), settings.stdout.fileno())
        raise click.exceptions.Exit(_NO_READER) from None


@contextlib.contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Say of a file that cannot be written which option named it, and why."""
    try:
        yield
    except OSError as error:
        raise ArgumentError(f"{option} {path}: cannot write: {error.strerror or error}") from error
