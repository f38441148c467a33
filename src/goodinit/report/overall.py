"""What concerns the whole network, a line each: theory, effective depth, attention, Jacobians."""

from __future__ import annotations

import math

from goodinit.records import Report
from goodinit.report.words import count, number

__all__ = ["overall"]

# Jacobians in the short report; the page has them all.
_JACOBIANS = 2


def overall(report: Report) -> list[tuple[str, str]]:
    """Return (word, sentence) for each thing that was measured of the network as a whole."""
    lines = []
    known = [layer for layer in report.layers if layer.predicted is not None and not layer.output.nonfinite]
    if known:
        inside = sum(
            layer.predicted is not None
            and layer.predicted.low <= layer.output.second_moment <= layer.predicted.high
            for layer in known
        )
        lines.append(("theory", f"{inside:,} of {count(len(known), 'layer')} within the predicted band"))
    if report.effective_depth is not None:
        weighty = len({layer.name for layer in report.layers if layer.parametric})
        learn = f"{count(weighty, 'weight layer')} {'learns' if weighty == 1 else 'learn'}"
        lines.append(("depth", f"effectively {number(report.effective_depth)} of {learn}"))
    entropies = [each.entropy for each in report.attention if math.isfinite(each.entropy)]
    if entropies:
        peaked = max(each.peaked for each in report.attention)
        low, high = number(min(entropies)), number(max(entropies))
        span = low if low == high else f"{low} to {high}"
        heads = f"attention entropy {span} of its maximum, at most {peaked:.0%} of queries see one key only"
        lines.append(("heads", heads))
    for each in report.jacobians[:_JACOBIANS]:
        size = f"mean square {number(each.mean_square)} ± {number(each.mean_square_error)}"
        what = f"{each.start} → {each.end}: {size}, largest singular value {number(each.largest)}"
        lines.append(("slope", f"Jacobian {what}"))
    return lines
