"""What the values carry while the coarse graph grows, and how it passes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from goodinit.graph.contractions import Roles
from goodinit.graph.flow import Const, Flow, Link, Part, Root, Signal, Site, State, Touch, Weight
from goodinit.graph.layout import broadcast, whole
from goodinit.graph.tape import Node, Ref, Tape, Value

__all__ = [
    "COPIES",
    "FACTORIES",
    "Builder",
    "constant",
    "guessed",
    "lost",
    "site_of",
    "spread",
    "unique",
    "value_of",
]

# Operations that pass values on, and those that make constants of a given size.
COPIES = {"clone", "_to_copy", "lift_fresh", "lift_fresh_copy", "alias", "detach", "contiguous", "copy_"}
FACTORIES = {"zeros", "ones", "full", "eye", "empty", "scalar_tensor", "empty_strided", "written"}


class Builder:
    """Holds the flow while it grows; values are visited in the order in which they were made."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.tape = flow.tape
        self.done = 0

    # -- states

    def leaf(self, value: Value) -> None:
        if value.origin == "parameter":
            self.put(value.index, Weight((Part(value.index, whole(value.shape)),)))
        elif value.origin == "input":
            self.root(value.index, "data", [], None)
        else:
            self.put(value.index, Const(value.fill, value.origin == "index"))

    def put(self, index: int, state: State) -> None:
        states = self.flow.states
        while len(states) <= index:
            states.append(Const())
        states[index] = state

    def root(
        self, value: int, kind: str, links: list[Link], node: Node | None, site: Site | None = None
    ) -> None:
        depth = max((self.flow.roots[link.root].depth for link in links), default=0)
        depth += kind in ("weight", "recurrent")
        op, module = (node.op, node.module) if node is not None else ("", "")
        index = None if node is None else node.index
        self.flow.roots[value] = Root(value, kind, links, index, depth, site, op, module)
        self.put(value, Signal(value, whole(self.tape.values[value].shape)))

    def state(self, index: int) -> State:
        return self.flow.states[index]

    def link(self, index: int, part: str = "", joins: bool = False) -> Link:
        """Return a link to a value, which becomes a learned signal if it was made of weights.

        `joins` says whether it stands beside other signals, as a class token does, or is one by itself.
        """
        state = self.state(index)
        if isinstance(state, Signal):
            return Link(state.root, state.layout, index, part)
        # The value keeps its state: elsewhere it may still act as a weight.
        shape = self.tape.values[index].shape
        if index not in self.flow.roots:
            self.root(index, "learned" if isinstance(state, Weight) else "data", [], None)
            self.put(index, state)
        if isinstance(state, Weight):
            on = Link(index, whole(shape), index)
            self.flow.touches.append(Touch(self.done, "token" if joins else "start", state.parts, shape, on))
        return Link(index, whole(shape), index, part)

    def rest(self, node: Node, first: int) -> None:
        """Outputs beyond the main ones: masks, indices, saved statistics."""
        for index in node.outputs[first:]:
            self.put(index, Const())

    # -- operations


def value_of(argument: object) -> int:
    assert isinstance(argument, Ref)
    return argument.value


def constant(state: State) -> bool:
    return isinstance(state, Const) and not state.sampled


def spread(state: State, old: Sequence[int], new: Sequence[int]) -> State:
    """Return the state after broadcasting."""
    if tuple(old) == tuple(new):
        return state
    if isinstance(state, Signal):
        return Signal(state.root, broadcast(state.layout, old, new))
    if isinstance(state, Weight):
        return Weight(
            tuple(
                replace(p, layout=None if p.layout is None else broadcast(p.layout, old, new), where=None)
                for p in state.parts
            )
        )
    return state


def lost(state: State, op: str) -> tuple[Part, ...]:
    assert isinstance(state, Weight)
    return unique([Part(p.leaf, None, (*p.through, op), None, p.role) for p in state.parts])


def guessed(part: Part, tape: Tape, shape: Sequence[int]) -> Part:
    """A computed weight of the parameter's own shape is taken to be aligned with it."""
    own = tape.values[part.leaf].shape
    if tuple(own) == tuple(shape):
        return Part(part.leaf, whole(own), part.through, None, part.role)
    if len(own) == 2 and tuple(own[::-1]) == tuple(shape):
        flat = whole(own)
        return Part(part.leaf, type(flat)(0, flat.dims[::-1]), part.through, None, part.role)
    return part


def unique(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Keep for each parameter the part with a known layout."""
    best: dict[tuple[int, object], Part] = {}
    for part in parts:
        key = (part.leaf, part.where)
        if (
            key not in best
            or (best[key].layout is None and part.layout is not None)
            or (best[key].role and not part.role)
        ):
            best[key] = part
    return tuple(best.values())


def site_of(
    b: Builder,
    node: Node,
    kind: str,
    state: Weight,
    shape: Sequence[int],
    roles: Roles,
    provisional: bool = False,
) -> Site:
    site = Site(
        node.index,
        kind,
        state.parts,
        tuple(shape),
        roles.contracted,
        roles.output,
        roles.batch,
        roles.fan_in,
        roles.fan_out,
        roles.features,
        roles.groups,
        roles.stride,
        provisional,
    )
    b.flow.sites.append(site)
    return site
