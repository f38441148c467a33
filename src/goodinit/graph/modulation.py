"""Weights that another signal scales before they are used, as styles do in a generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

from goodinit.graph.carrying import Builder
from goodinit.graph.flow import Part, Signal, Touch
from goodinit.graph.layout import Layout, whole
from goodinit.graph.tape import Tape

__all__ = ["fitted", "modulated"]

# What may lie between the scaling and the use: a demodulation (a norm), moves, means taken off.
_THROUGH = {"norm", "center", "move", "product", "reduce"}
_STEPS = 8


def modulated(b: Builder, operand: int) -> Touch | None:
    """Return the scaling by which a signal became weights, or None for a signal that is one.

    The scaled parameter then varies along dimensions that the signal has not, and fills the operand
    but for those of the signal.

    Args:
        b: the builder.
        operand: the value that is contracted.
    """
    state = b.state(operand)
    if not isinstance(state, Signal):
        return None
    roots, at = {state.root}, state.root
    for _ in range(_STEPS):
        root = b.flow.roots[at]
        if root.kind not in _THROUGH or not root.links:
            break
        at = root.links[0].root
        roots.add(at)
    size = math.prod(b.tape.values[operand].shape)
    for touch in b.flow.touches:
        if touch.kind == "scale" and touch.on is not None and touch.on.root in roots and touch.fan_out > 1:
            own = math.prod(touch.shape)
            if own > touch.fan_out and size % own == 0:
                return touch
    return None


def fitted(part: Part, tape: Tape, shape: Sequence[int], op: str) -> Part:
    """Return a part as it lies in an operand whose first dimension also counts the examples."""
    own = tape.values[part.leaf].shape
    dims = [dim for dim, size in zip(whole(own).dims, own, strict=True) if size > 1]
    sizes = [size for size in own if size > 1]
    through = (*part.through, op)
    bare = [size for size in shape if size > 1]
    layout = None
    if len(dims) == len(bare) and bare[1:] == sizes[1:] and bare[0] % sizes[0] == 0:
        first = ((bare[0] // sizes[0], 0), *dims[0])
        left = iter((tuple(f for f in first if f[0] > 1), *dims[1:]))
        layout = Layout(0, tuple(next(left) if size > 1 else () for size in shape))
    elif len(dims) + 1 == len(bare) and bare[1:] == sizes:
        left = iter((((bare[0], 0),), *dims))
        layout = Layout(0, tuple(next(left) if size > 1 else () for size in shape))
    return Part(part.leaf, layout, through, None, part.role)
