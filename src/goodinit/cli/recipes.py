"""`goodinit recipes`: list the recipes."""

from __future__ import annotations

import click

from goodinit.cli.options import DEFAULT_RECIPE
from goodinit.cli.settings import Settings, command_settings, show, show_json

__all__ = ["recipes"]


@click.command(short_help="List the recipes.")
@command_settings
def recipes(settings: Settings) -> int:
    """List the recipes that --recipe takes."""
    from rich.table import Table
    from rich.text import Text

    from goodinit.recipes import RECIPES

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for recipe in RECIPES.values():
        default = " (the default)" if recipe.name == DEFAULT_RECIPE else ""
        table.add_row(recipe.name, Text(recipe.summary + default))
    show(settings, table)
    show_json(settings, {recipe.name: recipe.summary for recipe in RECIPES.values()})
    return 0
