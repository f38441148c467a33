"""Hooks that measure every layer's output on the way forward and its gradient on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from goodinit.graph.nested import floating, tensors
from goodinit.signals.probing.kinds import cuts_to_zero, saturates, unit_dimension
from goodinit.signals.probing.measuring import Vectors, measure_gradient, measure_output, measuring
from goodinit.signals.probing.operations import Operations, transformed
from goodinit.signals.probing.recurrence import is_cell, memory_of_calls, memory_of_layer, time_dimension
from goodinit.signals.probing.sharded import is_sharded, local

__all__ = ["Attention", "Call", "Recorder", "canonical", "recorded_modules"]

# Containers that compute nothing, and layers that pass their input on.
_SILENT = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity)


def canonical(name: str) -> str:
    """Return a dotted name without the prefixes that wrappers such as torch.compile insert."""
    return name.replace("_orig_mod.", "")


def recorded_modules(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that count as layers, with their names.

    Leaves, modules whose own parameters take part (attention with packed projections,
    custom layers with raw parameters, parametrized layers), and recurrent cells.
    """
    found: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, _SILENT) or ".parametrizations." in f".{name}.":
            continue
        if _owns(module) or is_cell(module) or not any(True for _ in module.children()):
            found[module] = canonical(name)
    return found


def _owns(module: nn.Module) -> bool:
    return any(p is not None for p in module._parameters.values()) or "parametrizations" in module._modules


@dataclass
class Call:
    """One call of a layer: what is known of it, and the vectors that were measured.

    The gradient's arrive during the backward pass, and not at all where none does.
    """

    name: str
    kind: str
    number: int
    parametric: bool
    shape: tuple[int, ...]
    dtype: str
    units: int
    forward: Vectors
    backward: Vectors = field(default_factory=dict)


@dataclass
class Attention:
    """The totals of one attention's call."""

    name: str
    number: int
    vectors: Vectors


@dataclass
class _Product:
    """A multiplication by a raw parameter that may turn out to be all that its module does."""

    kind: str
    weight: str
    args: Any
    output: torch.Tensor


@dataclass
class _Frame:
    """A module that is running, how many parametric calls came before it, and its undecided product."""

    module: nn.Module
    before: int
    waiting: _Product | None = None


