"""Hooks that hear one training step: armed before it, gone after it, deaf to evaluation."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from goodinit.graph.nested import floating
from goodinit.graph.places import canonical_modules
from goodinit.records import LayerStep
from goodinit.signals.monitoring.quick import alive_units, fetched, rounded, squared_norm
from goodinit.signals.probing.kinds import cuts_to_zero, saturated, unit_dimension
from goodinit.signals.probing.operations import transformed
from goodinit.signals.probing.recorder import recorded_modules
from goodinit.signals.probing.sharded import local

__all__ = ["Listener", "compiled_modules", "short"]

# Calls of one module within one pass that are measured: a loop over time steps has thousands.
_MOST_CALLS = 64
# Calls held while nobody ends the step; a step of 1,000 passes through 150 layers has fewer.
_MOST_HELD = 200_000


@dataclass
class _Call:
    """What one call of a layer put out; sizes stay on the device until the step ends."""

    key: tuple[str, int]
    kind: str
    axis: int
    weight: bool
    output: torch.Tensor
    count: int
    units: int
    alive: torch.Tensor | None
    saturated: torch.Tensor | None
    again: bool
    gradient: torch.Tensor | None = None
    reached: torch.Tensor | None = None

    @property
    def counts(self) -> bool:
        """False for a checkpointed call that backward ran once more only to have its values."""
        return self.gradient is not None or not self.again


@dataclass
class _Pass:
    """One forward pass; it counts only if a gradient comes back to it."""

    calls: list[_Call] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    # Each with the gradients that it got, none or one.
    losses: list[tuple[torch.Tensor, list[torch.Tensor]]] = field(default_factory=list)
    channels: int | None = None
    trained: bool = False
    scale: float = 1.0


class Listener:
    """Hears the forward passes, backward passes and optimizer steps of one training step."""

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], scaler: Any = None) -> None:
        self._names = {id(p): name for name, p in parameters.items()}
        self._scaler = scaler
        self._passes: list[_Pass] = [_Pass()]
        self._handles: list[Any] = []
        self._leaves: list[Any] = []
        self._held = 0
        self.gradients: dict[str, tuple[torch.Tensor, int]] = {}
        self.learning_rate: float | None = None
        self.stepped = False
        self.faults: list[str] = []
        skipped = compiled_modules(model)
        layers = recorded_modules(model)
        names = {module: name for name, module, _ in reversed(list(canonical_modules(model)))}
        self._order = {name: place for place, name in enumerate(reversed(list(names.values())))}
        if model not in skipped:
            self._handles.append(model.register_forward_pre_hook(_Hook(self, "_begin")))
            self._handles.append(model.register_forward_hook(_Hook(self, "_end")))
        for module in layers:
            if module not in skipped and _matters(module):
                name = names.get(module, "") or type(module).__name__
                self._handles.append(module.register_forward_hook(_Hook(self, "_heard", name)))
        self._handles.append(register_optimizer_step_pre_hook(_Hook(self, "_before_step")))

    def stop(self) -> None:
        """Remove every hook; what was heard stays."""
        for handle in (*self._handles, *self._leaves):
            handle.remove()
        self._handles, self._leaves = [], []

    def layers(self) -> tuple[LayerStep, ...]:
        """Return one record per layer and call over all passes that a gradient came back to."""
        merged: dict[tuple[str, int], list[tuple[_Call, float]]] = {}
        for each in self._passes:
            for call in each.calls if each.trained else ():
                if call.counts:
                    merged.setdefault(call.key, []).append((call, each.scale))
        if any(call.again for group in merged.values() for call, _ in group):
            # Checkpointed parts are heard in the order of the backward pass.
            merged = dict(sorted(merged.items(), key=lambda item: self._order.get(item[0][0], 0)))
        numbers = iter(fetched([part for group in merged.values() for part in _parts(group)]))
        return tuple(_layer(group, numbers) for group in merged.values())

    def loss(self) -> float | None:
        """Return the loss that the model itself put out, over all passes, if it did.

        Passes whose losses are differentiated as they are, with a gradient of 1, add up to the step's: the
        transformers Trainer has divided each by the items of all passes. Others are averaged.
        """
        losses = [(loss, each) for each in self._passes if each.trained for loss in each.losses]
        if not losses:
            return None
        values = torch.stack([value for (value, _), _ in losses])
        shares = all(got and abs(float(got[0]) / each.scale - 1) < 1e-3 for (_, got), each in losses)
        return float(values.sum() if shares else values.mean())

    def read_gradients(self, parameters: Iterable[torch.Tensor], scale: float = 1.0) -> None:
        """Measure the gradients that parameters hold now, divided by `scale`."""
        for p in parameters:
            name = self._names.get(id(p))
            if name is not None and p.grad is not None:
                gradient = local(p.grad)
                self.gradients[name] = (squared_norm(gradient) / scale**2, max(gradient.numel(), 1))

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._next_pass()

    def _next_pass(self) -> None:
        if self._passes[-1].calls or self._passes[-1].losses:
            self._passes.append(_Pass())

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.requires_grad:
            got: list[torch.Tensor] = []
            loss.register_hook(lambda gradient: got.append(gradient.detach()))
            self._passes[-1].losses.append((loss.detach().reshape(()).float(), got))

    def _heard(self, module: nn.Module, args: Any, output: Any, name: str) -> None:
        current = self._passes[-1]
        # Backward runs parts of the model itself where activations are checkpointed.
        again = torch._C._current_graph_task_id() != -1
        if current.trained and not again:
            # A part of the model called on its own after a backward pass.
            self._next_pass()
            current = self._passes[-1]
        found = floating(output)
        call = current.seen.get(name, 0)
        current.seen[name] = call + 1
        if not found or call >= _MOST_CALLS:
            return
        self._held += 1
        if self._held > _MOST_HELD:
            self.faults.append(
                f"stopped listening after {_MOST_HELD:,} layer calls in one step; call step() after each "
                "optimizer step"
            )
            self.stop()
            return
        tensor = local(found[0][1])
        kind = type(module).__name__.removeprefix("Parametrized")
        axis = unit_dimension(kind, tensor, current.channels)
        current.channels = 1 if tensor.ndim >= 3 and axis == 1 else (None if tensor.ndim < 3 else -1)
        own = [p for p in module._parameters.values() if p is not None]
        beyond = saturated(kind, module, tensor)
        heard = _Call(
            key=(name, call),
            kind=kind,
            axis=axis,
            weight=any(p.ndim >= 2 for p in own) or "parametrizations" in module._modules,
            output=squared_norm(tensor),
            count=tensor.numel(),
            units=tensor.shape[axis] if tensor.ndim else 1,
            alive=alive_units(tensor, axis) if cuts_to_zero(kind) else None,
            saturated=None if beyond is None else beyond.sum().double(),
            again=again,
        )
        current.calls.append(heard)
        if found[0][1].requires_grad:
            handle = found[0][1].register_hook(_Back(self, current, heard))
            if found[0][1].is_leaf:
                # A module that hands out its own parameter: this hook would outlive the graph.
                self._leaves.append(handle)

    def _back(self, current: _Pass, call: _Call, gradient: torch.Tensor) -> None:
        if not current.trained:
            current.trained = True
            if self._scaler is not None:
                current.scale = float(self._scaler.get_scale())
        gradient = local(gradient)
        size = squared_norm(gradient)
        call.gradient = size if call.gradient is None else call.gradient + size
        if call.alive is None:
            reached = alive_units(gradient, call.axis)
            call.reached = reached if call.reached is None else call.reached | reached

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        mine = [p for group in optimizer.param_groups for p in group["params"] if id(p) in self._names]
        if not mine:
            return None
        # torch hands over `step`'s own arguments, the optimizer first.
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        self.stepped = True
        self.learning_rate = float(optimizer.param_groups[0].get("lr", math.nan))
        if closure is None:
            # Fused optimizers are handed the scale instead of unscaled gradients.
            scale = getattr(optimizer, "grad_scale", None)
            self.read_gradients(mine, 1.0 if scale is None else float(scale))
            return None
        watch = weakref.ref(self)

        def reading() -> Any:
            result = closure()
            listener = watch()
            if listener is not None:
                with torch.no_grad():
                    listener.read_gradients(mine)
            return result

        if len(args) > 1:
            return (args[0], reading, *args[2:]), kwargs
        return args, {**kwargs, "closure": reading}


class _Hook:
    """A hook that does nothing in compiled, traced or transformed code, or once its listener is gone.

    A copy of the model made meanwhile, by deepcopy or pickle, gets a hook that does nothing
    and that needs no goodinit to be loaded.
    """

    def __init__(self, listener: Listener, method: str, name: str | None = None) -> None:
        self._listener, self._method, self._name = weakref.ref(listener), method, name

    def __call__(self, *given: Any) -> Any:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or transformed():
            return None
        listener = self._listener()
        if listener is None or not (torch.is_grad_enabled() or self._method == "_before_step"):
            return None
        arguments = given if self._name is None else (*given, self._name)
        return _guarded(listener, getattr(listener, self._method), *arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (contextlib.nullcontext(), "__exit__")


class _Back:
    """A hook on one output that measures its gradient and leaves it as it is."""

    def __init__(self, listener: Listener, current: _Pass, call: _Call) -> None:
        self._listener, self._current, self._call = weakref.ref(listener), current, call

    def __call__(self, gradient: torch.Tensor | None) -> None:
        listener = self._listener()
        # An LSTM whose output nothing reads, only its last state, gives that output no gradient.
        if listener is not None and gradient is not None:
            _guarded(listener, listener._back, self._current, self._call, gradient)


def _guarded(listener: Listener, run: Callable[..., Any], *arguments: Any) -> Any:
    # A measurement that fails must not end a training that runs.
    try:
        with torch.no_grad():
            return run(*arguments)
    except Exception as error:
        listener.faults.append(f"a measurement failed: {short(error)}")
        return None


def short(error: Exception) -> str:
    """Return an error as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def compiled_modules(model: nn.Module) -> set[nn.Module]:
    """Return the modules whose forward runs inside compiled code, where hooks would be traced."""
    tops = [
        module
        for module in model.modules()
        if module._compiled_call_impl is not None
        or "_orig_mod" in module._modules
        or isinstance(module, torch.jit.ScriptModule)
    ]
    return {below for module in tops for below in module.modules()}


