"""Random numbers of a step (dropout's, say), drawn before it, for each seed as plain PyTorch draws them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from goodinit.comparing.engines.step import NotStackable, is_random
from goodinit.comparing.streams import begin, borrowed, step_key

__all__ = ["Draw", "draw_for", "taken_out"]


@dataclass(frozen=True)
class Draw:
    """One operation that draws; the values of the tensors that it is given do not matter."""

    operation: Callable[..., torch.Tensor]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def __call__(self) -> torch.Tensor:
        # An operation that writes into its argument returns that.
        return self.operation(*self.arguments, **self.keywords).clone()


def taken_out(graph: GraphModule, forward: Callable[[], object]) -> tuple[GraphModule, tuple[Draw, ...]]:
    """Return the graph with its random numbers as further inputs, and what draws them, in order.

    Args:
        graph: of one member's step; it is left as it was.
        forward: draws what the step draws, in plain PyTorch. How a tensor lies in memory decides which
            of its elements is drawn first, and a graph does not keep that.

    Raises:
        NotStackable: if what is drawn depends on values that only the step knows.
    """
    graph = copy.deepcopy(graph)
    nodes = [node for node in graph.graph.nodes if is_random(node.target)]
    if not nodes:
        return graph, ()
    with borrowed(), _Seen() as seen:
        forward()
    with borrowed():
        draws = tuple(_draw(*each) for each in seen.found)
    if len(draws) != len(nodes):
        raise NotStackable(f"it draws {len(draws)} times in plain PyTorch, {len(nodes)} times when traced")
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    for index, node in enumerate(nodes):
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"drawn_{index}")
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, draws


def draw_for(draws: Sequence[Draw], seeds: Sequence[int], step: int) -> list[torch.Tensor]:
    """Return the random numbers of a step, a row for each seed; torch's stream is left elsewhere."""
    if not draws:
        return []
    found = []
    for seed in seeds:
        begin(step_key(seed, step))
        found.append([draw() for draw in draws])
    return [torch.stack(rows) for rows in zip(*found, strict=True)]


class _Seen(TorchDispatchMode):
    """Remembers the operations that drew, and what they were given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if is_random(func):
            self.found.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def _draw(operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Draw:
    """Return what an operation draws, made sure that it does not depend on the values that it is given."""
    zeros, ones = (
        Draw(operation, *tree_map_only(torch.Tensor, like, (arguments, keywords)))
        for like in (torch.zeros_like, torch.ones_like)
    )
    found = []
    for draw in (zeros, ones):
        begin(0)
        # Where a value may not be 0 or not be 1, values matter.
        with suppress(Exception):
            found.append(draw())
    if len(found) < 2 or not torch.equal(*found):
        raise NotStackable(f"it draws random numbers that depend on values ({operation})")
    return zeros
