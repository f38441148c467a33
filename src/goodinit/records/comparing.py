"""What is new or worse since a baseline, and the baseline that accepts all there is."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from goodinit.errors import WrongTypeError
from goodinit.records.baseline import Baseline, KnownFinding, SinceBaseline
from goodinit.records.health import Finding, Report

__all__ = ["accepted", "against"]

# A known finding counts as worse when it lies this many times further outside the healthy range. Factors
# below are what another seed or another torch release may bring.
_WORSE: Final = 10.0
_RANK: Final = {"note": 0, "warning": 1, "error": 2}


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
            expected=_rounded_range(each.expected),
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
    expected = _rounded_range(finding.expected)
    if expected is None or entry.expected is None:
        return False
    # Rounded as the entry is, so that a finding never differs from itself.
    side, size = _excess(_rounded(finding.effect), expected)
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

    >>> _excess(0.25, (1.0, 8.0)), _excess(0.0, (1e-3, 1e3)), _excess(30.0, (0.0, 0.0))
    ((-1, 4.0), (-1, inf), (1, 30.0))
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


def _rounded_range(expected: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if expected is None else (_rounded(expected[0]), _rounded(expected[1]))


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort ``layers.2`` before ``layers.10``."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    )
