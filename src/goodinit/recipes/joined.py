"""Signals that are joined before a weight reads them: the later ones are as large as those before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goodinit.graph import Sink

if TYPE_CHECKING:
    from goodinit.recipes.travel import Travel

__all__ = ["joined"]

# Where one part has half of another's second moment, neither drowns the other.
_ALIKE = 2.0
_STEPS = 20


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
    for _ in range(_STEPS):
        wanted *= beside / _passes(travel, sink, wanted)
    return wanted, f"as large as the signal that it is joined to, of second moment {beside:.3g}"


def _passes(travel: Travel, sink: Sink, q: float) -> float:
    return q if sink.activation is None else q * travel.passed(sink.activation, q)
