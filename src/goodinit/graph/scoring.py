"""Products of looked-up rows that are the output themselves: matrix factorization, word vectors, FM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from goodinit.graph.expressions import elementwise
from goodinit.graph.paths import End, Paths, parameter_names, walk_back
from goodinit.graph.replaying import replayed_moment

__all__ = ["scored"]

_PASSED = {"move", "sum", "mixed", "center", "reduce", "product"}


@dataclass(frozen=True)
class _Rows:
    """Second moments of what begins a signal: of tables, 1 of what they are multiplied by, 0 of others."""

    tables: tuple[str, ...]
    beside: tuple[str, ...]
    moment: float

    def __call__(self, kind: str, names: tuple[str, ...]) -> float:
        if kind == "kept":
            return 0.0
        if not names:
            return 1.0
        return self.moment if set(names) & set(self.tables) else float(bool(set(names) & set(self.beside)))


def scored(paths: Paths, end: End, mixed: frozenset[int]) -> Callable[[float], float] | None:
    """Return what gives the output's second moment from that of the tables which are multiplied to make it.

    Args:
        paths: the walks over the coarse graph.
        end: where looked-up rows go.
        mixed: products in which attention mixes values by a softmax.

    Returns:
        The function, or None where a weight lies between, or no table or product.
    """
    flow = paths.flow
    activation = elementwise(flow, end.links) if end.kind == "output" else None
    if end.kind == "gate":
        further = paths.ends[end.target]
        start = flow.roots[end.target].links
    elif activation is not None and not activation.linear:
        further, start = (end,), [end.links[0]]
    else:
        return None
    if not further or any(other.kind != "output" for other in further):
        return None
    made: dict[str, list[str]] = {}
    for at in walk_back(flow, start, _PASSED):
        root = flow.roots[at]
        if root.site is not None:
            made.setdefault(root.kind, []).extend(parameter_names(flow, root.site.parts))
    tables = tuple(made.get("embedding", ()))
    last = further[0].links[-1]
    after = elementwise(flow, [last])
    value = last.value if after is None or after.linear else last.root
    if not tables:
        return None

    def moment(size: float) -> float:
        rows = _Rows(tables, tuple(made.get("weight", ())), size)
        return replayed_moment(flow, value, rows, mixed)

    return moment
