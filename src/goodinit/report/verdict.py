"""The verdict on a model in one sentence, the same in every form of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from goodinit.records import Report
from goodinit.report.words import count

__all__ = ["Verdict", "backward_measured", "fine", "verdict"]

# What each group of codes judges, for the line that says what is fine.
_JUDGED: Final = (
    (("GI101", "GI110", "GI115", "GI116", "GI118", "GI125"), "parameter values"),
    (("GI107",), "no NaN or infinity"),
    (
        ("GI102", "GI103", "GI108", "GI112", "GI114", "GI121", "GI128", "GI129", "GI130", "GI131"),
        "forward signal",
    ),
    (("GI104", "GI105", "GI111", "GI117", "GI123", "GI124", "GI127"), "gradients"),
    (("GI106", "GI109"), "units alive"),
    (("GI113",), "attention"),
)


@dataclass(frozen=True)
class Verdict:
    """The sentence, its tone (``"error"``, ``"warning"`` or ``"fine"``) and the size of the model."""

    tone: str
    sentence: str
    size: str


def verdict(report: Report) -> Verdict:
    """Return what a report says of its model in one sentence.

    >>> verdict(Report("Net", "given", None, (), (), ())).sentence
    'Net: no fault found forward; backward was not measured.'
    """
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    elements = sum(parameter.value.count for parameter in report.parameters)
    size = f"{count(len(report.layers), 'layer')}, {count(elements, 'parameter')}"
    if errors:
        more = f" and {count(warnings, 'warning')}" if warnings else ""
        return Verdict("error", f"{report.model} is not healthy: {count(errors, 'error')}{more}.", size)
    if warnings:
        return Verdict("warning", f"{report.model} has {count(warnings, 'warning')}.", size)
    if not backward_measured(report):
        sentence = f"{report.model}: no fault found forward; backward was not measured."
        return Verdict("warning", sentence, size)
    return Verdict("fine", f"{report.model} is healthy.", size)


def backward_measured(report: Report) -> bool:
    """Return whether a gradient reached any layer."""
    return any(layer.gradient is not None for layer in report.layers)


def fine(report: Report) -> tuple[str, ...]:
    """Return what was judged and found in order."""
    found = {finding.code for finding in report.findings}
    absent = set() if backward_measured(report) else {"gradients"}
    if not report.attention:
        absent.add("attention")
    if "GI107" in found:
        # A layer of NaN has no moments, so nothing about signals was judged.
        absent |= {"forward signal", "gradients", "units alive", "attention"}
    return tuple(words for codes, words in _JUDGED if not found & set(codes) and words not in absent)
