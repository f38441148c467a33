"""`goodinit apply`: plan a model, fill it, write its weights."""

from __future__ import annotations

import time
from pathlib import Path

import click

import goodinit
from goodinit.cli import options
from goodinit.cli.model_source import load_model
from goodinit.cli.planning import fingerprint, make_plan, wish
from goodinit.cli.progress import progress
from goodinit.cli.settings import Settings, command_settings, show, show_json, writing
from goodinit.errors import ArgumentError, CheckpointError

__all__ = ["apply"]

_DTYPES = ("float32", "bfloat16", "float16", "float64")


@click.command(
    short_help="Fill MODEL by a plan and write its weights.",
    epilog=options.examples(
        "goodinit apply models.py:build --out weights.safetensors",
        "goodinit apply transformers:gpt2 --dtype bfloat16 --seed 7 --out gpt2.safetensors",
    ),
)
@options.model
@click.option(
    "--out", type=options.new_file, metavar="FILE", required=True, help="FILE.safetensors to write."
)
@options.recipe
@options.example
@options.plan_file
@options.override
@options.seed
@click.option(
    "--dtype",
    type=click.Choice(_DTYPES),
    help="Type of the weights.  [default: what MODEL is built with]",
)
@command_settings
def apply(
    settings: Settings,
    source: str,
    out: Path,
    recipe: str | None,
    examples: tuple[str, ...],
    plan_path: Path | None,
    overrides: tuple[str, ...],
    seed: int,
    dtype: str | None,
) -> int:
    """Fill MODEL by a plan and write its parameters and buffers as a safetensors file.

    The values depend on the seed and the parameters' names alone: the same file on every
    machine. An existing file is replaced only once the new one is whole.
    """
    if out.suffix != ".safetensors":
        raise ArgumentError(
            f"--out {out}: weights are written as safetensors; "
            f"name the file {out.with_suffix('.safetensors')}"
        )
    with progress("importing torch and building the model", hidden=settings.quiet):
        meant = wish(recipe, plan_path, overrides, examples)
        model = load_model(source, seed=seed)
        if dtype:
            import torch

            model = model.to(getattr(torch, dtype))
        made = make_plan(meant, model, seed)

    from safetensors import SafetensorError

    from goodinit.plans import save_weights

    elements = sum(parameter.numel() for parameter in model.parameters())
    begun = time.perf_counter()
    with progress("filling", elements, hidden=settings.quiet) as advance:
        made.apply_(model, seed=seed, progress=advance)
    seconds = time.perf_counter() - begun
    mark = fingerprint(made)
    about = {"goodinit": goodinit.__version__, "recipe": made.recipe, "seed": str(seed), "plan": mark}
    with progress(f"writing {out}", hidden=settings.quiet), writing("--out", out):
        try:
            save_weights(model, out, about=about)
        except SafetensorError as error:
            raise CheckpointError(f"--out {out}: cannot write: {error}") from error
    _report(settings, made.model, made.recipe, seed, len(made), elements, seconds, out, mark)
    return 0


def _report(
    settings: Settings,
    model: str,
    recipe: str,
    seed: int,
    parameters: int,
    elements: int,
    seconds: float,
    out: Path,
    mark: str,
) -> None:
    from rich.filesize import decimal

    size = out.stat().st_size
    show(
        settings,
        f"Filled {model} by recipe {recipe}, seed {seed}: "
        f"{parameters:,} parameters, {elements:,} elements in {seconds:.2g} s.",
        f"Wrote {out} ({decimal(size)}).",
    )
    show_json(
        settings,
        {
            "goodinit": "apply",
            "model": model,
            "recipe": recipe,
            "seed": seed,
            "plan": mark,
            "parameters": parameters,
            "elements": elements,
            "seconds": round(seconds, 6),
            "file": str(out),
            "bytes": size,
        },
    )
