"""Findings as cards: what was measured against what is healthy, the cause, and a cure to copy."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from goodinit.records import Finding
from goodinit.report.html.numbers import interval, prose, scientific
from goodinit.report.links import link, section

__all__ = ["Card", "Gauge", "card"]

# Names beyond these are one click away.
_NAMES = 6
# What can be run within a cure: between backquotes, a statement to its end, or a call such as
# goodinit.initialize(model, "auto").
_CODE = re.compile(
    r"`([^`]+)`|((?:for name in \(|with torch\.).*?\)(?=;|$))"
    r"|((?:goodinit|torch|nn|model|plan)\.[\w.]+\((?:[^()]|\([^()]*\))*\))"
)


@dataclass(frozen=True)
class Gauge:
    """Places in percent of the width: the healthy range, the interval and the effect itself."""

    effect: float
    low: float
    high: float
    healthy_low: float
    healthy_high: float


@dataclass(frozen=True)
class Card:
    """One finding, ready to be set."""

    code: str
    title: str
    severity: str
    names: tuple[str, ...]
    more: tuple[str, ...]
    measure: str
    effect: str
    interval: str
    expected: str
    cause: str
    cure: str
    snippets: tuple[str, ...]
    link: str
    page: str
    gauge: Gauge | None


def card(finding: Finding, docs: str | None) -> Card:
    """Return a finding as a card; `docs` is the address of the folder of documentation pages."""
    found = ["".join(parts) for parts in _CODE.findall(finding.cure)]
    # What is named twice is to be run where it stands last.
    snippets = tuple(reversed(dict.fromkeys(reversed(found))))
    whole = len(snippets) == 1 and finding.cure.strip(" .`") == snippets[0].strip(" .`")
    return Card(
        code=finding.code,
        title=finding.title,
        severity=finding.severity if finding.severity in ("error", "warning", "note") else "warning",
        names=finding.where[:_NAMES],
        more=finding.where[_NAMES:],
        measure=finding.measure,
        effect=scientific(finding.effect),
        interval=interval(finding.interval),
        expected=interval(finding.expected),
        cause=prose(finding.cause),
        cure="" if whole else finding.cure,
        snippets=snippets,
        link=link(finding.code, docs),
        page=section(finding.code),
        gauge=_gauge(finding),
    )


def _gauge(finding: Finding) -> Gauge | None:
    """Where effect, interval and healthy range lie on a common scale, logarithmic for positive values."""
    if finding.expected is None or not math.isfinite(finding.effect):
        return None
    low, high = finding.interval or (finding.effect, finding.effect)
    values = [finding.effect, low, high, *finding.expected]
    finite = [value for value in values if math.isfinite(value)]
    positive = [value for value in finite if value > 0]
    # Ratios spread over decades; what may be zero or negative is shown as it is.
    log = len(positive) == len(finite) or (
        min(finite) == 0 and max(positive, default=0) > 100 * min(positive, default=1)
    )
    if log and positive:
        # Zero lies two decades below everything else.
        floor = max(min(positive) / (100.0 if len(positive) < len(finite) else 1.0), 5e-324)
        places = [
            math.log10(max(value, floor)) if math.isfinite(value) else math.copysign(math.inf, value)
            for value in values
        ]
    else:
        places = values
    known = [place for place in places if math.isfinite(place)]
    start, end = min(known), max(known)
    if not 0 < end - start < math.inf:
        return None
    margin = 0.06 * (end - start)
    start, end = start - margin, end + margin

    def percent(place: float) -> float:
        return round(100 * min(max((place - start) / (end - start), 0.0), 1.0), 2)

    return Gauge(*(percent(place) for place in places))
