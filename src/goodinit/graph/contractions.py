"""Operations that contract two tensors, read as index letters, and what that makes of a weight operand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from goodinit.graph.tape import Node, Ref, Tape
from goodinit.theory import bilinear_fans, conv_fans, conv_transpose_fans

__all__ = ["CONTRACTIONS", "Roles", "convolution_roles", "matrix_roles", "named_arguments", "trilinear_roles"]

# Name -> (left operand, right operand, their letters, the result's letters, the addend or None).
CONTRACTIONS: dict[str, tuple[int, int, str, str, str, int | None]] = {
    "mm": (0, 1, "nk", "km", "nm", None),
    "addmm": (1, 2, "nk", "km", "nm", 0),
    "addmm_": (1, 2, "nk", "km", "nm", 0),
    "_addmm_activation": (1, 2, "nk", "km", "nm", 0),
    "bmm": (0, 1, "bnk", "bkm", "bnm", None),
    "baddbmm": (1, 2, "bnk", "bkm", "bnm", 0),
    "baddbmm_": (1, 2, "bnk", "bkm", "bnm", 0),
    "addbmm": (1, 2, "bnk", "bkm", "nm", 0),
    "mv": (0, 1, "nk", "k", "n", None),
    "addmv": (1, 2, "nk", "k", "n", 0),
    "dot": (0, 1, "k", "k", "", None),
    "vdot": (0, 1, "k", "k", "", None),
    "addr": (1, 2, "n", "m", "nm", 0),
    "ger": (0, 1, "n", "m", "nm", None),
    "_int_mm": (0, 1, "nk", "km", "nm", None),
    "_scaled_mm": (0, 1, "nk", "km", "nm", None),
}


@dataclass(frozen=True)
class Roles:
    """The dimensions of a weight operand by what they do, and the fans that follow.

    `features` maps the result's dimensions to the operand's, where they are the same index.
    """

    contracted: tuple[int, ...]
    output: tuple[int, ...]
    batch: tuple[int, ...]
    fan_in: float
    fan_out: float
    features: dict[int, int]
    groups: int = 1
    stride: tuple[int, ...] = ()


def named_arguments(node: Node) -> dict[str, Any]:
    """Return an operation's arguments by the names of its schema."""
    if node.func is None:
        return dict(node.kwargs)
    names = [argument.name for argument in node.func._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def matrix_roles(weight: str, other: str, result: str, shape: Sequence[int]) -> Roles:
    """Return the roles of a weight operand from index letters.

    Args:
        weight: the weight operand's letters.
        other: the other operand's letters.
        result: the result's letters.
        shape: the weight operand's sizes.

    >>> roles = matrix_roles("km", "nk", "nm", (784, 10))
    >>> roles.fan_in, roles.fan_out, roles.contracted, roles.output
    (784.0, 10.0, (0,), (1,))
    """
    contracted = tuple(i for i, c in enumerate(weight) if c in other and c not in result)
    output = tuple(i for i, c in enumerate(weight) if c in result and c not in other)
    batch = tuple(i for i in range(len(weight)) if i not in contracted and i not in output)
    return Roles(
        contracted,
        output,
        batch,
        float(math.prod(shape[i] for i in contracted)),
        float(math.prod(shape[i] for i in output)),
        {result.index(weight[i]): i for i in (*output, *batch) if weight[i] in result},
    )


def convolution_roles(node: Node, tape: Tape) -> Roles:
    """Return the roles of a convolution's kernel, transposed or not, with groups and stride."""
    named = named_arguments(node)
    signal, kernel = (tape.values[named[key].value].shape for key in ("input", "weight"))
    groups, transposed = int(named["groups"]), bool(named["transposed"])
    taps = kernel[2:]
    steps = tuple(int(s) for s in named["stride"])
    stride = steps * len(taps) if len(steps) == 1 else steps
    space = tuple(range(2, len(kernel)))
    into = signal[len(signal) - len(taps) - 1]
    if transposed:
        fans = conv_transpose_fans(into, kernel[1] * groups, taps, groups, stride)
        features = {1: 1} if groups == 1 else {}
        return Roles((0, *space), (1,), (), fans.fan_in, fans.fan_out, features, groups, stride)
    fans = conv_fans(into, kernel[0], taps, groups, stride)
    return Roles((1, *space), (0,), (), fans.fan_in, fans.fan_out, {1: 0}, groups, stride)


def trilinear_roles(node: Node, tape: Tape) -> Roles:
    """Return the roles of the weight (out, in1, in2) of a bilinear layer."""
    shape = tape.values[_value(node.args[1])].shape
    fans = bilinear_fans(shape[1], shape[2], shape[0])
    result = tape.values[node.outputs[0]].shape
    return Roles((1, 2), (0,), (), fans.fan_in, fans.fan_out, {len(result) - 1: 0})


def _value(argument: Any) -> int:
    assert isinstance(argument, Ref)
    return argument.value
