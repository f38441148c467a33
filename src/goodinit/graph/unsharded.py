"""The network behind a model whose parameters lie in parts on several processes."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

__all__ = ["unsharded"]

_DISTRIBUTED = "torch.distributed"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def unsharded(model: nn.Module) -> nn.Module:
    """Return a model of the same layers, whose distributed parameters are whole and have no values.

    Running a sharded model would make it gather: every process would have to take part, and FSDP
    would settle for good what a later call may not change. Here, hooks of `torch.distributed` are
    left out and distributed tensors stand on the meta device in their full shape. All else is
    shared with the model, which is left as it is; a model without distributed tensors is returned.

    Args:
        model: any module.

    >>> plain = nn.Linear(3, 2)
    >>> unsharded(plain) is plain
    True
    """
    if not any(_is_distributed(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return model
    return _twin(model, {})


def _twin(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    if id(module) in known:
        return known[id(module)]  # type: ignore[no-any-return]
    # FSDP puts a class of its own in front of the module's.
    kind = next(each for each in type(module).__mro__ if not each.__module__.startswith(_DISTRIBUTED))
    twin: nn.Module = object.__new__(kind)
    known[id(module)] = twin
    twin.__dict__ = {
        **module.__dict__,
        "_parameters": {name: _whole(each, known) for name, each in module._parameters.items()},
        "_buffers": {name: _whole(each, known) for name, each in module._buffers.items()},
        "_modules": {
            name: each if each is None else _twin(each, known) for name, each in module._modules.items()
        },
        **{name: _own_hooks(module.__dict__[name]) for name in _HOOKS},
    }
    return twin


def _whole(tensor: Any, known: dict[int, Any]) -> Any:
    if tensor is None or not _is_distributed(tensor):
        return tensor
    if id(tensor) not in known:
        whole = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        parameter = isinstance(tensor, nn.Parameter)
        known[id(tensor)] = nn.Parameter(whole, tensor.requires_grad) if parameter else whole
    return known[id(tensor)]


def _is_distributed(tensor: Any) -> bool:
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def _own_hooks(hooks: Any) -> Any:
    def of(hook: Any) -> str:
        while isinstance(hook, functools.partial):
            hook = hook.func
        return getattr(hook, "__module__", "") or ""

    return OrderedDict((key, hook) for key, hook in hooks.items() if not of(hook).startswith(_DISTRIBUTED))
