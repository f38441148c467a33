"""The answer of `trace`: every use of every parameter of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from goodinit.graph.uses import WeightUse

__all__ = ["Graph"]


@dataclass(frozen=True)
class Graph:
    """Which operations use which parameter, in one pass over an example.

    Attributes:
        model: the model's class.
        uses: the uses of every parameter that the example reaches, by canonical name.
        unreached: parameters that the example never reaches.
        tied: the other names of tied parameters, by the first name.
        depth: the largest number of contractions between input and output.
        streams: how many additions each residual stream has.
        ran: ``"fake"`` (no memory, no arithmetic) or ``"real"``.
        notes: what a reader should know about the run.
        example: types and shapes of the example, and where it came from.
        kept: parameters whose values stay as they are; a plan says which.
        values: the one value that a parameter is known to keep in all its elements, by name.
    """

    model: str
    uses: dict[str, tuple[WeightUse, ...]]
    unreached: tuple[str, ...]
    tied: dict[str, tuple[str, ...]]
    depth: int
    streams: tuple[int, ...]
    ran: str
    notes: tuple[str, ...] = ()
    example: str = ""
    kept: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    values: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> tuple[WeightUse, ...]:
        """Return the uses of one parameter; none where the example never reaches it."""
        return self.uses.get(name, ())

    def __iter__(self) -> Iterator[WeightUse]:
        """Yield every use in the order of execution."""
        return iter(self.order)

    @property
    def order(self) -> tuple[WeightUse, ...]:
        """Every use in the order of execution."""
        found = [use for uses in self.uses.values() for use in uses]
        return tuple(sorted(found, key=lambda use: use.index))

    def principal(self, name: str) -> WeightUse | None:
        """Return the use that decides a parameter's scale: the most frequent contraction if there is one."""
        uses = self[name]
        for test in (lambda use: use.contracts, lambda use: use.op == "embedding", lambda use: True):
            found = [use for use in uses if test(use)]
            if found:
                return max(found, key=lambda use: use.calls)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the graph as plain JSON values; functions by their names."""
        from goodinit.graph.table import graph_to_json

        return graph_to_json(self)

    def __str__(self) -> str:
        from goodinit.graph.table import graph_to_text

        return graph_to_text(self)
