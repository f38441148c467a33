"""How much a recurrent layer's last output still depends on what came before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from goodinit.signals.probing.measuring import measuring
from goodinit.signals.probing.sampling import KEPT, spaced

__all__ = ["is_cell", "memory_of_calls", "memory_of_layer", "time_dimension"]


def is_cell(module: nn.Module) -> bool:
    """Is this module meant to be called once for each time step?"""
    return isinstance(module, nn.RNNCellBase) or "cell" in type(module).__name__.lower()


def time_dimension(module: nn.Module | None, output: torch.Tensor) -> int | None:
    """Return the dimension of time in the output of a whole recurrent layer, or None."""
    if not isinstance(module, nn.RNNBase) or output.ndim < 2:
        return None
    return 1 if module.batch_first and output.ndim == 3 else 0


def memory_of_layer(module: nn.RNNBase, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
    """Return E[(∂L/∂x_t)²] by step t of the input, for L = ⟨v, y_T⟩ with v iid N(0, 1).

    Only the last step's output is differentiated, forward direction only, so what
    reaches step t came through T − t steps of recurrence. None where the input is
    outside of the graph.
    """
    time = time_dimension(module, output)
    if time is None or given.ndim != output.ndim or not (given.requires_grad and output.requires_grad):
        return None
    width = module.proj_size or module.hidden_size
    found = _pull(output.select(time, -1)[..., :width], [given])
    if found is None or found[0] is None:
        return None
    with measuring(found[0].device):
        lines = found[0].movedim(time, 0)
        return lines[spaced(len(lines), KEPT)].double().square().flatten(1).mean(dim=1)


def memory_of_calls(outputs: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Return the same for a cell: by call, of the last call's output with respect to earlier ones."""
    if len(outputs) < 2 or not outputs[-1].requires_grad:
        return None
    last = outputs[-1]
    earlier = [output for output in list(outputs)[spaced(len(outputs), KEPT)][:-1] if output.requires_grad]
    found = _pull(last, earlier) if earlier else None
    reached = [gradient for gradient in found or () if gradient is not None]
    if not reached:
        return None
    with measuring(last.device):
        sizes = [gradient.double().square().mean() for gradient in reached]
        return torch.stack([*sizes, torch.ones_like(sizes[0])])


def _pull(output: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor | None, ...] | None:
    generator = torch.Generator().manual_seed(0)
    # Rademacher entries have second moment 1 exactly, so that a short output adds no noise of its own.
    signs = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
    cotangent = signs.to(output.device, output.dtype)
    try:
        return torch.autograd.grad(output, inputs, cotangent, retain_graph=True, allow_unused=True)
    except RuntimeError:
        # Values that the backward pass needs were overwritten; the main pass will say so.
        return None
