"""From a tape to the coarse graph, one operation after another."""

from __future__ import annotations

from goodinit.graph import contractions
from goodinit.graph.beside import beside
from goodinit.graph.carrying import COPIES, Builder
from goodinit.graph.combining import pointwise, simple
from goodinit.graph.flow import Const, Flow
from goodinit.graph.moving import copied, joined, view
from goodinit.graph.tape import Node, Tape
from goodinit.graph.weighting import contraction, convolution, grouped, trilinear
from goodinit.graph.whole_layers import attention, embedding, lookup, norm, recurrent, weight_norm

__all__ = ["build"]

_NORMS = ("batch_norm", "layer_norm", "group_norm", "rms_norm", "instance_norm")
_SOFTMAX = {"_softmax", "_safe_softmax", "_log_softmax", "softmax", "log_softmax", "_masked_softmax"}
_ATTENTION = ("_scaled_dot_product", "_flash_attention_forward", "_efficient_attention_forward")
_LOOKUPS = {"index", "index_select", "gather", "_unsafe_index"}
_JOINED = {"cat", "stack", "written"}
# These read only the shape of what they are given, or overwrite it with constants or noise.
_SHAPE_ONLY = {"zero_", "fill_", "fill", "bernoulli_", "bernoulli", "uniform_", "normal_", "random_"}
_SHAPE_ONLY |= {"exponential_", "cauchy_", "geometric_", "log_normal_", "empty", "new_empty_strided"}


def build(tape: Tape, owners: dict[str, str], buffers: dict[int, str] | None = None) -> Flow:
    """Return the coarse graph of a tape.

    Args:
        tape: what the run recorded.
        owners: the module that registers each parameter, by canonical names.
        buffers: the module that registers each buffer, by the buffer's id.
    """
    flow = _built(Flow(tape, owners=owners, buffers=buffers or {}))
    given = beside(flow)
    return _built(Flow(tape, owners=owners, buffers=buffers or {}), given) if given else flow


def _built(flow: Flow, given: frozenset[int] = frozenset()) -> Flow:
    builder, tape = Builder(flow), flow.tape
    for value in tape.values:
        if value.index in given:
            builder.put(value.index, Const(None, True))
        elif value.node is None:
            builder.leaf(value)
        else:
            while builder.done <= value.node:
                visit(builder, tape.nodes[builder.done])
                builder.done += 1
    return builder.flow


def visit(b: Builder, node: Node) -> None:
    """Carry one operation over into the coarse graph."""
    op = node.op
    if node.view:
        view(b, node)
    elif op in _SHAPE_ONLY or op.endswith("_like") or op.startswith("new_"):
        for index in node.outputs:
            b.put(index, Const(b.tape.values[index].fill))
    elif op == "rnn":
        recurrent(b, node)
    elif op == "_weight_norm_interface":
        weight_norm(b, node)
    elif op in COPIES:
        copied(b, node)
    elif op in contractions.CONTRACTIONS:
        contraction(b, node)
    elif op in ("convolution", "_convolution", "convolution_overrideable"):
        convolution(b, node)
    elif op == "_trilinear":
        trilinear(b, node)
    elif op == "_grouped_mm":
        grouped(b, node)
    elif op in ("embedding", "_embedding_bag", "_embedding_bag_forward_only"):
        embedding(b, node)
    elif any(name in op for name in _NORMS) and "backward" not in op:
        norm(b, node)
    elif op in _SOFTMAX:
        simple(b, node, "softmax")
    elif op.startswith(_ATTENTION):
        attention(b, node)
    elif op in _LOOKUPS:
        lookup(b, node)
    elif op in _JOINED:
        joined(b, node)
    elif node.pointwise:
        pointwise(b, node)
    else:
        simple(b, node, "reduce" if node.reduction else "move")