@dataclass
class Recorder:
    """Collects one record per call of a layer, in order of execution."""

    model: nn.Module
    calls: list[Call] = field(default_factory=list)
    attentions: list[Attention] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _stack: list[_Frame] = field(default_factory=list)
    _parametric: int = 0
    _channels: int | None = None
    _recurrent: list[tuple[Call, nn.RNNBase, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    _cells: dict[str, list[tuple[Call, torch.Tensor]]] = field(default_factory=dict)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _listening: bool = True
    # What FSDP puts in a parameter's place while its module runs, by the parameter's id.
    gathered: dict[int, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._layers = recorded_modules(self.model)
        self._names = {module: canonical(name) for name, module in self.model.named_modules()}
        self._parameters = {id(p): canonical(name) for name, p in self.model.named_parameters()}
        self._sharded = {
            module: {leaf: p for leaf, p in module._parameters.items() if p is not None and is_sharded(p)}
            for module in self._names
        }
        leaves = {module for module in self._layers if not any(True for _ in _inner(module))}
        # Torch's own layers are recorded as a whole, and of leaves without parameters only the attention.
        own = {module for module in self._layers if type(module).__module__.startswith("torch.nn")}
        self._opaque = own & (leaves | {m for m in own if isinstance(m, nn.MultiheadAttention)})
        self._plain = {module for module in leaves - self._opaque if not _owns(module)}
        # What was measured of a tensor, at which version of its values, and of its gradient.
        self._measured: Any = WeakTensorKeyDictionary()
        self._operations = Operations(self)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Measure what runs inside; every hook on a module is gone afterwards."""
        with ExitStack() as stack:
            for module in self._names:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                # Also after an exception, which the model may catch.
                leave = module.register_forward_hook(self._leave(self._layers.get(module)), always_call=True)
                stack.callback(leave.remove)
            stack.enter_context(self._operations)
            stack.callback(self._stack.clear)
            yield

    def entered(self, values: Any) -> None:
        """Tell which tensors go into the model."""
        for _, tensor in tensors(values):
            self._operations.signal(tensor)

    def remember(self) -> None:
        """Measure, between the two passes, what recurrent layers still know at their end."""
        self._listening = False
        try:
            for call, module, given, output in self._recurrent:
                if (found := memory_of_layer(module, given, output)) is not None:
                    call.forward["memory"] = torch.cat([found.new_ones(1), found])
            for called in self._cells.values():
                found = memory_of_calls([output for _, output in called])
                if found is not None:
                    called[-1][0].forward["memory"] = torch.cat([found.new_ones(1), found])
        finally:
            self._listening = True
            self._recurrent.clear()
            self._cells.clear()

    def close(self) -> None:
        """Take the hooks off all tensors: some may be parameters or outlive the pass."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._stack.append(_Frame(module, self._parametric))
        for leaf, shard in self._sharded[module].items():
            there = module._parameters.get(leaf)
            if there is not None and there is not shard:
                self.gathered[id(shard)] = there
                self._parameters[id(there)] = self._parameters[id(shard)]

    def _leave(self, name: str | None) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            # Reading a tensor's shape is a torch function too; here none is of interest.
            with torch._C.DisableTorchFunction():
                self._left(module, name, args, floating(output))

        return hook

    def _left(
        self, module: nn.Module, name: str | None, args: Any, found: list[tuple[str, torch.Tensor]]
    ) -> None:
        """Record a module that has ended, if it is a layer."""
        if not any(frame.module is module for frame in self._stack):
            return  # a user's own hook raised before the module was entered
        while (frame := self._stack.pop()).module is not module:
            pass
        if transformed():
            return
        if name is not None and found:
            kind = type(module).__name__.removeprefix("Parametrized")
            # A block with a raw parameter of its own that runs whole layers inside is no layer.
            parametric = _owns(module) and self._parametric == frame.before
            if not parametric:
                self._settle(frame)
            self._record(name or type(module).__name__, kind, module, args, found[0][1], parametric)
        for _, tensor in found:
            self._operations.signal(tensor)

    def current(self) -> nn.Module | None:
        """Return the innermost module that is running."""
        return self._stack[-1].module if self._stack else None

    def inside_opaque(self) -> bool:
        """Does the innermost module count as a whole?"""
        return bool(self._stack) and self._stack[-1].module in self._opaque

    def inside_plain_leaf(self) -> bool:
        """Is the innermost module a leaf without parameters, such as an activation someone wrote?"""
        return bool(self._stack) and self._stack[-1].module in self._plain

    def parameter(self, tensor: torch.Tensor) -> str | None:
        """Return the canonical name of one of the model's parameters, None for another tensor."""
        return self._parameters.get(id(tensor))

    def _place(self) -> str:
        """Return the name of the innermost module that is running, empty for the model itself."""
        module = self.current()
        return self._names.get(module, "") if module is not None else ""

    def operation(self, kind: str, args: Any, output: torch.Tensor, most: int | None = None) -> None:
        """Record an operation by its module's name and its own, at most so many times."""
        place = self._place()
        name = f"{place}.{kind}" if place else kind
        if most is None or self._counts.get(name, 0) < most:
            self._record(name, kind, None, args, output, False)

    def product(self, kind: str, weight: str, args: Any, output: torch.Tensor) -> None:
        """Record a multiplication by a raw parameter, under the parameter's name.

        Where it is all that a module does, the module's own record stands for it. That
        is known when the module ends, so the first product of a module waits.
        """
        product = _Product(kind, weight, args, output)
        frame = self._stack[-1] if self._stack else None
        if frame is None or self._parametric != frame.before or frame.waiting is not None:
            self._write(product)
        elif frame.module in self._layers:
            frame.waiting = product
        else:
            self._write(product)

    def attention(self, totals: torch.Tensor) -> None:
        """Record the totals of one attention."""
        place = self._place() or type(self.model).__name__
        number = sum(each.name == place for each in self.attentions)
        self.attentions.append(Attention(place, number, {"attention": totals}))

    def _settle(self, frame: _Frame) -> None:
        if frame.waiting is not None:
            product, frame.waiting = frame.waiting, None
            self._write(product)

    def _write(self, product: _Product) -> None:
        for frame in self._stack:
            self._settle(frame)
        self._record(product.weight, product.kind, None, product.args, product.output, True)

    def _record(
        self,
        name: str,
        kind: str,
        module: nn.Module | None,
        args: Any,
        tensor: torch.Tensor,
        parametric: bool,
    ) -> None:
        """Measure one output and ask for its gradient."""
        for frame in self._stack:
            self._settle(frame)
        axis = unit_dimension(kind, tensor, self._channels)
        self._channels = 1 if tensor.ndim >= 3 and axis == 1 else (None if tensor.ndim < 3 else -1)
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        self._parametric += parametric
        steps = time_dimension(module, tensor)
        forward, backward, known = self._vectors(tensor, kind, module, args, axis, steps)
        call = Call(
            name=name,
            kind=kind,
            number=number,
            parametric=parametric,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            units=tensor.shape[axis] if tensor.ndim else 1,
            forward=forward,
            backward=backward,
        )
        self.calls.append(call)
        if not tensor.requires_grad:
            return
        if not known:
            # A hook set now sees the gradient of these values even if a later layer overwrites them in
            # place: it stays with the operation that made them.
            self._handles.append(tensor.register_hook(self._receive(backward, axis, steps)))
        if isinstance(module, nn.RNNBase) and (given := floating(args)):
            self._recurrent.append((call, module, given[0][1], tensor))
        elif module is not None and is_cell(module):
            self._cells.setdefault(name, []).append((call, tensor))

    def _vectors(
        self,
        tensor: torch.Tensor,
        kind: str,
        module: nn.Module | None,
        args: Any,
        axis: int,
        steps: int | None,
    ) -> tuple[Vectors, Vectors, bool]:
        """Return what is measured of an output, where its gradient's will be, and whether both were known.

        A layer that passes its input on, or a module that returns what its last
        operation made, is not measured again.
        """
        state = (tensor._version, axis, steps)
        ordinary = not (cuts_to_zero(kind) or saturates(kind))
        if ordinary and tensor in self._measured:
            before, forward, backward = self._measured[tensor]
            if before == state:
                return {k: v for k, v in forward.items() if k not in ("on", "saturated")}, backward, True
        with measuring(tensor.device):
            samples = 1 if steps == 0 and tensor.ndim == 3 else 0
            forward = measure_output(tensor, kind, module, axis, samples, steps)
            forward["bad_input"] = _bad_inputs(args, tensor, forward["sums"])
        fresh: Vectors = {}
        self._measured[tensor] = (state, forward, fresh)
        return forward, fresh, False

    def _receive(self, backward: Vectors, axis: int, steps: int | None) -> Callable[[Any], None]:
        def hook(gradient: torch.Tensor | None) -> None:
            # Of an output that nothing reads, an operation with several outputs gets none (an LSTM's, where
            # the model reads its last state).
            if self._listening and gradient is not None:
                with measuring(gradient.device):
                    backward.update(measure_gradient(gradient, axis, steps))

        return hook


def _inner(module: nn.Module) -> Iterator[nn.Module]:
    return (child for name, child in module.named_children() if name != "parametrizations")


def _bad_inputs(args: Any, output: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return how many inputs hold a value that is not finite.

    On the CPU they are looked at only where the output holds one; elsewhere to know that
    would mean to wait for the device.
    """
    given = [local(tensor) for _, tensor in floating(args) if tensor is not output]
    bad = found.new_zeros(())
    if output.device.type == "cpu" and not found[1]:
        return bad
    for tensor in given:
        values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        extremes = torch.stack(torch.aminmax(values.detach().to(output.device)))
        bad = bad + (~torch.isfinite(extremes)).any().to(bad)
    return bad
