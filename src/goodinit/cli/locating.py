"""Where the code of MODEL stands, so that CI can put findings beside it."""

from __future__ import annotations

import inspect
import sys
from functools import reduce
from pathlib import Path
from typing import Any

__all__ = ["place_of"]


def place_of(source: str) -> tuple[Path, int] | None:
    """Return file, relative to the current folder, and line of the callable that a source names.

    To be called after `load_model`, which imports it.

    Args:
        source: as for `load_model`.

    Returns:
        None where there is no such file in the current folder: a library's model, an installed package.

    >>> place_of("transformers:gpt2") is None
    True
    """
    where, _, path = source.rpartition(":")
    if where in ("transformers", "timm"):
        return _inside(Path(path), 1)
    file = where.endswith(".py") or "/" in where
    module = sys.modules.get(f"goodinit_source_{Path(where).stem}" if file else where)
    if module is None:
        return None
    try:
        value: Any = inspect.unwrap(reduce(getattr, path.split("."), module))  # type: ignore[arg-type]
        found, line = inspect.getsourcefile(value), inspect.getsourcelines(value)[1]
    except (AttributeError, OSError, TypeError, ValueError):  # a module instance, or made without source
        found, line = module.__file__, 1
    place = None if found is None else _inside(Path(found), line)
    return place or (None if module.__file__ is None else _inside(Path(module.__file__), 1))


def _inside(file: Path, line: int) -> tuple[Path, int] | None:
    here = Path.cwd().resolve()
    whole = file.resolve()
    return (whole.relative_to(here), max(line, 1)) if whole.is_file() and whole.is_relative_to(here) else None
