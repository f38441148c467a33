"""Start values of buffers that are on the meta device."""

from __future__ import annotations

import copy

import torch
from torch import nn

from goodinit.errors import TensorError
from goodinit.graph.places import canonical_modules

__all__ = ["buffer_values"]

_NORM_BUFFERS = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}


def buffer_values(model: nn.Module, seed: int) -> list[tuple[nn.Module, str, torch.Tensor]]:
    """Return (module, local name, value on the CPU) of every buffer on the meta device; nothing is changed.

    Known are the statistics of norm layers, and what the model itself sets: a class of transformers has
    ``_init_weights(module)``, which computes, for example, the frequencies of rotary embeddings.

    Args:
        model: any module.
        seed: of buffers that the model draws at random.

    Raises:
        TensorError: if a buffer has no known start value; it names them.
    """
    values: list[tuple[nn.Module, str, torch.Tensor]] = []
    unknown: list[str] = []
    for name, module, _ in canonical_modules(model):
        asked = {local: buffer for local, buffer in module._buffers.items() if buffer is not None}
        asked = {local: buffer for local, buffer in asked.items() if buffer.is_meta}
        if not asked:
            continue
        norm = isinstance(module, nn.modules.batchnorm._NormBase)
        known = {
            local: torch.full_like(buffer, _NORM_BUFFERS[local], device="cpu")
            for local, buffer in asked.items()
            if norm and local in _NORM_BUFFERS
        }
        if len(known) < len(asked):
            known |= _as_the_model_sets(model, name, module, set(asked) - set(known), seed)
        values += [(module, local, value) for local, value in known.items()]
        unknown += [f"{name}.{local}" if name else local for local in asked if local not in known]
    if unknown:
        raise TensorError(
            f"{len(unknown)} buffers on the meta device have values that only their model knows: "
            f"{', '.join(unknown[:8])}. Build these on a real device (torch.device('meta') around the "
            "parameters alone), or build the whole model with real memory"
        )
    return values


def _as_the_model_sets(
    model: nn.Module, name: str, module: nn.Module, locals_: set[str], seed: int
) -> dict[str, torch.Tensor]:
    """What ``_init_weights`` of the nearest module around this one writes into its buffers.

    It runs twice on a copy, over zeros and over ones: what comes out the same was written.
    """
    parts = name.split(".") if name else []
    around = [model.get_submodule(".".join(parts[:depth])) for depth in range(len(parts), -1, -1)]
    author = next((owner for owner in around if callable(getattr(owner, "_init_weights", None))), None)
    # Parameters without memory cannot be written by what is not ours.
    if author is None or any(not parameter.is_meta for parameter in module.parameters()):
        return {}
    outcomes: list[dict[str, torch.Tensor]] = []
    for start in (0, 1):
        stand_in = copy.copy(module)
        stand_in.__dict__["_buffers"] = dict(module._buffers) | {
            local: torch.full_like(module._buffers[local], start, device="cpu")  # type: ignore[arg-type]
            for local in locals_
        }
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
            torch.manual_seed(seed)
            try:
                author._init_weights(stand_in)  # type: ignore[operator]
            except Exception:  # someone else's code; the error names the buffers that stay unknown
                return {}
        outcomes.append({local: stand_in._buffers[local] for local in locals_})  # type: ignore[misc]
    first, second = outcomes
    return {
        local: first[local]
        for local in locals_
        if first[local] is not None and not first[local].is_meta and torch.equal(first[local], second[local])
    }
