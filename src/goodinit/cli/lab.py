"""`goodinit lab`: ready experiments, listed and run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goodinit.cli import options
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing
from goodinit.errors import ArgumentError
from goodinit.files import write_beside

if TYPE_CHECKING:
    from goodinit.records import ExperimentResult

__all__ = ["lab"]

_SIZES = ("small", "default", "full")


@click.group(
    short_help="Experiments that teach: list or run them.",
    epilog=options.examples(
        "goodinit lab list",
        "goodinit lab run sigmoid-vanishes",
        "goodinit lab run dead-relu --html dead-relu.html",
        "goodinit lab all --out results",
    ),
)
def lab() -> None:
    """Experiments that teach: each asks a question, measures, and answers with numbers and pictures."""


@lab.command("list", short_help="List the experiments.")
@command_settings
def list_(settings: Settings) -> int:
    """List the experiments, in the order in which they are read."""
    from rich.table import Table
    from rich.text import Text

    from goodinit import lab as room

    found = [room.find(name) for name in room.names()]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for each in found:
        table.add_row(each.name, Text(each.title))
    show(settings, table)
    show_json(
        settings,
        [{"name": e.name, "title": e.title, "question": e.question, "covers": list(e.covers)} for e in found],
    )
    return 0


def _size(command: options.F) -> options.F:
    text = "small: seconds; default: a minute or two on two cores; full: more seeds and longer trainings."
    return click.option("--size", type=click.Choice(_SIZES), default="default", show_default=True, help=text)(
        command
    )


@lab.command(short_help="Run one experiment.")
@click.argument("name")
@_size
@click.option("--html", type=options.new_file, metavar="FILE", help="Write the result as one HTML page.")
@click.option("--out", type=options.new_file, metavar="FILE", help="Write the result as JSON.")
@options.full
@command_settings
def run(settings: Settings, name: str, size: str, html: Path | None, out: Path | None, full: bool) -> int:
    """Run the experiment NAME and print its answer."""
    from goodinit import lab as room
    from goodinit.report import render, renderable

    if html is not None and html == out:
        raise ArgumentError(f"--html and --out name the same file, {str(html)!r}: give each its own")
    experiment = room.find(name)
    with progress(f"running {name}", hidden=settings.quiet):
        result = experiment.run(size)  # type: ignore[arg-type]  # click has checked the choice
    for option, path in (("--out", out), ("--html", html)):
        if path is not None:
            with writing(option, path):
                text = result.to_json() if option == "--out" else render(result)
                write_beside(path, text.encode("utf-8"))
    show(settings, renderable(result, full=full))
    for path in (out, html):
        if path is not None:
            show(settings, f"wrote {path}")
    show_json(settings, result.to_json())
    return 0


@lab.command("all", short_help="Run every experiment; what has run already is left.")
@_size
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("lab"),
    show_default=True,
    metavar="FOLDER",
    help="Folder for one page and one JSON file for each.",
)
@click.option("--again", is_flag=True, help="Run also what the folder holds a result of this size for.")
@command_settings
def all_(settings: Settings, size: str, out: Path, again: bool) -> int:
    """Run every experiment and write a page and a JSON file for each.

    Interrupted, it goes on where it stopped: a result of the same size in FOLDER is kept.
    """
    from goodinit import lab as room
    from goodinit.report import render

    with writing("--out", out):
        out.mkdir(parents=True, exist_ok=True)
    answers = {}
    for name in room.names():
        data, page = out / f"{name}.json", out / f"{name}.html"
        result = None if again else _known(data, size)
        if result is None:
            with progress(f"running {name}", hidden=settings.quiet):
                result = room.run(name, size)  # type: ignore[arg-type]  # click has checked the choice
        # The page first: the JSON file says that both are there.
        with writing("--out", page):
            write_beside(page, render(result).encode("utf-8"))
            write_beside(data, result.to_json().encode("utf-8"))
        answers[name] = result.answer
        show(settings, f"{name}: {result.answer[0]}")
    show(settings, f"wrote {len(answers)} pages to {out}")
    show_json(settings, {name: list(answer) for name, answer in answers.items()})
    return 0


def _known(path: Path, size: str) -> ExperimentResult | None:
    """The result that a file holds, if it is of the size that is asked for."""
    from goodinit.records import ExperimentResult

    if not path.is_file():
        return None
    try:
        found = ExperimentResult.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArgumentError(f"--out {path}: is no result of an experiment ({error}); move it away") from error
    return found if found.size == size else None
