"""Couplings of reversible networks: part of a signal is scaled by an exponential and added to."""

from __future__ import annotations

from goodinit.graph import Graph, WeightUse

__all__ = ["coupled", "couplings"]

# A larger signal makes a larger s: of n couplings that put out c/n, sizes follow m′ = c·m² + c·m/2 over
# the depth. At c = 1 that has no end; at c = 1/4 a size of 1 ends below 1.6.
_PARTS = 4


def couplings(graph: Graph) -> frozenset[str]:
    """Return the weights that put out both s and t of a coupling b·exp(s) + t, as RealNVP and Glow make them.

    What t is added to meets the exponential of the next coupling, so sizes multiply over the depth.

    Args:
        graph: the traced network.
    """
    found, sure = set(), 0
    for name, uses in graph.uses.items():
        made = [use for use in uses if use.contracts]
        added = [use for use in made if not _scales(use) and _ends(use)]
        if added and any(_scales(use) for use in made):
            found.add(name)
            # What only meets an exponential, as the values of attention without softmax, is no sum.
            sure += any(_ends(use) - {"gate"} for use in added)
    # A single product with an exponential is a gate.
    return frozenset(found) if sure and len(found) > 1 else frozenset()


def coupled(names: frozenset[str]) -> tuple[float, str]:
    """Return (second moment that each of these couplings puts out, the reason in words)."""
    parts = _PARTS * len(names)
    return 1 / parts, f"one of {len(names)} couplings that scale by an exponential and add, so 1/{parts} each"


def _scales(use: WeightUse) -> bool:
    functions = [sink.activation for sink in use.sinks if sink.kind == "gate"]
    return any(f is not None and f.name.split(" ∘ ")[0].startswith("exp") for f in functions)


def _ends(use: WeightUse) -> set[str]:
    ends = {sink.kind for sink in use.sinks if sink.activation is None or sink.activation.linear}
    return ends & {"gate", "weight", "output", "residual"}
