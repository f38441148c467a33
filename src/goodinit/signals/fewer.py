"""Some inputs of a batch that stand for all of them, where following every one would cost too much."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from goodinit.graph.examples import Example
from goodinit.graph.nested import floating, map_tensors, tensors

__all__ = ["Share", "fewer"]

# Numbers that layers put out and that are followed: each costs some 60 bytes and 0.2 µs.
_NUMBERS = 1 << 23
_FEWEST = 4


class Share(NamedTuple):
    """How many inputs were taken, and of how many."""

    taken: int
    of: int

    def noise(self, q: Tensor) -> float:
        """Return the variance of log mean second moment that taking some of the inputs adds.

        The variance of a mean of n of N values, (1 − n/N) Var[q]/n, over the squared mean. Inputs are
        taken evenly over their sizes, so that it is an upper bound where size is what tells them apart.
        """
        if self.taken == self.of or q.ndim == 0 or q.shape[0] % self.taken:
            return 0.0
        means = q.detach().reshape(self.taken, -1).mean(1)
        mean = float(means.mean())
        return (1 - self.taken / self.of) * float(means.var()) / self.taken / mean**2 if mean > 0 else 0.0


def fewer(model: nn.Module, example: Example) -> tuple[Example, Share] | None:
    """Return as many inputs of a batch as a budget allows, of all sizes evenly; None where all fit.

    One forward pass counts what layers put out. A batch is cut only where all of its tensors agree in
    their first dimension; with recurrent layers that take time first, that is no batch.

    Args:
        model: runs once, without autograd.
        example: what it is run on.
    """
    count = _inputs(example)
    if count <= _FEWEST or any(isinstance(m, nn.RNNBase) and not m.batch_first for m in model.modules()):
        return None
    taken = max(_FEWEST, int(count * _NUMBERS / max(_put_out(model, example), 1)))
    if taken >= count:
        return None
    chosen = _evenly(example, count, taken)
    args, kwargs = map_tensors((example.args, example.kwargs), lambda t: t[chosen.to(t.device)])
    return replace(example, args=args, kwargs=kwargs), Share(taken, count)


def _inputs(example: Example) -> int:
    shapes = {tensor.shape[:1] for _, tensor in tensors((example.args, example.kwargs))}
    return next(iter(shapes))[0] if len(shapes) == 1 and shapes != {torch.Size([])} else 0


def _put_out(model: nn.Module, example: Example) -> int:
    sizes: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        sizes.append(sum(tensor.numel() for _, tensor in floating(output)))

    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if not any(module.children()):
                stack.callback(module.register_forward_hook(count).remove)
        model(*example.args, **example.kwargs)
    return sum(sizes)


def _evenly(example: Example, count: int, taken: int) -> Tensor:
    """Places of inputs in the middle of equal parts of all, ordered by second moment; in their own order."""
    first = next(tensor for _, tensor in tensors((example.args, example.kwargs)))
    sizes = first.detach().reshape(count, -1).abs().double().square().mean(1)
    middles = ((torch.arange(taken, dtype=torch.float64) + 0.5) * count / taken).long()
    return sizes.cpu().argsort(stable=True)[middles].sort().values
