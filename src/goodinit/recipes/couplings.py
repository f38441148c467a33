"""Couplings of reversible networks: part of a signal is scaled by an exponential and added to."""

from __future__ import annotations

from goodinit.graph import Graph

__all__ = ["coupled", "couplings"]

# A larger signal makes a larger s: of n couplings that put out c/n, sizes follow m′ = c·m² + c·m/2 over
# the depth. At c = 1 that has no end; at c = 1/4 a size of 1 ends below 1.6.
_PARTS = 4


def couplings(graph: Graph) -> dict[str, int]:
    """Return the weights that put out s or t of a coupling b·exp(s) + t, as in RealNVP, and of which one.

    What t is added to meets the exponential of the next coupling, so sizes multiply over the depth.

    Args:
        graph: the traced network.
    """
    return {use.name: use.coupling for use in graph if use.coupling is not None}


def coupled(found: dict[str, int]) -> tuple[float, str]:
    """Return (second moment that each of these couplings puts out, the reason in words)."""
    count = len(set(found.values()))
    parts = _PARTS * count
    return 1 / parts, f"one of {count} couplings that scale by an exponential and add, so 1/{parts} each"
