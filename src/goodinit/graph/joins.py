"""What it means that two signals meet in an elementwise operation."""

from __future__ import annotations

import math

from goodinit.graph.flow import Flow, Link, Part, State, Weight
from goodinit.graph.tape import Node

__all__ = ["join", "shared_out", "shares"]

_SUMS = {"add", "sub", "rsub"}
_RATIOS = {"div", "true_divide"}
_INVERSE = {"rsqrt", "reciprocal", "sqrt", "pow", "div", "true_divide"}
_EXPONENTS = {"exp", "exp2"}
_SIZES = {"pow", "square", "abs", "mul"}
# Elementwise operations that keep a path linear, and roots that bend it.
_LINEAR = {"add", "sub", "rsub", "mul", "div", "neg", "clone", "_to_copy", "copy", "alias", "native_dropout"}
_BENT = {"norm", "softmax", "attention", "product", "recurrent"}
# What makes shares of parameters.
_BENDING = {"_softmax", "softmax", "_safe_softmax", "sigmoid"}
# Farther back than this a common ancestor is no residual stream but the network itself.
_REACH = 600
_STEPS = 6


def join(flow: Flow, node: Node, links: list[Link]) -> tuple[str, list[Link]]:
    """Return the kind of root that an elementwise operation on several signals makes, and its links.

    Args:
        flow: the graph so far.
        node: the operation.
        links: one link for every different signal that it reads.
    """
    name = node.op.rstrip("_")
    if len(links) != 2:
        return ("sum" if name in ("add", "addcmul", "addcdiv", "lerp") else "mixed"), links
    for main, other in (links, links[::-1]):
        if _statistic(flow, other.root) == _base(flow, main.root):
            return _normalized(flow, name, main, other)
    bases = {_statistic(flow, link.root) for link in links}
    if len(bases) == 1 and None not in bases:
        return "reduce", links
    if name in _SUMS:
        found = _residual(flow, links)
        return ("residual", found) if found else ("sum", links)
    if name in ("mul", "multiply", *_RATIOS):
        return "product", links
    return "mixed", links


def _normalized(flow: Flow, name: str, main: Link, statistic: Link) -> tuple[str, list[Link]]:
    links = [main, Link(statistic.root, statistic.layout, statistic.value, "statistic")]
    if name in _SUMS:
        return "center", links
    ops = {node.op.rstrip("_") for node in flow.between(statistic.value, statistic.root)}
    if name in _RATIOS or ops & _INVERSE:
        before = {node.op.rstrip("_") for node in flow.between(main.value, main.root)}
        share = before & _EXPONENTS or not _squares(flow, statistic)
        return ("softmax" if share else "norm"), links
    return "product", [main, statistic]


def _squares(flow: Flow, statistic: Link) -> bool:
    """Whether a statistic measures a size, and is not just a total that shares are taken of."""
    link = statistic
    while flow.roots[link.root].kind == "reduce":
        root = flow.roots[link.root]
        ops = {node.op.rstrip("_") for item in root.links for node in flow.between(item.value, item.root)}
        if root.op not in ("sum", "mean") or ops & _SIZES:
            return True
        link = root.links[0]
    return False


def _base(flow: Flow, root: int) -> int:
    while flow.roots[root].kind == "center":
        root = flow.roots[root].links[0].root
    return root


def _statistic(flow: Flow, root: int) -> int | None:
    """The root that a value is a statistic of, or None."""
    found = flow.roots[root]
    if found.kind != "reduce":
        return None
    while flow.roots[root].kind == "reduce":
        root = _base(flow, flow.roots[root].links[0].root)
    return root


def _residual(flow: Flow, links: list[Link]) -> list[Link] | None:
    """Return the links as (skip, branch) if one operand is added to what was computed from it."""
    shapes = [flow.tape.values[link.value].shape for link in links]
    if shapes[0] != shapes[1]:
        return None
    depths = [flow.roots[link.root].depth for link in links]
    streams = [flow.roots[link.root].kind == "residual" for link in links]
    orders = [sorted(links, key=lambda link: (flow.roots[link.root].depth, link.root))]
    if depths[0] == depths[1] and (streams[0] or streams[1] or not _normed(flow, *orders[0])):
        orders = []
    if streams[0] != streams[1]:
        # x + a(x) + b(x): what was added up before is the stream, however deep it is.
        orders.insert(0, links if streams[0] else links[::-1])
    for skip, branch in orders:
        found = None if shared_out(flow, skip) else _added_to(flow, skip, branch)
        if found is not None:
            return found
    return None


