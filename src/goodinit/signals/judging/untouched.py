"""Norms in eval mode before training: their running statistics are of no batch, so they normalise nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from goodinit.records import Finding
from goodinit.signals.probing.probe import Probe

__all__ = ["with_untouched_norms"]

# What a norm would have kept in order, and the causes that are read from it.
_KEPT = frozenset(
    ("GI102", "GI103", "GI104", "GI105", "GI106", "GI108", "GI109", "GI112", "GI114", "GI121", "GI124")
)


def with_untouched_norms(probe: Probe, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings, where norms did nothing with that as the cause of what they would have prevented.

    Args:
        probe: the measurement.
        findings: what was made of it.
    """
    if not probe.untouched:
        return tuple(findings)
    count, first = len(probe.untouched), probe.untouched[0]
    which = f"'{first}'" if count == 1 else f"'{first}' and {count - 1} more"
    return tuple(
        replace(
            each,
            cause=f"{each.cause} In eval mode {which} normalise{'s' if count == 1 else ''} by running "
            "statistics that no batch has touched (mean 0, variance 1), that is not at all.",
            cure="model.train(), then check again: norms use the batch's statistics there",
        )
        if each.code in _KEPT
        else each
        for each in findings
    )
