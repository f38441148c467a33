"""`goodinit check`: how do signals and gradients travel through this model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goodinit.cli import options
from goodinit.cli.inputs import drawn, read_inputs
from goodinit.cli.model_source import load_model
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing
from goodinit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check"]


@click.command(
    short_help="Say how signals and gradients travel through MODEL.",
    epilog=options.examples(
        "goodinit check models.py:build",
        "goodinit check models.py:build --apply auto",
        "goodinit check models.py:build --batch 64x3x32x32 --json --out report.json",
        "goodinit check models.py:build --batch 'input_ids=int:8x128<50257'",
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
    full: bool,
) -> int:
    """Measure one forward and one backward pass of MODEL: what is wrong, how strongly, and the cure.

    Exit code 1 if there are findings. MODEL is checked as it is built, with --weights, or
    freshly initialised with --apply.
    """
    context = click.get_current_context()
    if weights is not None and recipe is not None:
        raise click.UsageError("--weights and --apply exclude each other", context)
    with progress("importing torch and building the model", hidden=settings.quiet):
        chosen = _recipe(recipe)
        inputs = read_inputs("--batch", batches)
        model = load_model(source, seed=seed)
        batch = drawn("--batch", inputs, model, seed)
        if weights is not None:
            _put(model, weights)
    if chosen is not None:
        _initialised(settings, model, chosen, batch, seed)

    from goodinit import signals
    from goodinit.files import write_beside
    from goodinit.report import renderable

    with progress("measuring one forward and one backward pass", hidden=settings.quiet):
        report = signals.check(model, batch, seed=seed)
    if out:
        with writing("--out", out):
            write_beside(out, report.to_json().encode() + b"\n")
    show(settings, renderable(report, full=full))
    if out:
        show(settings, f"wrote {out}")
    show_json(settings, report.to_json())
    return 0 if report.healthy else 1


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
