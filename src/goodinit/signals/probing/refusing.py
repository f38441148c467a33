"""Models and batches that cannot be measured are refused, with the cure."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from goodinit.errors import ExampleError, TensorError, WrongTypeError
from goodinit.graph.nested import tensors

__all__ = ["filled", "measurable"]


def measurable(model: nn.Module) -> None:
    """Refuse a model whose parameters hold no values, or whose layers cannot be watched."""
    _materialised(model)
    _watchable(model)


def _materialised(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise TensorError(
                f"parameter '{name}' is lazy and has no shape yet; run the model once on a real batch, "
                "then check it"
            )
        if parameter.is_meta:
            raise TensorError(
                f"parameter '{name}' is on the meta device and holds no values; materialise the model "
                "(model.to_empty(device='cpu'), then goodinit.initialize(model)), then check it"
            )


def _watchable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise WrongTypeError(
                f"model: {f'its part {name!r}' if name else 'it'} is TorchScript, whose layers cannot be "
                "watched; check the torch.nn.Module that it was made from"
            )
    for name, parameter in model.named_parameters():
        if parameter.is_inference():
            raise TensorError(
                f"parameter '{name}' was made inside torch.inference_mode(), where nothing can be "
                "differentiated; build the model outside of it"
            )


def filled(inputs: Any) -> None:
    """Refuse a batch without samples."""
    first = next((tensor for _, tensor in tensors(inputs)), None)
    if first is not None and first.ndim and not len(first):
        raise ExampleError(
            f"batch: it is empty, of shape {tuple(first.shape)}; give at least one sample (two or more show "
            "whether outputs depend on the input)"
        )
