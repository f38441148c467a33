"""The template engine, and what else must be installed to make a page."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from goodinit.errors import GoodinitError

__all__ = ["TEMPLATES", "environment", "needed"]

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Any:
    """Return the engine that fills the templates; everything it puts in is escaped."""
    engine = needed("jinja2")
    loader = engine.FileSystemLoader(TEMPLATES)
    return engine.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=engine.StrictUndefined
    )


def needed(module: str) -> Any:
    """Import a module, or say which package is missing and how to get it.

    Raises:
        GoodinitError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise GoodinitError(
            f"the HTML report needs {package}, which is not installed; pip install {package}"
        ) from error
