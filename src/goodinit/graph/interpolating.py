"""Gates between two signals: how x + g·(y − x) is read, and how large y must be.

The difference is as large as both signals together, and its product with the gate no branch of a residual
stream: x itself is scaled down. Written as the sum x·(1 − g) + y·g, as `torch.lerp` is (see
`goodinit.graph.parting`), each product says what it makes of its own signal.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.utils._pytree import tree_map_only

from goodinit.graph.arrivals import share
from goodinit.graph.attention import carries
from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Link, Root
from goodinit.graph.paths import End, Paths
from goodinit.graph.states import Leaf
from goodinit.graph.tape import Node, Ref, Tape, Value

__all__ = ["balance", "interpolated"]

# What makes numbers between 0 and 1, and what may be done to these before they weigh signals.
_SHARES = {"sigmoid", "hardsigmoid", "_softmax", "_safe_softmax", "softmax"}
_KEPT = {"clone", "_to_copy", "alias", "rsub", "mul", "neg", "add"}
_STEPS = 8
_CLOSE = 1e-6
# All mixes together let a deviation grow by a quarter, as each does by q/4: signals differ in size as it is.
_TOGETHER = 1.0

#: The links of a product to a share and to the signal that it weighs.
_Part = tuple[Link, Link]


@dataclasses.dataclass(frozen=True)
class _Gate:
    """The values of x + g·(y − x), and the nodes of the difference and of its product with g."""

    x: int
    y: int
    g: int
    gone: tuple[Node, Node]


def interpolated(tape: Tape) -> Tape:
    """Return a tape in which every gate between two signals is a sum of two products.

    Args:
        tape: what the run recorded; it is left as it is.
    """
    reads = Counter(index for node in tape.nodes for index in node.inputs)
    reads.update(tape.outputs)
    gates = {node.index: gate for node in tape.nodes if (gate := _gate(tape, node, reads)) is not None}
    return _Copy(tape, gates).made() if gates else tape


def balance(paths: Paths, end: End) -> Callable[[Leaf], float] | None:
    """Return what gives the second moment of results that make y, or the gate, of x·(1 − g) + y·g.

    The mix is as large as x, of second moment 1, if

        E[y²] = (1 − E[(1 − g)²]) / E[g²]

    The larger the signal, the larger are E[g²] and E[(1 − g)²]. If the n mixes of a network are gated by
    sigmoids of second moment q, a deviation grows by about q/4 in each: by a quarter over all if q = 1/n.

    Args:
        paths: the walks over the coarse graph.
        end: where a weight's results go.

    Returns:
        The function; None where the results are neither, or y is not computed later than x.
    """
    if end.kind != "gate":
        return None
    sums = [at for at, _ in paths.readers.get(end.target, ()) if at in _mixes(paths)]
    if not sums:
        return None
    (to_y, y), (to_x, _) = _mixes(paths)[sums[0]]
    if end.links[-1] in (to_y, to_x):
        most = min(1.0, _TOGETHER / len(_mixes(paths)))
        return lambda leaf: most
    if end.links[-1] != y:
        return None

    def moment(leaf: Leaf) -> float:
        of_y, of_x = (share(paths.flow, link, leaf) for link in (to_y, to_x))
        return (1 - of_x) / of_y if of_y > 0 else 0.0

    return moment


def _mixes(paths: Paths) -> dict[int, tuple[_Part, _Part]]:
    """The sums x·(1 − g) + y·g by their values, each as the part of the later signal y and that of x."""
    known = paths.flow.functions
    if "mixes" not in known:
        found = ((value, _mix(paths, root)) for value, root in paths.flow.roots.items() if root.kind == "sum")
        known["mixes"] = {value: parts for value, parts in found if parts is not None}
    return cast("dict[int, tuple[_Part, _Part]]", known["mixes"])


def _mix(paths: Paths, root: Root) -> tuple[_Part, _Part] | None:
    parts = [part for link in root.links if (part := _weighing(paths, link.root)) is not None]
    if len(root.links) != 2 or len(parts) != 2:
        return None
    if parts[0][0].root in (signal.root for _, signal in parts):
        return None  # packed in one parameter, of which one size is known
    depths = [paths.flow.roots[signal.root].depth for _, signal in parts]
    one, other = (link for link, _ in parts)
    functions = [elementwise(paths.flow, [link]) for link in (one, other)]
    if depths[0] == depths[1] or one.root != other.root or one.layout != other.layout or None in functions:
        return None
    values = [function.fingerprint for function in functions if function is not None]
    if any(abs(a + b - 1) > _CLOSE for a, b in zip(*values, strict=True)):
        return None
    later, earlier = parts if depths[0] > depths[1] else parts[::-1]
    return later, earlier


def _weighing(paths: Paths, product: int) -> _Part | None:
    """The links of a product to the share and to the signal that it weighs."""
    root = paths.flow.roots[product]
    if root.kind != "product" or len(root.links) != 2:
        return None
    one, other = root.links
    for gate, value in ((one, other), (other, one)):
        if carries(paths, End("gate", product, (value,))):
            return gate, value
    return None


def _gate(tape: Tape, node: Node, reads: Counter[int]) -> _Gate | None:
    pair = _pair(node, ("add", "sub"))
    for x, product in (pair, pair[::-1]) if pair and node.op.startswith("add") else (pair,) if pair else ():
        by = tape.producer(product)
        factors = _pair(by, ("mul",))
        if by is None or factors is None or reads[product] > 1:
            continue
        for g, between in (factors, factors[::-1]):
            minus = tape.producer(between)
            ends = _pair(minus, ("sub",))
            if minus is None or ends is None or reads[between] > 1 or not _share(tape, g):
                continue
            # x + g·(y − x), or x − g·(x − y).
            y, other = ends if node.op.startswith("add") else ends[::-1]
            if other == x and y != x and tape.values[y].shape == tape.values[x].shape:
                return _Gate(x, y, g, (minus, by))
    return None


def _pair(node: Node | None, ops: tuple[str, ...]) -> tuple[int, int] | None:
    """The two tensors of an operation without a further factor."""
    if node is None or node.op.rstrip("_") not in ops or node.kwargs or len(node.args) != 2:
        return None
    one, other = node.args
    return (one.value, other.value) if isinstance(one, Ref) and isinstance(other, Ref) else None


def _share(tape: Tape, value: int) -> bool:
    """Whether a value lies between 0 and 1, as what a sigmoid or a softmax makes."""
    for _ in range(_STEPS):
        node = tape.producer(value)
        if node is None or not node.inputs:
            return False
        if node.op in _SHARES:
            return True
        if not (node.view or node.op in _KEPT):
            return False
        value = node.inputs[0]
    return False


class _Copy:
    """A tape that is written anew, its nodes and values counted afresh."""

    def __init__(self, tape: Tape, gates: dict[int, _Gate]) -> None:
        self.tape, self.gates, self.new = tape, gates, Tape()
        self.values: dict[int, int] = {}

    def made(self) -> Tape:
        tape, new = self.tape, self.new
        gone = {node.index for gate in self.gates.values() for node in gate.gone}
        at = 0
        for value in tape.values:
            if value.node is None:
                self._value(value, None)
                continue
            while at <= value.node:
                if at not in gone:
                    self._node(tape.nodes[at])
                at += 1
        new.outputs = [self.values[index] for index in tape.outputs]
        new.held = {self.values[index]: tensor for index, tensor in tape.held.items()}
        return new

    def _node(self, node: Node) -> None:
        gate = self.gates.get(node.index)
        if gate is None:
            args, kwargs = tree_map_only(
                Ref, lambda ref: Ref(self.values[ref.value]), (node.args, node.kwargs)
            )
            self._add(node, node.op, node.func, args, kwargs, tuple(self.values[i] for i in node.inputs))
            return
        x, y, g = (self.values[index] for index in (gate.x, gate.y, gate.g))
        rest = self._made(node, "rsub", torch.ops.aten.rsub.Scalar, (Ref(g), 1), self.tape.values[gate.g])
        like = self.tape.values[gate.gone[1].outputs[0]]
        kept = self._made(node, "mul", torch.ops.aten.mul.Tensor, (Ref(x), Ref(rest)), like)
        taken = self._made(node, "mul", torch.ops.aten.mul.Tensor, (Ref(y), Ref(g)), like)
        self._add(node, "add", torch.ops.aten.add.Tensor, (Ref(kept), Ref(taken)), {}, (kept, taken))

    def _made(self, node: Node, op: str, func: Any, args: tuple[Any, ...], like: Value) -> int:
        """Add an operation whose result is like a value, in memory of its own."""
        index = len(self.new.values)
        inputs = tuple(arg.value for arg in args if isinstance(arg, Ref))
        self._append(node, op, func, args, {}, inputs, (index,))
        fresh = dataclasses.replace(like, index=index, slot=0, storage=-1 - index, fill=None)
        self.new.values.append(dataclasses.replace(fresh, node=len(self.new.nodes) - 1))
        return index

    def _add(self, node: Node, op: str, func: Any, args: Any, kwargs: Any, inputs: tuple[int, ...]) -> None:
        first = len(self.new.values)
        outputs = tuple(range(first, first + len(node.outputs)))
        self._append(node, op, func, args, kwargs, inputs, outputs)
        for index in node.outputs:
            self._value(self.tape.values[index], len(self.new.nodes) - 1)

    def _append(
        self, node: Node, op: str, func: Any, args: Any, kwargs: Any, inputs: tuple[int, ...], outputs: Any
    ) -> None:
        made = dataclasses.replace(
            node, index=len(self.new.nodes), op=op, func=func, args=args, kwargs=kwargs
        )
        self.new.nodes.append(dataclasses.replace(made, inputs=inputs, outputs=outputs))

    def _value(self, value: Value, node: int | None) -> None:
        self.values[value.index] = len(self.new.values)
        self.new.values.append(dataclasses.replace(value, index=len(self.new.values), node=node))
