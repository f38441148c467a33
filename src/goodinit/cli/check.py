"""`goodinit check`: how do signals and gradients travel through this model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goodinit.cli import options
from goodinit.cli.inputs import drawn, read_inputs
from goodinit.cli.locating import place_of
from goodinit.cli.model_source import load_model
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing
from goodinit.errors import ArgumentError, CheckpointError
from goodinit.records.form import to_jsonable

if TYPE_CHECKING:
    from torch import nn

    from goodinit.records import Baseline, Report, SinceBaseline

__all__ = ["check"]


@click.command(
    short_help="Say how signals and gradients travel through MODEL.",
    epilog=options.examples(
        "goodinit check models.py:build",
        "goodinit check models.py:build --apply auto",
        "goodinit check models.py:build --batch 64x3x32x32 --json --out report.json",
        "goodinit check models.py:build --batch 'input_ids=int:8x128<50257'",
        "goodinit check models.py:build --html report.html --before report.json",
        "",
        "In CI, where only what is new shall fail (docs/ci.md):",
        "  goodinit check models.py:build --write-baseline baseline.json   once",
        "  goodinit check models.py:build --baseline baseline.json --sarif goodinit.sarif",
    ),
)
@options.model
@click.option(
    "--weights",
    "-w",
    type=options.existing_file,
    metavar="FILE",
    help="Check these weights: a safetensors file, or a torch file of tensors.",
)
@click.option(
    "--apply", "recipe", metavar="RECIPE", help="Initialise MODEL by this recipe before checking it."
)
@click.option(
    "--batch",
    "-b",
    "batches",
    metavar="INPUT",
    multiple=True,
    help=f"The batch to measure on: {options.INPUT_FORMS}  [default: made for the first layer]",
)
@options.seed
@click.option("--out", type=options.new_file, metavar="FILE", help="Write the report as JSON.")
@click.option("--html", type=options.new_file, metavar="FILE", help="Write the report as one HTML page.")
@click.option(
    "--sarif",
    type=options.new_file,
    metavar="FILE",
    help="Write the findings as SARIF 2.1.0, for code scanning.",
)
@click.option(
    "--before",
    type=options.existing_file,
    metavar="FILE",
    help="Compare with an earlier report, which --out wrote.",
)
@click.option(
    "--baseline",
    type=options.existing_file,
    metavar="FILE",
    help="Fail and speak only of what is new or worse since this file.",
)
@click.option(
    "--write-baseline",
    type=options.new_file,
    metavar="FILE",
    help="Accept all findings: write them as a baseline and exit with 0. Reasons in --baseline are kept.",
)
@click.option(
    "--fail-on",
    type=click.Choice(("error", "warning")),
    default="warning",
    show_default=True,
    help="The least severity that gives exit code 1.",
)
@options.full
@command_settings
def check(
    settings: Settings,
    source: str,
    weights: Path | None,
    recipe: str | None,
    batches: tuple[str, ...],
    seed: int,
    out: Path | None,
    html: Path | None,
    sarif: Path | None,
    before: Path | None,
    baseline: Path | None,
    write_baseline: Path | None,
    fail_on: str,
    full: bool,
) -> int:
    """Measure one forward and one backward pass of MODEL: what is wrong, how strongly, and the cure.

    Exit code 1 if there are errors or warnings; with --baseline, if any is new or worse.
    MODEL is checked as it is built, with --weights, or freshly initialised with --apply.
    """
    context = click.get_current_context()
    if weights is not None and recipe is not None:
        raise click.UsageError("--weights and --apply exclude each other", context)
    files = {"--out": out, "--html": html, "--sarif": sarif, "--write-baseline": write_baseline}
    _distinct(files, context)
    with progress("importing torch and building the model", hidden=settings.quiet):
        accepted = _baseline(baseline)
        earlier = _earlier(before)
        chosen = _recipe(recipe)
        inputs = read_inputs("--batch", batches)
        model = load_model(source, seed=seed)
        batch = drawn("--batch", inputs, model, seed)
        if weights is not None:
            _put(model, weights)
    if chosen is not None:
        _initialised(settings, model, chosen, batch, seed)

    from goodinit import signals

    with progress("measuring one forward and one backward pass", hidden=settings.quiet):
        report = signals.check(model, batch, seed=seed)
    since = report.against(accepted) if accepted else None
    texts = {
        "--out": lambda: report.to_json(),
        "--html": lambda: _page(report, earlier),
        "--sarif": lambda: _sarif(report, since, source),
        "--write-baseline": lambda: report.baseline(keep=accepted).to_json(),
    }
    written = [_write(option, path, texts[option]()) for option, path in files.items() if path is not None]
    _show(settings, report, since, None if write_baseline else baseline, earlier, full)
    for path in written:
        what = f": {len(report.findings)} accepted" if path == write_baseline else ""
        show(settings, f"wrote {path}{what}")
    answer = to_jsonable(report)
    if since:
        answer["since_baseline"] = to_jsonable(since)
    show_json(settings, {"goodinit": "report", **answer})
    if write_baseline:
        return 0
    counted = ("error",) if fail_on == "error" else ("error", "warning")
    found = since.findings if since else report.findings
    return 1 if any(finding.severity in counted for finding in found) else 0


def _show(
    settings: Settings,
    report: Report,
    since: SinceBaseline | None,
    baseline: Path | None,
    earlier: Report | None,
    full: bool,
) -> None:
    """Print the report, or with a baseline only what is new, and how both differ from an earlier report."""
    from goodinit.report import renderable
    from goodinit.report.since import changed

    if since is None or full:
        show(settings, renderable(report, full=full))
    if since is not None:
        show(settings, *([""] if full else []), renderable(since))
        if since.gone and baseline:
            show(settings, f"To take what is gone out of the baseline, add: --write-baseline {baseline}")
    if earlier is not None:
        show(settings, f"since the earlier report: {changed(report.against(earlier.baseline()))}")


def _distinct(files: dict[str, Path | None], context: click.Context) -> None:
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise click.UsageError(f"{other} and {option} name the same file {path}", context)


def _baseline(path: Path | None) -> Baseline | None:
    if path is None:
        return None
    from goodinit.records import Baseline

    return Baseline.load(path)


def _earlier(path: Path | None) -> Report | None:
    """Read a report that ``--out`` wrote."""
    if path is None:
        return None
    from goodinit.records import Report

    cure = "write one with `goodinit check MODEL --out FILE`"
    try:
        return Report.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"--before {path}: this is no report ({error}); {cure}") from error


def _page(report: Report, earlier: Report | None) -> str:
    from goodinit.report import render

    return render(report, before=earlier)


def _sarif(report: Report, since: SinceBaseline | None, source: str) -> str:
    place, line = place_of(source) or (None, None)
    return report.to_sarif(source=place, line=line, since=since)


def _write(option: str, path: Path, text: str) -> Path:
    from goodinit.files import write_beside

    with writing(option, path):
        return write_beside(path, text.encode("utf-8", "backslashreplace") + b"\n")


def _recipe(name: str | None) -> Any:
    if name is None:
        return None
    from goodinit.recipes import recipe

    return recipe(name)


def _initialised(settings: Settings, model: nn.Module, recipe: Any, batch: Any, seed: int) -> None:
    from goodinit.plans import plan

    made = plan(model, recipe, example=batch)
    elements = sum(parameter.numel() for parameter in model.parameters())
    with progress("filling", elements, hidden=settings.quiet) as advance:
        made.apply_(model, seed=seed, progress=advance)


def _put(model: nn.Module, weights: Path) -> None:
    """Load weights into a model, or say how they do not fit; all of them or none."""
    from goodinit.plans import load_weights

    given, own = load_weights(weights), model.state_dict()
    faults = [
        ("missing in the file", [name for name in own if name not in given]),
        ("not in the model", [name for name in given if name not in own]),
        (
            "other shapes",
            [
                f"{name} {tuple(given[name].shape)} in the file, {tuple(own[name].shape)} in the model"
                for name in own
                if name in given and given[name].shape != own[name].shape
            ],
        ),
    ]
    words = [
        f"{title}: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"
        for title, names in faults
        if names
    ]
    if words:
        raise CheckpointError(f"--weights {weights} does not fit {type(model).__name__}: {'; '.join(words)}")
    model.load_state_dict(given)
