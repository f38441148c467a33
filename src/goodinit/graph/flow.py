"""The values of a tape sorted by what they carry: a signal, weights alone, or constants.

A signal is described by its root: the last value that was not just an elementwise
function, a view or a copy of one earlier value. Roots and the links between them
form the coarse graph that the rest of the room reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from goodinit.graph.layout import Layout
from goodinit.graph.tape import Node, Tape

__all__ = ["Const", "Flow", "Link", "Part", "Root", "Signal", "Site", "State", "Touch", "Weight"]


@dataclass(frozen=True)
class Part:
    """A parameter inside a value made of weights alone.

    Attributes:
        leaf: the parameter's value.
        layout: which of its elements, dimension by dimension; None where that was lost.
        through: operations that changed its values on the way.
        where: (dimension, start, length) of the value that it fills, or None for all.
        role: ``"scale"`` or ``"shift"`` where it only scales or shifts another weight.
        inner: where the value is a product of weights, the dimension of the value towards which
            each sum over this parameter lies, and the factors of the parameter's dimension that
            is summed over; `layout` then has the other dimensions alone.
    """

    leaf: int
    layout: Layout | None
    through: tuple[str, ...] = ()
    where: tuple[int, int, int] | None = None
    role: str = ""
    inner: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = ()


@dataclass(frozen=True)
class Signal:
    """An elementwise function of the elements of a root that the layout names."""

    root: int
    layout: Layout


@dataclass(frozen=True)
class Weight:
    """Made of parameters and constants only."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Const:
    """Neither signal nor weight; `sampled` where it depends on the example (token ids, masks)."""

    fill: float | None = None
    sampled: bool = False


State = Signal | Weight | Const


@dataclass(frozen=True)
class Link:
    """A root reads another: `value` is what arrives, as a function of the elements in `layout`."""

    root: int
    layout: Layout
    value: int
    part: str = ""


@dataclass
class Site:
    """One operation that contracts weights with a signal, or looks them up.

    `contracted`, `output` and `batch` are dimensions of the weight operand; `features`
    maps a dimension of the result to the operand's dimension that it runs along.
    """

    node: int
    kind: str
    parts: tuple[Part, ...]
    shape: tuple[int, ...]
    contracted: tuple[int, ...]
    output: tuple[int, ...]
    batch: tuple[int, ...]
    fan_in: float
    fan_out: float
    features: dict[int, int]
    groups: int = 1
    stride: tuple[int, ...] = ()
    provisional: bool = False


@dataclass(frozen=True)
class Touch:
    """Weights that scale or shift a signal, or are joined to it in some other way."""

    node: int
    kind: str
    parts: tuple[Part, ...]
    shape: tuple[int, ...]
    on: Link | None
    fan_out: float = 1.0
    batch: tuple[int, ...] = ()


@dataclass
class Root:
    """Where a signal begins. `kind` is one of

    ``data``, ``weight``, ``embedding``, ``learned`` (a parameter used as a signal),
    ``recurrent``, ``norm``, ``softmax``, ``interaction`` (a product of two signals that
    sums over a dimension), ``attention``, ``residual``, ``sum``, ``product``, ``center``
    (minus its own mean), ``reduce``, ``move`` (data moved, pooled or joined), ``generated`` (an
    interaction with weights that the network makes itself).
    `sums` is how many products an interaction adds up, `names` the parameters of a recurrent layer,
    or of the layer that makes generated weights.
    """

    value: int
    kind: str
    links: list[Link]
    node: int | None
    depth: int
    site: Site | None = None
    op: str = ""
    module: str = ""
    projected: bool = False
    sums: float = 1.0
    names: tuple[str, ...] = ()


@dataclass
class Flow:
    """The coarse graph of a tape."""

    tape: Tape
    states: list[State] = field(default_factory=list)
    roots: dict[int, Root] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    buffers: dict[int, str] = field(default_factory=dict)
    functions: dict[object, object] = field(default_factory=dict)

    def between(self, value: int, root: int) -> list[Node]:
        """Return the operations that make a value from its root, in order."""
        seen: set[int] = set()
        nodes: set[int] = set()
        todo = [value]
        while todo:
            current = todo.pop()
            if current == root or current in seen:
                continue
            seen.add(current)
            node = self.tape.producer(current)
            if node is None:
                continue
            nodes.add(node.index)
            for item in node.inputs:
                state = self.states[item]
                if isinstance(state, Signal) and state.root == root:
                    todo.append(item)
        return [self.tape.nodes[i] for i in sorted(nodes)]
