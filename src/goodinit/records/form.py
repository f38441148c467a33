"""The JSON form of records: plain values, where a non-finite float is its name as a string."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, TypeVar

from goodinit.errors import ArgumentError

__all__ = ["from_json_text", "from_jsonable", "to_jsonable"]

_T = TypeVar("_T")

# JSON has no NaN or infinity, and they are just what a health report must carry.
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_jsonable(value: Any) -> Any:
    """Turn a record into plain JSON values; a non-finite float becomes its name as a string.

    >>> to_jsonable((1, float("inf")))
    [1, 'Infinity']
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def from_json_text(kind: type[_T], text: str, name: str) -> _T:
    """Rebuild a record of the given kind and name from its JSON text; fields of later versions are left out.

    Raises:
        ArgumentError: if the text is damaged, or holds something else.
    """
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"text: no JSON, or cut short ({error}); give what to_json() returned") from error
    if not isinstance(value, dict) or value.get("goodinit", name) != name:
        held = value.get("goodinit") if isinstance(value, dict) else f"a {type(value).__name__}"
        raise ArgumentError(f"text: expected the JSON of a goodinit {name}, found {held}")
    try:
        return from_jsonable(kind, value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArgumentError(f"text: the JSON of this goodinit {name} is damaged ({error})") from error


def from_jsonable(kind: type[_T], value: Any) -> _T:
    """Rebuild a record of the given kind from what `to_jsonable` made of it."""
    import typing

    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: _revive(hints[key], item) for key, item in value.items() if key in fields})


def _revive(hint: Any, value: Any) -> Any:
    import types
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        if hint is Any or type(None) in args:
            return None
        raise TypeError(f"null in place of {hint}")
    if origin in (typing.Union, types.UnionType):
        return _revive(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_revive(args[0], item) for item in value)
        return tuple(_revive(kind, item) for kind, item in zip(args, value, strict=True))
    if origin is dict:
        return {key: _revive(args[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_jsonable(hint, value)  # type: ignore[arg-type]
    if hint is float:
        return _NON_FINITE[value] if isinstance(value, str) else float(value)
    return value
