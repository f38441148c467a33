"""Which building blocks a forward pass used, read from its autograd graph.

Names of modules cannot tell: a residual sum is a plain ``+`` in someone's forward,
a norm may be three tensor operations. The graph has them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["structure", "untouched_norms"]

_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "RmsNorm", "RMSNorm", "Rsqrt", "InstanceNorm")


def structure(outputs: Iterable[torch.Tensor]) -> tuple[str, ...]:
    """Return which of "attention", "normalised", "recurrent" and "residual" the graph shows.

    A graph is residual with two or more sums or concatenations of computed values
    (a bias does not count: it is a leaf). A softmax counts as attention unless it
    is the output itself.

    >>> x = torch.ones(2, requires_grad=True)
    >>> structure([torch.nn.functional.layer_norm(x, (2,))])
    ('normalised',)
    """
    seen: set[Any] = set()
    roots = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    todo = list(roots)
    joins, found = 0, set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node.name()
        nexts = [each for each, _ in node.next_functions if each is not None]
        todo.extend(nexts)
        if name.startswith(("AddBackward", "CatBackward")):
            joins += sum(not _leaf(each) for each in nexts) >= 2
        elif any(norm in name for norm in _NORMS):
            found.add("normalised")
        elif "ScaledDotProduct" in name or (name.startswith("SoftmaxBackward") and node not in roots):
            found.add("attention")
        elif any(part in name for part in ("Rnn", "Lstm", "Gru", "RNN", "LSTM", "GRU")):
            found.add("recurrent")
    if joins >= 2:
        found.add("residual")
    return tuple(sorted(found))


def _leaf(node: Any) -> bool:
    # A parameter, possibly reshaped to broadcast.
    while len(node.next_functions) == 1 and node.name().startswith(
        ("View", "Expand", "Unsqueeze", "TBackward")
    ):
        following = node.next_functions[0][0]
        if following is None:
            return True
        node = following
    return bool(node.name().endswith("AccumulateGrad"))


def untouched_norms(model: nn.Module) -> tuple[str, ...]:
    """Return the norms that run in eval mode on running statistics of no batch, mean 0 and variance 1.

    >>> untouched_norms(nn.Sequential(nn.BatchNorm1d(2)).eval())
    ('0',)
    """
    return tuple(
        name or type(model).__name__
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        and not module.training
        and module.running_mean is not None
        and module.running_var is not None
        and not bool(module.running_mean.any())
        and bool((module.running_var == 1).all())
    )
