"""One training step of one member, as a function of tensors and as a graph of ATen operations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functionalize, grad_and_value
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from goodinit.comparing.inputs import Inputs, called, leaves, rebuilt
from goodinit.comparing.members import Layout
from goodinit.comparing.objectives import Objective
from goodinit.comparing.optimizers import Optimizer
from goodinit.comparing.streams import borrowed

__all__ = ["NotStackable", "is_random", "one_step", "plain_kernels", "reason", "refuse_random", "traced"]

aten = torch.ops.aten
functorch: Any = torch._C._functorch

# Beyond torch's core set: these come apart into arithmetic, so that engines need to know fewer operations.
_APART = [
    aten.native_layer_norm,
    aten.native_group_norm,
    aten._native_batch_norm_legit_functional,
    aten.native_batch_norm,
    aten.gelu,
    aten._softmax,
    aten._log_softmax,
    aten.embedding,
    aten.addmm,
    aten.baddbmm,
    aten.leaky_relu,
    aten.leaky_relu_backward,
    aten.elu,
    aten.elu_backward,
    aten.hardtanh,
    aten.hardtanh_backward,
]


class NotStackable(Exception):  # noqa: N818  (it is no error: another engine takes over)
    """Says why members of this model cannot be trained together."""


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Keep torch from choosing fused kernels that its transforms cannot take apart."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with ExitStack() as stack:
        # `torch.backends.mkldnn.flags` does the same, and warns of settings that it does not change.
        stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        fast = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        # Some rare operations are done member by member, which is slow and nothing to warn of.
        stack.callback(functorch._set_vmap_fallback_warning_enabled, True)
        functorch._set_vmap_fallback_warning_enabled(False)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def one_step(
    model: nn.Module, loss: Objective, optimizer: Optimizer, layout: Layout, like: Inputs
) -> Callable[..., list[torch.Tensor]]:
    """Return a function (*state, *scalars, *x, y) -> [*state, loss] that changes nothing it is given.

    `like` are inputs of the form that the tensors x have.
    """
    parts = len(leaves(like))
    count = len(layout.trained) + len(layout.kept) + len(layout.slots) * len(layout.trained)

    def objective(
        trained: dict[str, torch.Tensor], kept: dict[str, torch.Tensor], x: Inputs, y: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # The forward pass may write into buffers (batch norm's statistics): into copies of them.
        kept = {name: value.clone() for name, value in kept.items()}
        output = called(model, x, {**trained, **kept})
        return loss(output, y).reshape(()), kept

    def step(*flat: torch.Tensor) -> list[torch.Tensor]:
        trained, kept, slots = layout.split(flat[:count])
        scalars, x, y = flat[count : -parts - 1], rebuilt(like, flat[-parts - 1 : -1]), flat[-1]
        gradients, (value, after) = grad_and_value(objective, has_aux=True)(
            dict(zip(layout.trained, trained, strict=True)), dict(zip(layout.kept, kept, strict=True)), x, y
        )
        moved: list[torch.Tensor] = []
        states: list[list[torch.Tensor]] = [[] for _ in slots]
        for index, name in enumerate(layout.trained):
            parameter, new = optimizer.update(
                name, trained[index], gradients[name], [slot[index] for slot in slots], scalars
            )
            moved.append(parameter)
            for slot, tensor in zip(states, new, strict=True):
                slot.append(tensor)
        return [*moved, *after.values(), *(tensor for slot in states for tensor in slot), value]

    return step


def traced(function: Callable[..., object], inputs: Sequence[torch.Tensor]) -> GraphModule:
    """Return the operations that a function does on tensors of these shapes; none writes into a tensor.

    Raises:
        NotStackable: if what it does depends on values or on something unseen.
    """
    from torch._decomp import core_aten_decompositions, get_decompositions

    table = {**core_aten_decompositions(), **get_decompositions(_APART)}

    def once() -> GraphModule:
        graph = make_fx(functionalize(function), decomposition_table=table)(*inputs)
        if any(_writes(node.target) for node in graph.graph.nodes):
            # Batch norm comes apart into writes into its buffers, which a second pass removes.
            graph = make_fx(functionalize(graph))(*inputs)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        return graph

    with borrowed(), plain_kernels():
        try:
            first, second = once(), once()
            if first.code != second.code:
                # What a model does at its first call alone is no part of a step.
                first, second = second, once()
        except Exception as error:
            raise NotStackable(reason(error, "trace its step")) from error
    if first.code != second.code:
        raise NotStackable("its forward pass does not do the same twice")
    return first


def _writes(target: object) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.is_mutable


# What torch says, and what that means.
_VALUES = "its control flow or its shapes depend on values"
_REASONS = {
    "tracing tensor": _VALUES,
    "data-dependent": _VALUES,
    "Cannot cast": _VALUES,
    ".item()": _VALUES,
    "dynamic shape": _VALUES,
    "as_strided_scatter": "it changes part of a tensor in place in a way that torch.vmap has no rule for",
    "doesn't have storage": "it takes tensors out of torch (to NumPy, say), where a trace does not see them",
    "setup_context": "it has an autograd.Function without setup_context, which torch.func needs",
    "saved tensor hooks": "it uses checkpointing (hooks on saved tensors), which torch.func does not take",
    "dynamo-optimized": "it was compiled by torch.compile: let build() return the model itself",
}


def reason(error: Exception, doing: str) -> str:
    """Return why torch could not do something for all members, in a line."""
    text = " ".join(str(error).split())
    known = next((meaning for needle, meaning in _REASONS.items() if needle in text), None)
    return known or f"torch cannot {doing} ({type(error).__name__}: {text[:160]})"


def is_random(operation: object) -> bool:
    """Say whether an operation draws from torch's stream."""
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def refuse_random(graph: GraphModule, doing: str) -> GraphModule:
    """Return the graph.

    Raises:
        NotStackable: if it draws random numbers.
    """
    for node in graph.graph.nodes:
        if is_random(node.target):
            name = str(node.target).removesuffix(".default")
            raise NotStackable(f"it draws random numbers while it {doing} ({name})")
    return graph
