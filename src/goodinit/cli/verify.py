"""`goodinit verify`: do these weights follow this plan?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from goodinit.cli import options
from goodinit.cli.model_source import load_model
from goodinit.cli.planning import fingerprint, known_plan, make_plan, wish
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn


__all__ = ["verify"]

_NO_MODEL = "-"


@click.command(
    short_help="Test whether weights follow a plan.",
    epilog=options.examples(
        "goodinit verify models.py:build --recipe torch",
        "goodinit verify models.py:build --weights w.safetensors --recipe orthogonal --seed 7",
        "goodinit verify - --plan plan.json --weights w.safetensors",
    ),
)
@options.model
@click.option(
    "--weights",
    "-w",
    type=options.existing_file,
    metavar="FILE",
    help="safetensors file, or torch file of tensors.  [default: the values that MODEL is built with]",
)
@options.recipe
@options.example
@options.plan_file
@options.override
@click.option(
    "--seed",
    "-s",
    type=int,
    callback=options.checked_seed,
    metavar="N",
    help="Compare every element with what `goodinit apply --seed N` writes.  [default: test statistics]",
)
@options.full
@command_settings
def verify(
    settings: Settings,
    source: str,
    weights: Path | None,
    recipe: str | None,
    examples: tuple[str, ...],
    plan_path: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
    full: bool,
) -> int:
    """Test whether weights follow a plan; exit code 1 if they do not.

    Constants are compared exactly, random values by statistical tests, or bit by bit with
    --seed. Of a file that `goodinit apply` wrote, recipe and seed need not be repeated.
    MODEL may be - if there are --plan and --weights.
    """
    if source == _NO_MODEL and not (weights and plan_path):
        raise click.UsageError("MODEL - needs --plan and --weights", click.get_current_context())
    with progress("importing torch and building the model", hidden=settings.quiet):
        tensors, account = _read(weights)
        from_account = recipe is None and plan_path is None and "recipe" in account
        if from_account:
            recipe = account["recipe"]
            seed = int(account["seed"]) if seed is None else seed
        meant = wish(recipe, plan_path, overrides, examples)
        values: nn.Module | Mapping[str, torch.Tensor]
        if source == _NO_MODEL:
            made = known_plan(meant)
            values = tensors
        else:
            model = load_model(source, seed=seed or 0)
            made = make_plan(meant, model, seed or 0)
            values = tensors if weights else model
    with progress(f"testing {len(made):,} parameters", hidden=settings.quiet):
        outcome = made.verify(values, seed=seed)

    from goodinit.report import renderable

    against = f"plan {plan_path}" if plan_path else f"recipe {made.recipe}"
    against += f", {len(overrides)} overrides" if len(overrides) > 1 else ", 1 override" if overrides else ""
    against += "" if seed is None else f", seed {seed}"
    said = f" (what {weights} says of itself)" if from_account else ""
    show(settings, renderable(outcome, full=full), f"against {against}{said}")
    if not outcome.passed and account.get("plan", fingerprint(made)) != fingerprint(made):
        show(
            settings,
            f"{weights} was written by another plan: another recipe, other overrides or another example",
        )
    show_json(settings, outcome.to_json())
    return 0 if outcome.passed else 1


def _read(weights: Path | None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of a file, and what `goodinit apply` noted in it, if that wrote it."""
    if weights is None:
        return {}, {}
    from goodinit.plans import load_weights

    tensors = load_weights(weights)
    if weights.suffix != ".safetensors":
        return tensors, {}
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as opened:
        metadata: dict[str, str] = opened.metadata() or {}
    seed = metadata.get("seed", "")
    ours = {"goodinit", "recipe", "plan"} <= set(metadata) and seed.isdecimal() and len(seed) <= 20
    return tensors, metadata if ours and int(seed) < 2**64 else {}
