"""From the text MODEL to a model: a callable of a module or file, or a library's model by name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from goodinit.errors import ModelSourceError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_model", "raised"]

_FORMS = (
    "a model is named as package.module:callable, path/file.py:callable, transformers:TYPE, "
    "transformers:config.json or timm:NAME"
)


def load_model(source: str, *, seed: int | None = 0) -> nn.Module:
    """Return the model that a source names, built with every random generator seeded.

    Args:
        source: ``package.module:callable``, ``path/file.py:callable``,
            ``transformers:<model type or config.json>`` or ``timm:<name>``. The callable
            takes no arguments and returns a module; a `torch.nn.Module` instance, or a
            class of them, will do too.
        seed: of `random`, NumPy and torch while the model is built; None leaves them as they are.

    Raises:
        ModelSourceError: if it names nothing usable; the message says which part and why.
    """
    import random

    import numpy as np
    import torch

    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # NumPy's global generator takes 32 bits
        torch.manual_seed(seed)
    library, _, name = source.partition(":")
    if library in ("transformers", "timm"):
        from goodinit.cli import libraries

        with raised(source, "building it"):
            return (libraries.from_transformers if library == "transformers" else libraries.from_timm)(name)
    where, _, path = source.rpartition(":")
    if not where or os.sep in path:
        where, path = source, ""
    namespace = _namespace(source, where)
    if not path:
        raise ModelSourceError(f"{source}: which callable? Write {where}:NAME{_offer(namespace)}")
    return _built(source, _member(source, where, namespace, path), path)


@contextmanager
def raised(source: str, doing: str, place: str | None = None) -> Iterator[None]:
    """Turn whatever the user's code raises into one line: the kind of error, its text, and where."""
    try:
        yield
    except ModelSourceError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        text = f"{text[:297]}..." if len(text) > 300 else text
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise ModelSourceError(f"{source}: {doing} raised {what}{_line(error, place)}") from error


def _line(error: BaseException, place: str | None) -> str:
    if isinstance(error, SyntaxError):  # its text says where
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == place]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _namespace(source: str, where: str) -> ModuleType:
    if where.endswith(".py") or os.sep in where or "/" in where:
        return _from_file(source, Path(where))
    if not all(part.isidentifier() for part in where.split(".")):
        raise ModelSourceError(f"{source}: {where!r} is neither a module nor a file; {_FORMS}")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        found = importlib.util.find_spec(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise ModelSourceError(f"{source}: importing {where} raised {_words(error)}") from error
        found = None
    except Exception as error:  # a parent package is imported on the way
        raise ModelSourceError(f"{source}: importing {where} raised {_words(error)}") from error
    if found is None:
        hint = f" (for the file: {where}.py:NAME)" if Path(f"{where}.py").is_file() else ""
        raise ModelSourceError(f"{source}: no module {where!r} here or on sys.path{hint}; {_FORMS}")
    with raised(source, f"importing {where}", found.origin):
        return importlib.import_module(where)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _from_file(source: str, file: Path) -> ModuleType:
    if file.is_dir():
        raise ModelSourceError(f"{source}: {file} is a folder; name a file in it: {file}/FILE.py:callable")
    if not file.is_file():
        siblings = [str(each) for each in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise ModelSourceError(f"{source}: no file {file}{did_you_mean(str(file), siblings)}")
    # A name of its own: a file called like a loaded module must not replace it.
    name = f"goodinit_source_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelSourceError(f"{source}: {file} is no Python file; {_FORMS}")
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[name] = namespace  # dataclasses and pickling look their module up
    folder = str(file.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its neighbours can be imported, as when it is run
    with raised(source, f"importing {file}", str(spec.origin)):
        spec.loader.exec_module(namespace)
    return namespace


def _member(source: str, where: str, namespace: ModuleType, path: str) -> Any:
    value: Any = namespace
    for part in path.split("."):
        if not hasattr(value, part):
            inside = where if value is namespace else path.rpartition(".")[0]
            near = did_you_mean(part, [name for name in dir(value) if not name.startswith("__")])
            offer = _offer(namespace) if value is namespace else ""
            raise ModelSourceError(f"{source}: {inside} has no {part!r}{near}{offer}")
        value = getattr(value, part)
    return value


def _offer(namespace: ModuleType) -> str:
    """Name what in a module could be meant."""
    from torch import nn

    usable = [
        name
        for name, value in vars(namespace).items()
        if not name.startswith("_")
        and (
            isinstance(value, nn.Module)
            or (
                (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))
                and value.__module__ == namespace.__name__
            )
        )
    ]
    if not usable:
        return "; it holds no function and no model"
    more = f" and {len(usable) - 8} more" if len(usable) > 8 else ""
    return f"; it has {', '.join(usable[:8])}{more}"


def _built(source: str, value: Any, path: str) -> nn.Module:
    from torch import nn

    if isinstance(value, nn.Module):
        return value
    if not callable(value):
        raise ModelSourceError(
            f"{source}: {path} is {_a(value)}, neither a torch.nn.Module nor a callable that returns one"
        )
    needed = _needed(value)
    if needed:
        raise ModelSourceError(
            f"{source}: {path}() needs arguments ({', '.join(needed)}); name a callable that needs none, "
            f"for example: def build(): return {path}(...)"
        )
    with raised(source, f"{path}()", _file_of(value)):
        made = value()
    if not isinstance(made, nn.Module):
        raise ModelSourceError(f"{source}: {path}() returned {_a(made)}; it must return a torch.nn.Module")
    return made


def _a(value: object) -> str:
    name = type(value).__name__
    if value is None:
        return "None"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _needed(value: Callable[..., Any]) -> list[str]:
    """Names of the arguments without which it cannot be called; none if it does not say."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in optional]


def _file_of(value: object) -> str | None:
    try:
        return inspect.getfile(inspect.unwrap(value))  # type: ignore[arg-type]
    except TypeError:
        return None
