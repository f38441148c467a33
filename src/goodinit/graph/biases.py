"""The numbers with which biases and gains start, where a replay needs them: steps, gates, constants."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from goodinit.graph.flow import Flow, Root, Weight
from goodinit.graph.paths import parameter_names
from goodinit.graph.states import Leaf

__all__ = ["bias_of", "start_of"]

# A layer's constructor draws within ±1/√fan_in, at most 1; an author's own numbers lie beyond.
_DRAWN = 1.0


def start_of(flow: Flow, index: int, leaf: Leaf) -> Tensor | None:
    """Return the numbers with which a bias or a gain starts; None for other parameters.

    Args:
        flow: the coarse graph.
        index: the parameter's value.
        leaf: asked for the range of the numbers, NaN where that says nothing.
    """
    value, held = flow.tape.values[index], flow.tape.held.get(index)
    if not value.name:
        return None
    low, high = (leaf(end, (value.name,)) for end in ("low", "high"))
    if not math.isfinite(low + high):
        return None
    if low == high:
        return torch.full(value.shape, low, dtype=value.dtype)
    if held is not None and held.device.type != "meta" and bool((held.detach().abs() > _DRAWN).any()):
        return held.detach().cpu()
    spread = torch.rand(value.shape, generator=torch.Generator().manual_seed(0))
    return (low + (high - low) * spread).to(value.dtype)


def bias_of(flow: Flow, root: Root, leaf: Leaf) -> Tensor | None:
    """Return what an operation adds to a weight's results itself, as they lie in these; None for zeros.

    Args:
        flow: the coarse graph.
        root: the weight's results.
        leaf: as `start_of` takes it; what kept weights put out is counted with their biases.
    """
    if root.site is None or root.node is None or root.kind != "weight":
        return None
    if leaf("kept", parameter_names(flow, root.site.parts)) > 0:
        return None
    rank = len(flow.tape.values[root.value].shape)
    for index in flow.tape.nodes[root.node].inputs:
        state, shape = flow.states[index], flow.tape.values[index].shape
        vector = len(shape) == 1 and shape != root.site.shape
        if vector and isinstance(state, Weight) and len(state.parts) == 1:
            made = start_of(flow, state.parts[0].leaf, leaf)
            if made is not None and made.shape == shape and bool(made.any()):
                channels = root.site.kind in ("convolution", "conv_transpose")
                return made.reshape(-1, *[1] * (rank - 2)) if channels else made
    return None
