"""Outputs that several results make together: products of rows or of two networks, sums, means, mixtures.

What each result should put out then depends on all that is done with them. The recorded operations run
once more, for results of one size and then of another, and the output's second moment is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from goodinit.graph.arrivals import ADDING
from goodinit.graph.attention import gate_part
from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.paths import End, Paths, parameter_names, walk_back
from goodinit.graph.replaying import replayed_moment
from goodinit.graph.states import Unit

__all__ = ["scored"]

_PASSED = {"move", "sum", "mixed", "center", "reduce", "product"}
_AVERAGES = ("mean", "avg_pool")


def scored(paths: Paths, end: End, mixed: frozenset[int]) -> Callable[[float], float] | None:
    """Return what gives the output's second moment from that of the results which make it together.

    Args:
        paths: the walks over the coarse graph.
        end: where looked-up rows, or a weight's results, go.
        mixed: products in which attention mixes values by a softmax.

    Returns:
        The function, or None where a weight lies between, or the results are the output as they are.
    """
    flow = paths.flow
    activation = elementwise(flow, end.links)
    curved = activation is not None and not activation.linear
    if end.kind == "gate":
        further = paths.ends[end.target]
        start = flow.roots[end.target].links
    elif end.kind == "output":
        further, start = (end,), [end.links[0]]
    else:
        return None
    if not further or any(other.kind != "output" for other in further):
        return None
    last = further[0].links[-1]
    after = elementwise(flow, [last])
    value = last.value if after is None or after.linear else last.root
    reached = (flow.roots[at] for at in walk_back(flow, start, _PASSED))
    tables = _names(flow, (root for root in reached if root.kind == "embedding"))
    looked_up = flow.roots[end.links[0].root].kind == "embedding"
    if tables and looked_up and (end.kind == "gate" or curved):
        return lambda size: replayed_moment(flow, value, Unit(tables, size), mixed)
    found = list(_begun(paths, last))
    if tables or curved or end.links[0].root not in {root.value for root in found}:
        return None
    if not _together(paths, found, last, mixed):
        return None
    names = _names(flow, found)
    return lambda size: replayed_moment(flow, value, Unit(names, size), mixed)


def _names(flow: Flow, roots: Iterable[Root]) -> frozenset[str]:
    sites = (root.site for root in roots if root.site is not None)
    return frozenset(name for site in sites for name in parameter_names(flow, site.parts))


def _begun(paths: Paths, last: Link) -> Iterator[Root]:
    """The results that sums and products make into an output, without those that only weigh others."""
    roots, seen, todo = paths.flow.roots, {last.root}, [last.root]
    while todo:
        root = roots[todo.pop()]
        if root.kind in ("weight", "embedding"):
            yield root
        if root.kind not in (*_PASSED, "interaction") or root.value in paths.mixes | paths.logits:
            continue
        for link in root.links:
            gates = root.kind in ("product", "interaction") and (
                gate_part(paths, End("gate", root.value, (link,))) == "gate"
            )
            if link.part != "statistic" and not gates and link.root not in seen:
                seen.add(link.root)
                todo.append(link.root)


def _together(paths: Paths, found: Iterable[Root], last: Link, mixed: frozenset[int]) -> bool:
    """Whether results are added up, or multiplied and added up, on the way to an output."""
    flow, several = paths.flow, len({id(root) for root in found}) > 1
    several = several or any(root.site is not None and root.site.batch for root in found)
    for at in walk_back(flow, [last], {*_PASSED, "interaction"}):
        root = flow.roots[at]
        if root.value in mixed or root.kind not in (*_PASSED, "interaction"):
            continue
        if root.kind == "sum" and len(root.links) > 1:
            return True
        # Places of one signal have much in common: how much an average of them keeps, nobody knows.
        average = root.kind in ("reduce", "move") and any(word in root.op for word in _AVERAGES)
        adds = root.kind in ("reduce", "interaction") or root.sums > 1 or root.op in ADDING
        if adds and (several or not average):
            return True
    return False