def _normed(flow: Flow, skip: Link, branch: Link) -> bool:
    """Whether a branch without weights begins with a normalization of the stream, as fft(norm(x)) does."""
    at = branch.root
    for _ in range(_STEPS):
        root = flow.roots[at]
        if root.kind == "norm":
            return root.links[0].root == skip.root
        if root.kind not in ("move", "reduce", "interaction", "mixed") or not root.links:
            return False
        at = root.links[0].root
    return False


def shared_out(flow: Flow, link: Link) -> bool:
    """Whether a function of a parameter, such as its softmax, weighs what a link reads: a mean, no stream."""
    return any(
        node.op.rstrip("_") == "mul" and any(shares(flow.states[i]) for i in node.inputs)
        for node in flow.between(link.value, link.root)
    )


def shares(state: State) -> bool:
    """Whether a value is made of parameters by what makes shares of them."""
    return isinstance(state, Weight) and any(_BENDING.intersection(part.through) for part in state.parts)


def _added_to(flow: Flow, skip: Link, branch: Link) -> list[Link] | None:
    candidates = _origins(flow, skip)
    for at, (candidate, direct) in enumerate(candidates):
        # A projected stream does not reach the branch through the projection: that is a recurrence.
        if at and candidate.layout.distinct < math.prod(flow.tape.values[candidate.root].shape):
            continue
        barred = {part.leaf for link, _ in candidates[:at] for part in _parts(flow, link.root)}
        if _depends(flow, branch.root, candidate, barred, direct):
            return [
                Link(skip.root, skip.layout, skip.value, "skip" if direct else "projected"),
                Link(branch.root, branch.layout, branch.value, "branch"),
            ]
    return None


def _parts(flow: Flow, root: int) -> tuple[Part, ...]:
    site = flow.roots[root].site
    return () if site is None else site.parts


def _origins(flow: Flow, link: Link) -> list[tuple[Link, bool]]:
    """The skip itself, then what it was made from, each with whether no weight lies between."""
    found = [(link, True)]
    while len(found) < _STEPS:
        last, direct = found[-1]
        root = flow.roots[last.root]
        # x + a(x) + b(x): the second branch was computed from x, not from x + a(x).
        if root.kind not in ("move", "norm", "weight", "center", "reduce", "residual") or not root.links:
            break
        found.append((root.links[0], direct and root.kind != "weight"))
    return found


def _depends(flow: Flow, root: int, origin: Link, barred: set[int], direct: bool) -> bool:
    """Whether a root was computed from what a link reads.

    A projected stream (not `direct`) spans one block: the way leads through no barred
    parameter and no other addition, and it bends, or it would be a second linear path.
    """
    size = math.prod(flow.tape.values[origin.root].shape)
    everything = origin.layout.distinct == size
    bends = direct
    found = False
    seen = {root}
    todo = [root]
    while todo and len(seen) < _REACH:
        at = flow.roots[todo.pop()]
        if not direct and at.kind == "residual":
            continue
        for link in at.links:
            # What a projection of the stream reads, too, does not set the two ways apart.
            bends = bends or at.kind in _BENT or (link.value != origin.value and _bent(flow, link))
            if link.root == origin.root:
                if link.layout == origin.layout or (everything and link.layout.distinct == size):
                    found = True
            elif link.root > origin.root and link.root not in seen:
                if barred and any(part.leaf in barred for part in _parts(flow, link.root)):
                    continue
                seen.add(link.root)
                todo.append(link.root)
        if found and bends:
            return True
    return False


def _bent(flow: Flow, link: Link) -> bool:
    return any(
        node.pointwise and node.op.rstrip("_") not in _LINEAR for node in flow.between(link.value, link.root)
    )
