"""`goodinit plan`: show what would fill each parameter, and why."""

from __future__ import annotations

from pathlib import Path

import click

from goodinit.cli import options
from goodinit.cli.model_source import load_model
from goodinit.cli.planning import make_plan, wish
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing

__all__ = ["plan"]


@click.command(
    short_help="Show what would fill each parameter, and why.",
    epilog=options.examples(
        "goodinit plan models.py:build",
        "goodinit plan models.py:build --example 64x3x32x32",
        "goodinit plan models.py:build -r orthogonal -o '*.bias=0' --out plan.json",
    ),
)
@options.model
@options.recipe
@options.example
@options.override
@options.seed
@click.option("--out", type=options.new_file, metavar="FILE", help="Write the plan as JSON, for --plan.")
@options.full
@command_settings
def plan(
    settings: Settings,
    source: str,
    recipe: str | None,
    examples: tuple[str, ...],
    overrides: tuple[str, ...],
    seed: int,
    out: Path | None,
    full: bool,
) -> int:
    """Show what would fill each parameter of MODEL, and why. Writes nothing to the model."""
    with progress("importing torch and building the model", hidden=settings.quiet):
        meant = wish(recipe, None, overrides, examples)
        made = make_plan(meant, load_model(source, seed=seed), seed)
    if out:
        with writing("--out", out):
            made.save(out)
    from goodinit.report import renderable

    show(settings, renderable(made.record(), full=full))
    if out:
        show(settings, f"wrote {out}")
    show_json(settings, made.to_json())
    return 0
