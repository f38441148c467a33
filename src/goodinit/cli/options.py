"""Options that several commands take, each with one name and one meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "DEFAULT_RECIPE",
    "INPUT_FORMS",
    "checked_seed",
    "example",
    "examples",
    "existing_file",
    "full",
    "model",
    "new_file",
    "override",
    "plan_file",
    "recipe",
    "seed",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_RECIPE = "auto"

#: How an input is written, see `goodinit.cli.inputs`.
INPUT_FORMS = (
    "a shape to draw, such as 64x3x32x32 or 'int:8x128<50257' (integers below 50257), or a file "
    "(.safetensors, or written by torch.save). With NAME= before it, a keyword argument. "
    "Repeatable, for several arguments in their order."
)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
new_file = click.Path(dir_okay=False, writable=True, path_type=Path)


def examples(*lines: str) -> str:
    r"""Return the end of a help text: examples, a line each. (``\b`` tells click to keep the lines.)"""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def model(command: F) -> F:
    """The argument MODEL."""
    return click.argument("source", metavar="MODEL")(command)


def recipe(command: F) -> F:
    """``--recipe NAME``."""
    text = f"The recipe to plan by, see `goodinit recipes`.  [default: {DEFAULT_RECIPE}]"
    return click.option("--recipe", "-r", metavar="NAME", help=text)(command)


def plan_file(command: F) -> F:
    """``--plan FILE``."""
    return click.option(
        "--plan",
        "plan_path",
        type=existing_file,
        metavar="FILE",
        help="A plan that `goodinit plan --out` wrote, instead of a recipe.",
    )(command)


def override(command: F) -> F:
    """``--override PATTERN=INIT``, any number of times."""
    text = (
        "Fill what PATTERN matches (a name, a glob such as '*.bias', or re:REGEX) by INIT: an initializer "
        "such as 'Normal(std=0.02)', a number, or keep. Repeatable; later ones win."
    )
    return click.option("--override", "-o", "overrides", metavar="PATTERN=INIT", multiple=True, help=text)(
        command
    )


def example(command: F) -> F:
    """``--example INPUT``, any number of times."""
    text = (
        f"What MODEL is run on, once, to see how it uses its parameters: {INPUT_FORMS}  "
        "[default: made for the first layer]"
    )
    return click.option("--example", "-e", "examples", metavar="INPUT", multiple=True, help=text)(command)


def checked_seed(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """Refuse what is no seed. (`click.IntRange` would write its twenty digits into every help text.)"""
    if value is not None and not 0 <= value < 2**64:  # 64 bits enter the key, see `goodinit.rng`
        raise click.BadParameter(f"{value} is not in [0, 2**64)", context, option)
    return value


def seed(command: F) -> F:
    """``--seed N``, 0 if not given."""
    return click.option(
        "--seed",
        "-s",
        type=int,
        callback=checked_seed,
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of everything random, also while MODEL is built.",
    )(command)


def full(command: F) -> F:
    """``--full``."""
    return click.option("--full", is_flag=True, help="Show every row instead of those that matter.")(command)
