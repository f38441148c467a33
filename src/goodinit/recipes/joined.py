"""Signals that are laid beside earlier ones, or mixed with them: the mix is as large as those before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from goodinit.graph import Sink, WeightUse

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["joined", "mixed"]

# Where one part has half of another's second moment, neither drowns the other.
_ALIKE = 2.0
_STEPS = 20
# Beyond so many times what an activation passes, it is saturated.
_LARGEST = 30.0


def joined(travel: Travel, sink: Sink, wanted: float, words: str) -> tuple[float, str]:
    """Return (second moment, reason) for a weight whose results a join lays beside earlier ones.

    Args:
        travel: the traced network.
        sink: what reads the join.
        wanted: the second moment that the weight would put out alone.
        words: the reason for that.
    """
    beside = 0.0 if sink.beside is None else travel.asked(sink.beside)
    if not beside > 0 or 1 / _ALIKE <= _passes(travel, sink, wanted) / beside <= _ALIKE:
        return wanted, words
    found = _reaching(travel, sink, wanted, beside)
    if found is None:
        return wanted, words
    return found, f"as large as the signal that it is joined to, of second moment {beside:.3g}"


def mixed(travel: Travel, use: WeightUse, sink: Sink) -> tuple[float, str] | None:
    """Return (second moment, reason) for the gate, or the later signal, of a mix of two signals.

    Args:
        travel: the traced network.
        use: the weight.
        sink: the mix.

    Returns:
        Both; None for other weights, and where no scale makes the signal as large as that takes.
    """
    wanted = 0.0 if sink.beside is None or use.calls > 1 else travel.asked(sink.beside)
    if not wanted > 0 or (use.gate == "gate" and wanted == 1):
        return None
    if use.gate == "gate":
        return wanted, "a gate that mixes two signals, one of many in a row, so small that no size runs away"
    found = _reaching(travel, sink, 1.0, wanted)
    words = "mixed with an earlier signal by a gate, so large that the mix keeps the size of that"
    return None if found is None else (found, words)


def _reaching(travel: Travel, sink: Sink, wanted: float, passed: float) -> float | None:
    """Return the second moment of which an activation passes a given one; None where it saturates below."""
    for _ in range(_STEPS):
        wanted *= passed / _passes(travel, sink, wanted)
    close = math.isclose(_passes(travel, sink, wanted), passed, rel_tol=0.1)
    return wanted if close and wanted <= _LARGEST * passed else None


def _passes(travel: Travel, sink: Sink, q: float) -> float:
    return q if sink.activation is None else q * travel.passed(sink.activation, q)
