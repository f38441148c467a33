"""`goodinit compare`: train a model from several plans with many seeds, and say which is better."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goodinit.cli import options
from goodinit.cli.model_source import load_model
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing
from goodinit.errors import ArgumentError, CheckpointError
from goodinit.files import write_beside

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from goodinit.plans import Plan

__all__ = ["compare"]

_DATA = (
    "What to train on: the name of a data set, such as s4, digits or adding, or a .safetensors file with "
    "the tensors x and y, one row for each example; in place of x there may be one for each argument of "
    "the model, by its name."
)


@click.command(
    short_help="Train MODEL from several plans, many seeds each.",
    epilog=options.examples(
        "goodinit compare models.py:build --data digits --plan torch --plan auto --lr 0.1 --steps 500",
        "goodinit compare models.py:build --data s4 -p torch -p he=kaiming_normal -p mine=plan.json \\",
        "    --lr 0.003 --lr 0.01 --lr 0.03 --seeds 64 --steps 2000 --html compared.html",
        "goodinit compare models.py:build --data d.safetensors -p torch -p auto --lr 0.01 \\",
        "    --steps 20000 --journal run --workers 2",
    ),
)
@options.model
@click.option("--data", "-d", "data", metavar="DATA", required=True, help=_DATA)
@click.option(
    "--plan",
    "-p",
    "plans",
    metavar="[LABEL=]PLAN",
    multiple=True,
    help="A recipe (see `goodinit recipes`) or a plan file (.json). Repeatable.  [default: torch and auto]",
)
@click.option("--steps", type=int, metavar="N", required=True, help="Steps of the optimizer.")
@click.option(
    "--lr",
    "rates",
    type=float,
    metavar="X",
    multiple=True,
    required=True,
    help="Learning rate. Repeatable: plans are then also compared each at its best.",
)
@click.option("--seeds", type=int, default=32, show_default=True, metavar="N", help="How many seeds, from 0.")
@click.option("--optimizer", default="sgd", show_default=True, metavar="NAME", help="sgd, adam or adamw.")
@click.option("--momentum", type=float, default=0.0, show_default=True, metavar="X", help="Of sgd.")
@click.option("--weight-decay", type=float, default=0.0, show_default=True, metavar="X")
@click.option(
    "--decay", default="all", show_default=True, metavar="NAME", help="What that applies to: all or matrices."
)
@click.option("--schedule", metavar="NAME", help="constant, linear, cosine, warmup or warmup_cosine.")
@click.option("--batch-size", type=int, default=32, show_default=True, metavar="N")
@click.option("--loss", metavar="NAME", help="Instead of the data's own: mse, cross_entropy and others.")
@click.option("--metric", metavar="NAME", help="Instead of the data's own: accuracy, or a loss.")
@click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep what is done there; run again after an interruption, it goes on.",
)
@click.option("--workers", type=int, default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--html", type=options.new_file, metavar="FILE", help="Write the outcome as one HTML page.")
@click.option("--out", type=options.new_file, metavar="FILE", help="Write the outcome as JSON.")
@options.full
@command_settings
def compare(
    settings: Settings,
    source: str,
    data: str,
    plans: tuple[str, ...],
    steps: int,
    rates: tuple[float, ...],
    seeds: int,
    optimizer: str,
    momentum: float,
    weight_decay: float,
    decay: str,
    schedule: str | None,
    batch_size: int,
    loss: str | None,
    metric: str | None,
    journal: Path | None,
    workers: int,
    html: Path | None,
    out: Path | None,
    full: bool,
) -> int:
    """Train MODEL from every plan at every learning rate with every seed, and say which plan is better.

    At one seed all plans see the same batches. Members that diverge or die are counted.
    """
    if html is not None and html == out:
        raise click.UsageError("--html and --out name the same file", click.get_current_context())
    chosen = _plans(plans or ("torch", "auto"))
    from goodinit.comparing.compare import compare as run
    from goodinit.report import render, renderable

    with _executor(workers) as executor:
        outcome = run(
            functools.partial(load_model, source, seed=None),
            chosen,
            _data(data),
            steps=steps,
            lr=rates[0] if len(rates) == 1 else rates,
            seeds=seeds,
            optimizer=optimizer,
            momentum=momentum,
            weight_decay=weight_decay,
            decay=decay,
            schedule=schedule,
            batch_size=batch_size,
            loss=loss,
            metric=metric,
            journal=journal,
            executor=executor,
            progress=not settings.quiet,
        )
    text = outcome.to_json()
    for option, path in (("--out", out), ("--html", html)):
        if path is not None:
            with writing(option, path):
                write_beside(path, (text if option == "--out" else render(outcome)).encode("utf-8"))
    show(settings, renderable(outcome, full=full))
    for path in (out, html):
        if path is not None:
            show(settings, f"wrote {path}")
    show_json(settings, text)
    return 0


def _plans(texts: Sequence[str]) -> dict[str, Plan | str]:
    """Plans by label: ``he=kaiming_normal``, ``mine=plan.json``, or a recipe that is its own label."""
    from goodinit.plans import Plan
    from goodinit.recipes import recipe

    found: dict[str, Plan | str] = {}
    for text in texts:
        label, _, what = text.rpartition("=")
        label = label or Path(what).stem
        if label in found:
            raise ArgumentError(
                f"--plan {text}: the label {label!r} is taken; write another one before it: LABEL={what}"
            )
        found[label] = Plan.load(what) if what.endswith(".json") else recipe(what).name
    return found


def _data(text: str) -> Any:
    """A data set's name as it is, or inputs and targets from a file."""
    if not text.endswith(".safetensors"):
        return text
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(text)
    except FileNotFoundError as error:
        raise CheckpointError(f"--data {text}: there is no such file") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"--data {text}: cannot be read: {error}") from error
    targets = found.pop("y", None)
    if targets is None or not found:
        raise CheckpointError(
            f"--data {text}: must hold the targets y, and x or one tensor for each argument of the model, "
            f"found {', '.join(sorted([*found, *(['y'] if targets is not None else [])])) or 'nothing'}"
        )
    return found["x"] if set(found) == {"x"} else found, targets


@contextlib.contextmanager
def _executor(workers: int) -> Any:
    """Processes that are started afresh, so that no lock of this one is copied; None for one worker."""
    if workers < 1:
        raise ArgumentError(f"--workers {workers}: must be 1 or more")
    if workers == 1:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool: Executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