def _matters(module: nn.Module) -> bool:
    # Dropout, pooling and reshaping say nothing that their neighbours do not.
    own = any(p is not None for p in module._parameters.values()) or "parametrizations" in module._modules
    return (
        own or type(module).__module__ == "torch.nn.modules.activation" or cuts_to_zero(type(module).__name__)
    )


def _parts(group: list[tuple[_Call, float]]) -> list[torch.Tensor]:
    """The device scalars of one layer, in the order in which `_layer` takes them."""
    calls = [call for call, _ in group]
    parts = [torch.stack([call.output for call in calls]).sum()]
    reached = [call.gradient / scale**2 for call, scale in group if call.gradient is not None]
    if reached:
        parts.append(torch.stack(reached).sum())
    learning = _learning(calls)
    if learning is not None:
        parts.append((~learning).sum().double())
    beyond = [call.saturated for call in calls if call.saturated is not None]
    if beyond:
        parts.append(torch.stack(beyond).sum())
    return parts


def _learning(calls: list[_Call]) -> torch.Tensor | None:
    masks = [
        mask for call in calls if (mask := call.reached if call.alive is None else call.alive) is not None
    ]
    if not masks or any(mask.shape != masks[0].shape for mask in masks):
        return None
    return torch.stack(masks).any(dim=0)


def _layer(group: list[tuple[_Call, float]], numbers: Any) -> LayerStep:
    calls = [call for call, _ in group]
    first, (name, call) = calls[0], calls[0].key
    output = next(numbers)
    counted = sum(each.count for each in calls if each.gradient is not None)
    gradient = next(numbers) if counted else None
    dead = int(next(numbers)) if _learning(calls) is not None else None
    judged = sum(each.count for each in calls if each.saturated is not None)
    beyond = next(numbers) / judged if judged else None
    return LayerStep(
        name=name,
        kind=first.kind,
        call=call,
        calls=len(calls),
        output=rounded(output / max(sum(each.count for each in calls), 1)),
        gradient=None if gradient is None else rounded(gradient / counted),
        units=first.units,
        dead=dead,
        saturated=None if beyond is None else rounded(beyond),
        weight=first.weight,
    )
