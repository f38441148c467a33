"""Findings that are known and accepted, so that CI speaks only of what is new."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from goodinit.errors import ArgumentError, UnhealthyError, WrongTypeError
from goodinit.files import write_beside
from goodinit.records.form import from_jsonable, to_jsonable
from goodinit.records.health import Finding, Report, fingerprint

__all__ = ["Baseline", "KnownFinding", "SinceBaseline", "accepted", "against"]

_VERSION: Final = 1
# A known finding counts as worse when it lies this many times further outside the healthy range. Factors
# below are what another seed or another torch release may bring.
_WORSE: Final = 10.0
_CURE: Final = "write one with `goodinit check MODEL --write-baseline FILE`"
_RANK: Final = {"note": 0, "warning": 1, "error": 2}
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
        return from_jsonable(cls, json.loads(text))

    def to_text(self, *, width: int | None = None) -> str:
        """Return the comparison as plain text, what is new first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)


def accepted(report: Report, keep: Baseline | None = None) -> Baseline:
    """Return the baseline that accepts every finding of a report.

    Args:
        report: what was found.
        keep: an earlier baseline, whose reasons stay with the findings that are still there.
    """
    whys = {known.fingerprint: known.why for known in keep.findings} if keep else {}
    known = [
        KnownFinding(
            code=each.code,
            title=each.title,
            severity=each.severity,
            where=tuple(sorted(dict.fromkeys(each.where), key=_natural)),
            effect=_rounded(each.effect),
            expected=None
            if each.expected is None
            else (_rounded(each.expected[0]), _rounded(each.expected[1])),
            why=whys.get(each.fingerprint, ""),
        )
        for each in report.findings
    ]
    known.sort(key=lambda each: (each.code, [_natural(name) for name in each.where], each.effect))
    return Baseline(report.model, tuple(known))


def against(report: Report, baseline: Baseline | str | Path) -> SinceBaseline:
    """Tell the findings of a report that its baseline has from those that it has not.

    A finding is known if one entry with its code has all its layers, so that a problem
    which shrinks stays known. Order counts nowhere.
    """
    if isinstance(baseline, str | Path):
        baseline = Baseline.load(baseline)
    if not isinstance(baseline, Baseline):
        raise WrongTypeError(
            f"baseline: expected a Baseline or the path of its file, got {type(baseline).__name__}"
        )
    new: list[Finding] = []
    worse: list[tuple[Finding, KnownFinding]] = []
    known: list[tuple[Finding, KnownFinding]] = []
    still: dict[int, set[str]] = {}
    for finding in report.findings:
        names = set(finding.where)
        near = [
            (index, entry)
            for index, entry in enumerate(baseline.findings)
            if entry.code == finding.code and (names & set(entry.where) or not names or not entry.where)
        ]
        for index, entry in near:
            still.setdefault(index, set()).update(names & set(entry.where))
        if not near:
            new.append(finding)
            continue
        entries = [entry for _, entry in near]
        fitting = [entry for entry in entries if names <= set(entry.where) and not _worse(finding, entry)]
        if fitting:
            known.append((finding, fitting[0]))
        else:
            worse.append((finding, max(entries, key=lambda entry: len(names & set(entry.where)))))
    gone = []
    for index, entry in enumerate(baseline.findings):
        free = tuple(name for name in entry.where if name not in still.get(index, ()))
        if free or index not in still:
            gone.append(replace(entry, where=free))
    return SinceBaseline(report.model, tuple(new), tuple(worse), tuple(known), tuple(gone))


def _worse(finding: Finding, entry: KnownFinding) -> bool:
    if _RANK.get(finding.severity, 1) > _RANK.get(entry.severity, 1):
        return True
    if finding.expected is None or entry.expected is None:
        return False
    side, size = _excess(finding.effect, finding.expected)
    known_side, known_size = _excess(entry.effect, entry.expected)
    if side * known_side < 0:
        return True
    if not size >= _WORSE * known_size or math.isinf(known_size):
        return False
    # The measurement's own uncertainty may span more than the factor.
    return finding.interval is None or not finding.interval[0] <= entry.effect <= finding.interval[1]


def _excess(effect: float, expected: tuple[float, float]) -> tuple[int, float]:
    """Return the side of the healthy range on which an effect lies, and how many times beyond its edge.

    Beyond an edge at zero there are no times, so that the distance itself counts: only the
    ratio of two effects is ever used.

    >>> _excess(1e-6, (1e-3, 1e3)), _excess(0.0, (1e-3, 1e3)), _excess(30.0, (0.0, 0.0))
    ((-1, 1000.0), (-1, inf), (1, 30.0))
    """
    low, high = expected
    if math.isnan(effect):
        return 0, math.inf
    if effect > high:
        return 1, effect / high if high > 0 else effect - high
    if effect < low:
        if low > 0:
            return -1, low / effect if effect > 0 else math.inf
        return -1, effect / low if low < 0 else -effect
    return 0, 1.0


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort ``layers.2`` before ``layers.10``."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    )


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
