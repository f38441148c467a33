"""Hooks that measure every layer's output on the way forward and its gradient on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from goodinit.records import LayerSignal, Moments
from goodinit.signals.kinds import ACTIVATION_FUNCTIONS, cuts_to_zero, saturated_share, unit_dimension
from goodinit.signals.moments import moments, varying_part
from goodinit.signals.nested import floating

__all__ = ["Recorder", "canonical", "recorded_modules"]

# Containers that compute nothing, and layers that pass their input on.
_SILENT = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity)


def canonical(name: str) -> str:
    """Return a dotted name without the prefixes that wrappers such as torch.compile insert."""
    return name.replace("_orig_mod.", "")


def recorded_modules(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that count as layers, with their names.

    Leaves, and modules whose own parameters take part (attention with packed
    projections, custom layers with raw parameters, parametrized layers).
    """
    found: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, _SILENT) or ".parametrizations." in f".{name}.":
            continue
        own = any(p is not None for p in module._parameters.values())
        if own or not any(True for _ in module.children()) or "parametrizations" in module._modules:
            found[module] = canonical(name)
    return found


@dataclass
class _Call:
    """One call of a layer while the pass is under way; `gradient` arrives later."""

    signal: LayerSignal
    gradient: Moments | None = None


@dataclass
class Recorder:
    """Collects one record per call of a layer, in order of execution."""

    model: nn.Module
    calls: list[_Call] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _stack: list[tuple[nn.Module, int]] = field(default_factory=list)
    _parametric: int = 0
    _channels: int | None = None

    def signals(self) -> tuple[LayerSignal, ...]:
        """Return the finished records."""
        return tuple(replace(call.signal, gradient=call.gradient) for call in self.calls)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Measure what runs inside; every hook is gone afterwards."""
        layers = recorded_modules(self.model)
        names = {module: canonical(name) for name, module in self.model.named_modules()}
        with ExitStack() as stack:
            for module in names:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                # Also after an exception, which the model may catch.
                leave = module.register_forward_hook(self._leave(layers.get(module)), always_call=True)
                stack.callback(leave.remove)
            stack.enter_context(_Activations(self, names, layers))
            try:
                yield
            finally:
                self._stack.clear()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._stack.append((module, self._parametric))

    def _leave(self, name: str | None) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            _, before = self._stack.pop()
            if name is not None:
                # A block with a raw parameter of its own that runs whole layers inside is no layer.
                parametric = _owns(module) and self._parametric == before
                self.record(
                    name or type(module).__name__, type(module).__name__, module, args, output, parametric
                )

        return hook

    def current(self) -> nn.Module | None:
        """Return the innermost module that is running."""
        return self._stack[-1][0] if self._stack else None

    def record(
        self,
        name: str,
        kind: str,
        module: nn.Module | None,
        args: Any,
        output: Any,
        parametric: bool = False,
    ) -> None:
        """Measure one output and ask for its gradient."""
        found = floating(output)
        if not found:
            return
        tensor = found[0][1]
        kind = kind.removeprefix("Parametrized")
        measured = moments(tensor)
        axis = unit_dimension(kind, tensor, self._channels)
        self._channels = 1 if tensor.ndim >= 3 and axis == 1 else (None if tensor.ndim < 3 else -1)
        zero = tensor.detach() == 0
        if zero.is_sparse:
            zero = zero.to_dense()
        dead = always_on = None
        if cuts_to_zero(kind) and tensor.ndim > 0:
            by_unit = zero.movedim(axis, 0).reshape(zero.shape[axis], -1)
            # Where every unit is zero the input was zero, which says nothing about single units.
            on = ~by_unit[:, ~by_unit.all(dim=0)]
            dead, always_on = int(by_unit.all(dim=1).sum()), int(on.all(dim=1).sum()) if on.numel() else 0
        finite_input = None
        if measured.nonfinite:
            finite_input = all(bool(torch.isfinite(t).all()) for _, t in floating(args) if t is not tensor)
        self._parametric += parametric
        call = self._counts.get(name, 0)
        self._counts[name] = call + 1
        self.calls.append(
            _Call(
                LayerSignal(
                    index=len(self.calls),
                    name=name,
                    kind=kind,
                    call=call,
                    shape=tuple(tensor.shape),
                    output=measured,
                    gradient=None,
                    zeros=float(zero.double().mean()),
                    units=tensor.shape[axis] if tensor.ndim else 1,
                    dead=dead,
                    saturated=None if measured.nonfinite else saturated_share(kind, module, tensor),
                    always_on=always_on,
                    varying=varying_part(tensor),
                    parametric=parametric,
                    finite_input=finite_input,
                )
            )
        )
        if tensor.requires_grad:
            # A hook set now sees the gradient of these values even if a later layer
            # overwrites them in place: it stays with the operation that made them.
            tensor.register_hook(_receive(self.calls[-1]))


def _owns(module: nn.Module) -> bool:
    return any(p is not None for p in module._parameters.values()) or "parametrizations" in module._modules


def _receive(call: _Call) -> Callable[[torch.Tensor], None]:
    def hook(gradient: torch.Tensor) -> None:
        call.gradient = moments(gradient)

    return hook


class _Activations(TorchFunctionMode):
    """Records activation functions called as functions, which module hooks cannot see."""

    def __init__(self, recorder: Recorder, names: dict[nn.Module, str], layers: dict[nn.Module, str]) -> None:
        super().__init__()
        self.recorder, self.names, self.layers = recorder, names, layers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        kind = ACTIVATION_FUNCTIONS.get(func) if isinstance(func, _HASHABLE) else None
        if kind is not None and isinstance(output, torch.Tensor):
            inside = self.recorder.current()
            # A leaf such as nn.ReLU is recorded as itself.
            if (
                inside is None
                or inside not in self.layers
                or any(True for _ in inside.children())
                or _owns(inside)
            ):
                place = self.names.get(inside, "") if inside is not None else ""
                self.recorder.record(f"{place}.{kind}" if place else kind, kind, None, args, output)
        return output


_HASHABLE = (type(torch.relu), type(nn.functional.relu), type(torch.Tensor.relu))
