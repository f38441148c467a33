"""The second moment that a normalization itself puts out: 1, or 1/d where it divides by a vector's length."""

from __future__ import annotations

import functools
import math
from typing import Any, cast

import torch
from torch import Tensor

from goodinit.graph.expressions import replayed
from goodinit.graph.flow import Flow, Link, Root
from goodinit.graph.tape import Node, Ref

__all__ = ["norm_size"]

_NUMBERS = 1 << 16


def norm_size(flow: Flow, value: int) -> float:
    """Return the second moment of a normalization's result, by replaying what was recorded on samples.

    Args:
        flow: the coarse graph.
        value: the normalization's root.
    """
    key = ("norm size", value)
    if key not in flow.functions:
        try:
            found = _measured(flow, flow.roots[value])
        except Exception:  # recorded code that cannot be replayed on its own
            found = 1.0
        flow.functions[key] = found if math.isfinite(found) and found > 0 else 1.0
    return cast("float", flow.functions[key])


def _measured(flow: Flow, root: Root) -> float:
    if root.kind != "norm" or root.node is None or len(root.links) != 2:
        return 1.0
    signal, measure = root.links
    reduced = flow.roots[measure.root]
    count = _elements(flow, reduced.links[0].value) / _elements(flow, measure.root)
    maker = flow.tape.producer(measure.root)
    if maker is None or len(reduced.links) != 1 or not 1 < count <= _NUMBERS:
        return 1.0
    x = _samples(int(count))
    size = _reduced(maker, _along(flow, reduced.links[0], x))
    if size is None:
        return 1.0
    arguments = {signal.value: _along(flow, signal, x), measure.value: _along(flow, measure, size)}
    node = flow.tape.nodes[root.node]
    out = node.func(*(arguments[a.value] if isinstance(a, Ref) else a for a in node.args))
    found = float(out.square().mean())
    # Rounded like samples; a constant beside the root of a size, such as ε, is no digit of it.
    return 1.0 if abs(found - 1.0) < 0.1 else float(f"{found * count:.2g}") / count


@functools.lru_cache(maxsize=4)  # a deep model asks for the same width in every block
def _samples(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_NUMBERS // count, count, generator=generator, dtype=torch.float64)


def _elements(flow: Flow, value: int) -> int:
    return math.prod(flow.tape.values[value].shape)


def _along(flow: Flow, link: Link, x: Tensor) -> Tensor:
    nodes = tuple(node for node in flow.between(link.value, link.root) if node.pointwise)
    return replayed(flow, nodes, link)(x) if nodes else x


def _reduced(node: Node, x: Tensor) -> Tensor | None:
    """The sizes of rows by the operation that measured them; None for others."""
    op = node.op
    if op in ("sum", "mean"):
        return cast("Tensor", getattr(x, op)(-1, keepdim=True))
    if op in ("linalg_vector_norm", "norm"):
        order: Any = next((a for a in node.args[1:2] if isinstance(a, int | float)), 2)
        return cast("Tensor", torch.linalg.vector_norm(x, order, -1, keepdim=True))
    if op in ("var", "std"):
        return cast("Tensor", getattr(x, op)(-1, keepdim=True))
    return x.abs().amax(-1, keepdim=True) if op in ("amax", "max") else None
