"""What gates and routers leave of a residual branch: the second moment of Σ p·y for unit results y.

A gate multiplies what a weight puts out before it is added: a router's shares p of its experts, or a
sigmoid. Independent results of second moment 1 then add Σ E[p²]. How p comes about (softmax, top-k,
renormalised or not, factors, masks) is not recognised but run: the recorded operations between the
logits and the product are repeated on Gaussian logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from goodinit.graph.attention import gate_part
from goodinit.graph.expressions import elementwise
from goodinit.graph.flow import Link, Root
from goodinit.graph.forms import form_of
from goodinit.graph.paths import End, Paths, walk_back
from goodinit.graph.recorder import written_by
from goodinit.graph.tape import Node, Ref

__all__ = ["Mixture", "Mixtures"]

_ADDING = {"move", "sum", "mixed", "reduce"}
_PICKS = {"index", "_unsafe_index", "index_select"}
_COPIES = {"clone", "_to_copy"}
_GATING = {"move", "sum", "mixed", "reduce", "center", "softmax", "product"}
# Enough rows of logits for about a hundredth, and no more numbers than a moment's work.
_ROWS, _NUMBERS, _REPEATS = 4096, 1 << 22, 256


@dataclass(frozen=True)
class Mixture:
    """The parts of one residual branch: how many there are, and for each product Σ E[p²] of its gates."""

    parts: int
    moments: dict[int, float]


@dataclass
class Mixtures:
    """The mixtures of a coarse graph, each found once."""

    paths: Paths
    found: dict[int, Mixture | None] = field(default_factory=dict)
    measured: dict[object, float] = field(default_factory=dict)

    def __call__(self, link: Link) -> Mixture | None:
        """Return what is mixed into a branch, or None where no gate weighs a part of it.

        Args:
            link: the link from the addition to the branch.
        """
        if link.value not in self.found:
            self.found[link.value] = self._mixture(link)
        return self.found[link.value]

    def left(self, product: int, end: End) -> float:
        """Return the second moment that a product's gates and the factors after it leave of unit results.

        Args:
            product: the product's root.
            end: the addition into the residual stream that it goes into.
        """
        mixture = self(end.links[-1])
        moment = 1.0 if mixture is None else mixture.moments.get(product, 1.0)
        factor = elementwise(self.paths.flow, end.links)
        if factor is not None and factor.linear:
            moment *= float(factor(torch.ones(1, dtype=torch.float64))) ** 2
        return moment if math.isfinite(moment) and moment > 0 else 1.0

    def _mixture(self, link: Link) -> Mixture | None:
        roots = self.paths.flow.roots
        ends = [at for at in walk_back(self.paths.flow, [link], _ADDING) if roots[at].kind not in _ADDING]
        groups: dict[frozenset[int], list[tuple[int, Link]]] = {}
        plain = 0
        for at in ends:
            gate = self._gate(roots[at])
            if gate is None:
                plain += 1
            else:
                groups.setdefault(self._leaves([gate]), []).append((at, gate))
        if not groups:
            return None
        size = self._distinct(link.value)
        moments = {}
        for members in groups.values():
            moment = self._moment(members, size)
            moments.update({at: moment for at, _ in members})
        return Mixture(plain + len(groups), moments)

    def _gate(self, root: Root) -> Link | None:
        """The link of a product to what weighs the other, None where neither does."""
        product = root.kind == "product" or (
            root.kind == "interaction" and root.value not in self.paths.logits | self.paths.mixes
        )
        links = [link for link in root.links if link.part != "statistic"]
        if not product or len(links) != 2:
            return None
        gates = [link for link in links if gate_part(self.paths, End("gate", root.value, (link,))) == "gate"]
        return gates[0] if len(gates) == 1 else None

    def _leaves(self, links: Iterable[Link]) -> frozenset[int]:
        flow = self.paths.flow
        return frozenset(at for at in walk_back(flow, links, _GATING) if flow.roots[at].kind not in _GATING)

    def _distinct(self, value: int) -> int:
        found = self.paths.flow.tape.values[value]
        return math.prod(n for n, step in zip(found.shape, found.stride, strict=True) if step or n == 0)

    # -- Σ E[p²]

    def _moment(self, members: list[tuple[int, Link]], size: int) -> float:
        tape, roots = self.paths.flow.tape, self.paths.flow.roots
        gates: dict[int, float] = {}
        for at, gate in members:
            # What one number of the gate multiplies; the branch has so many rows of that length.
            width = math.prod(tape.values[at].shape) * roots[at].sums / max(self._distinct(gate.value), 1)
            if width > 0:  # an expert that no row chose
                gates[self._whole(gate.value)] = size / width
        order = self._order(gates)
        if order is None or not gates:
            return 1.0
        nodes, leaves = order
        numbers = sum(math.prod(tape.values[i].shape) for node in nodes for i in node.outputs)
        numbers += sum(math.prod(tape.values[leaf].shape) for leaf in leaves)
        if numbers > _NUMBERS:
            return 1.0
        # Layer after layer has the same router: one answer for all that read the same.
        ends = set(leaves)
        key = (
            form_of(
                tape,
                gates,
                lambda i: () if i in ends or (made := tape.producer(i)) is None else made.inputs,
                lambda i: "drawn" if i in ends else None,
            ),
            tuple(gates.values()),
        )
        if key not in self.measured:
            self.measured[key] = self._sampled(nodes, leaves, gates)
        return self.measured[key]

    def _whole(self, value: int) -> int:
        """The shares of all experts, where a loop picks for each expert the rows that chose it."""
        tape, found, at = self.paths.flow.tape, value, value
        while (node := tape.producer(at)) is not None and node.inputs:
            below = node.inputs[0]
            picked = node.op in _PICKS and any(self._counted(other) for other in node.inputs[1:])
            if not (picked or node.view or node.op in _COPIES):
                break
            # Each pick may read another view of the same shares.
            if picked or (found != value and self._distinct(below) == self._distinct(found)):
                found = below
            at = below
        return found

    def _counted(self, value: int) -> bool:
        """Whether positions were read off the data, as ``torch.where(mask)`` does."""
        tape = self.paths.flow.tape
        while (node := tape.producer(value)) is not None and node.inputs:
            if node.op in ("nonzero", "nonzero_static"):
                return True
            if not (node.view or node.op in _COPIES | _PICKS):
                break
            value = node.inputs[0]
        return False

    def _order(self, targets: Iterable[int]) -> tuple[list[Node], list[int]] | None:
        """The operations from Gaussian leaves to values, in order, and the leaves that they need."""
        tape, roots = self.paths.flow.tape, self.paths.flow.roots
        nodes: dict[int, Node] = {}
        needed: dict[int, None] = {}
        todo, seen = list(targets), set()
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            node = tape.producer(value)
            if value in roots and roots[value].kind not in _GATING:
                needed[value] = None
            elif node is not None:
                if node.func is None or len(nodes) > _NUMBERS >> 10:
                    return None
                nodes[node.index] = node
                todo.extend(node.inputs)
        return [nodes[index] for index in sorted(nodes)], sorted(needed)

    def _sampled(self, nodes: list[Node], leaves: list[int], gates: dict[int, float]) -> float:
        generator = torch.Generator().manual_seed(0)
        total, done = 0.0, 0
        rows = max(min(gates.values()), 1.0)
        for _ in range(_REPEATS):
            try:
                values = self._run(nodes, leaves, generator)
            except Exception:  # recorded code that cannot be repeated on its own
                return 1.0
            total += sum(float(values[gate].double().square().sum()) / of for gate, of in gates.items())
            done += 1
            if done * rows >= _ROWS:
                break
        found = total / done
        return float(f"{found:.3g}") if math.isfinite(found) and found > 0 else 1.0

    def _run(self, nodes: list[Node], leaves: list[int], generator: torch.Generator) -> dict[int, Tensor]:
        tape = self.paths.flow.tape
        values: dict[int, Tensor] = {
            leaf: torch.randn(tape.values[leaf].shape, generator=generator) for leaf in leaves
        }

        def read(index: int, node: Node) -> Tensor:
            if index in values:
                return values[index]
            value = tape.values[index]
            if value.fill is not None:
                return torch.full(value.shape, value.fill, dtype=value.dtype)
            if value.origin != "parameter" and index in tape.held:
                return tape.held[index].detach().cpu()
            if value.origin in ("parameter", "constant") and value.dtype.is_floating_point:
                # Biases begin at 0 and gains at 1.
                return torch.full(value.shape, float(node.op.rstrip("_") in ("mul", "div")))
            raise LookupError(f"value {index} is not known")

        for node in nodes:

            def filled(argument: Any, node: Node = node) -> Any:
                if isinstance(argument, torch.device):
                    return torch.device("cpu")
                if not isinstance(argument, Ref):
                    return argument
                found = read(argument.value, node)
                return found.clone() if written_by(node.func, node.args, node.kwargs) else found

            args, kwargs = tree_map(filled, (node.args, node.kwargs))
            result = node.func(*args, **kwargs)
            made = result if isinstance(result, list | tuple) else [result]
            values.update({index: made[tape.values[index].slot] for index in node.outputs})
        return values
