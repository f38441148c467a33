"""What a trace meets in a model that is no mistake of the example: lost numbers, and calls for gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from goodinit.graph.places import Place, canonical_modules

__all__ = ["spoilt", "without_gradients"]

# What autograd says to code that asks for gradients of what ran without them.
_ASKED = ("does not require grad", "does not have a grad_fn", "requires_grad=True")


def spoilt(model: nn.Module, found: Sequence[Place]) -> list[str]:
    """Tell of NaN in buffers, and of NaN or infinity in frozen parameters: what no plan will overwrite.

    Args:
        model: the model, before or after its run.
        found: its parameters.
    """
    notes = []
    for name, buffer in _buffers(model):
        # Infinity in a buffer may be a mask.
        if _numbers(buffer) and bool(torch.isnan(buffer).any()):
            notes.append(f"the buffer {name!r} holds NaN, and so will what is computed from it")
    for place in found:
        frozen = place.parameter.detach()
        if not place.parameter.requires_grad and _numbers(frozen) and not bool(torch.isfinite(frozen).all()):
            value = "NaN" if bool(torch.isnan(frozen).any()) else "infinity"
            notes.append(f"the frozen parameter {place.name!r} holds {value}, and no plan overwrites it")
    return notes


def without_gradients(error: Exception) -> str:
    """Say that a trace runs without gradients, where code that asks for them failed; else ``""``."""
    if not any(word in str(error) for word in _ASKED):
        return ""
    return (
        "The trace runs without gradients: leave backward() and autograd.grad() out of forward, "
        "for instance behind `if torch.is_grad_enabled()`. "
    )


def _buffers(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    for module_name, module, _ in canonical_modules(model):
        for local, buffer in module.named_buffers(recurse=False):
            yield f"{module_name}.{local}" if module_name else local, buffer


def _numbers(tensor: Tensor) -> bool:
    """Whether a tensor holds real or complex numbers that can be read."""
    known = tensor.is_floating_point() or tensor.is_complex()
    return (
        known
        and type(tensor) in (Tensor, nn.Parameter)
        and not tensor.is_meta
        and tensor.layout is torch.strided
    )
