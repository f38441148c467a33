"""Findings that are known and accepted, so that CI speaks only of what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goodinit.errors import ArgumentError, UnhealthyError
from goodinit.files import write_beside
from goodinit.records.form import from_json_text, from_jsonable, to_jsonable
from goodinit.records.health import Finding, fingerprint

__all__ = ["Baseline", "KnownFinding", "SinceBaseline"]

_VERSION: Final = 1
_CURE: Final = "write one with `goodinit check MODEL --write-baseline FILE`"
_NON_FINITE: Final = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True)
class KnownFinding:
    """One accepted finding: its code and layers say which one it is, `why` says why it may stay.

    `effect` and `expected` are rounded to three digits and serve only to tell whether
    the finding became worse.
    """

    code: str
    title: str
    severity: str
    where: tuple[str, ...]
    effect: float
    expected: tuple[float, float] | None
    why: str = ""

    @property
    def fingerprint(self) -> str:
        """What identifies the finding, see `Finding.fingerprint`."""
        return fingerprint(self.code, self.where)


@dataclass(frozen=True)
class Baseline:
    """The accepted findings of one model, sorted by code, to be kept beside the code as JSON.

    >>> print(Baseline("Net", ()).to_json())
    {
      "goodinit": "baseline",
      "version": 1,
      "model": "Net",
      "findings": []
    }
    """

    model: str
    findings: tuple[KnownFinding, ...]

    def to_json(self) -> str:
        """Return the baseline as JSON text that is made to be reviewed; `from_json` reads it back."""
        head = {"goodinit": "baseline", "version": _VERSION}
        return json.dumps({**head, **to_jsonable(self)}, indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Baseline:
        """Rebuild a baseline from `to_json`'s text, also if it was edited by hand.

        Raises:
            ArgumentError: if it is no baseline; the message says where.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ArgumentError(f"baseline: not JSON ({error}); {_CURE}") from error
        return from_jsonable(cls, _sound(value))

    def save(self, path: str | Path) -> Path:
        """Write the baseline as a JSON file, whole or not at all, and return its path.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        try:
            return write_beside(path, self.to_json().encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            raise ArgumentError(f"path: cannot write {str(path)!r}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Baseline:
        """Read a baseline from a JSON file.

        Raises:
            ArgumentError: if the file cannot be read or is no baseline.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ArgumentError(f"baseline: cannot read {str(path)!r}: {why}; {_CURE}") from error
        try:
            return cls.from_json(text)
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error


@dataclass(frozen=True)
class SinceBaseline:
    """What a report says that its baseline does not, and the reverse.

    Attributes:
        model: the model's name.
        new: findings whose code the baseline does not have at any of their layers.
        worse: findings that the baseline has, each with what it has, but which are graver now,
            reached further layers, or lie ten times further outside the healthy range.
        known: findings that the baseline has, each with what it has.
        gone: what the baseline has and was not found any more, with the layers that are free of
            it; take these out of the file.
    """

    model: str
    new: tuple[Finding, ...]
    worse: tuple[tuple[Finding, KnownFinding], ...]
    known: tuple[tuple[Finding, KnownFinding], ...]
    gone: tuple[KnownFinding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings to act on: new ones, then those that became worse; no notes."""
        found = (*self.new, *(finding for finding, _ in self.worse))
        return tuple(finding for finding in found if finding.severity != "note")

    @property
    def nothing_new(self) -> bool:
        """True where no error or warning is new or worse; the model may still have known ones."""
        return not self.findings

    def assert_nothing_new(self) -> None:
        """Raise `UnhealthyError` with what is new or worse, or return quietly.

        Raises:
            UnhealthyError: if any error or warning is new or worse.
        """
        if self.findings:
            raise UnhealthyError(self.to_text())

    def to_json(self) -> str:
        """Return the comparison as JSON text; `from_json` reads it back."""
        return json.dumps({"goodinit": "since_baseline", **to_jsonable(self)}, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> SinceBaseline:
        """Rebuild a comparison from `to_json`'s text."""
        return from_json_text(cls, text, "since_baseline")

    def to_text(self, *, width: int | None = None) -> str:
        """Return the comparison as plain text, what is new first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)


def _sound(value: Any) -> Mapping[str, Any]:
    """Return what JSON holds if it is a baseline, whoever wrote it."""
    if not isinstance(value, dict) or value.get("goodinit") != "baseline":
        found = value.get("goodinit") if isinstance(value, dict) else None
        what = f"a goodinit {found}" if isinstance(found, str) else "something else"
        raise ArgumentError(f"baseline: this file holds {what}; {_CURE}")
    if value.get("version") != _VERSION:
        raise ArgumentError(
            f"baseline: version: expected {_VERSION}, found {value.get('version')!r}; "
            "it belongs to another release of goodinit"
        )
    entries = value.get("findings")
    if not isinstance(value.get("model"), str) or not isinstance(entries, list):
        raise ArgumentError(f"baseline: expected a text 'model' and a list 'findings'; {_CURE}")
    for index, entry in enumerate(entries):
        _check_entry(f"baseline: findings[{index}]", entry)
    return value


def _check_entry(place: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise ArgumentError(f"{place}: expected an object with a 'code', found {entry!r}")
    for name in ("code", "title", "severity"):
        if not isinstance(entry.get(name), str):
            raise ArgumentError(f"{place}.{name}: expected a text, found {entry.get(name)!r}")
    if not isinstance(entry.get("why", ""), str):
        raise ArgumentError(f"{place}.why: expected a text, found {entry['why']!r}")
    if not _all(entry.get("where"), lambda each: isinstance(each, str)):
        raise ArgumentError(f"{place}.where: expected a list of layer names, found {entry.get('where')!r}")
    if not _is_number(entry.get("effect")):
        raise ArgumentError(f"{place}.effect: expected a number, found {entry.get('effect')!r}")
    expected = entry.setdefault("expected", None)
    if expected is not None and not (_all(expected, _is_number) and len(expected) == 2):
        raise ArgumentError(f"{place}.expected: expected two numbers or null, found {expected!r}")


def _all(value: Any, holds: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(holds(each) for each in value)


def _is_number(value: Any) -> bool:
    return (
        value in _NON_FINITE
        if isinstance(value, str)
        else isinstance(value, int | float) and value is not True
    )
