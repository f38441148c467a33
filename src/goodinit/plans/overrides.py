"""Overrides: other initializers for the parameters that a pattern matches."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence

from goodinit.errors import GoodinitError, OverrideError, WrongTypeError, did_you_mean
from goodinit.initializers import Constant, Initializer, ZeroRows, as_initializer
from goodinit.plans.row import Row

__all__ = ["ONLY_OVERRIDE", "checked", "matching", "must_match", "override"]

#: The reason of a row that no rule covers, until an override replaces it.
ONLY_OVERRIDE = "covered by an override alone"


def matching(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a pattern matches: an exact name, a glob, or ``re:`` and a regular expression.

    An exact name wins over its reading as a glob, so that names with brackets can be written.

    Raises:
        OverrideError: if it is no string, or a malformed regular expression.

    >>> matching("*.bias", ["a.bias", "a.weight"]), matching("re:.*weight", ["a.bias", "a.weight"])
    (('a.bias',), ('a.weight',))
    """
    if not isinstance(pattern, str):
        raise OverrideError(f"override {pattern!r}: a pattern is a string, found {type(pattern).__name__}")
    if pattern in names:
        return (pattern,)
    if pattern.startswith("re:"):
        try:
            expression = re.compile(pattern[3:])
        except re.error as error:
            raise OverrideError(f"override {pattern!r}: not a regular expression: {error}") from error
        return tuple(name for name in names if expression.fullmatch(name))
    return tuple(name for name in names if fnmatch.fnmatchcase(name, pattern))


def checked(overrides: Mapping[str, object] | None) -> dict[str, object]:
    """Return the overrides as a dict, or raise `WrongTypeError` for what is no mapping."""
    if overrides is not None and not isinstance(overrides, Mapping):
        raise WrongTypeError(f"overrides must be a mapping {{pattern: initializer}}, found {overrides!r}")
    return dict(overrides or {})


def must_match(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return `matching`'s names, or raise `OverrideError` where there are none, with the nearest name."""
    found = matching(pattern, names)
    if not found:
        raise OverrideError(
            f"override {pattern!r} matches no parameter{did_you_mean(pattern, names)}; "
            f"names are like {', '.join(names[:3])}"
        )
    return found


def override(rows: Sequence[Row], overrides: Mapping[str, object]) -> tuple[Row, ...]:
    """Return the rows with the overrides carried out, later ones last. See `Plan.override`."""
    by_name = {name: index for index, row in enumerate(rows) for name in (row.name, *row.aliases)}
    changed = list(rows)
    for pattern, value in checked(overrides).items():
        found = must_match(pattern, list(by_name))
        try:
            initializer = as_initializer(value)
        except WrongTypeError as error:
            raise OverrideError(f"override {pattern!r}: {error}") from error
        for index in sorted({by_name[name] for name in found}):
            changed[index] = _overridden(changed[index], pattern, initializer)
    return tuple(changed)


def _overridden(row: Row, pattern: str, initializer: Initializer) -> Row:
    why = f"override {pattern!r}" if pattern != row.name else "override by name"
    if isinstance(row.initializer, ZeroRows) and _random(initializer):
        # Who overrides an embedding's scale does not mean to put noise into its padding.
        initializer = ZeroRows(initializer, row.initializer.rows)
        why += f"; padding row {', '.join(map(str, row.initializer.rows))} stays zero"
    try:
        resolved = initializer.resolve(row.shape, row.fan_in, row.fan_out)
        if resolved.writes:
            resolved.moments(row.shape)  # raises where the structure does not fit the shape
    except GoodinitError as error:
        raise OverrideError(f"override {pattern!r} cannot fill {row.name} {row.shape}: {error}") from error
    if resolved != initializer and row.why == ONLY_OVERRIDE:
        why += "; fans guessed from the shape, as no rule knows how it is used"
    return dataclasses.replace(row, initializer=resolved, asked=initializer, why=why, announced=None)


def _random(initializer: Initializer) -> bool:
    return not isinstance(initializer, Constant | ZeroRows) and not initializer.deterministic
