"""The dispatch mode that writes a `Tape` while a model runs, under fake tensors or real ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from goodinit.graph.parting import PARTS
from goodinit.graph.tags import is_pointwise, is_reduction
from goodinit.graph.tape import Node, Ref, Tape, Value

__all__ = ["Recorder", "nested_tensors", "written_by"]

_AS_POINTWISE = {
    "_to_copy",
    "_prelu_kernel",
    "hardswish",
    "hardswish_",
    "log_sigmoid_forward",
    "rrelu_with_noise",
    "rrelu_with_noise_",
    "rrelu_with_noise_functional",
    "native_dropout",
    "_fused_dropout",
    "copy_",
    "lift_fresh",
    "lift_fresh_copy",
}
_CONSTANT = {"zeros": 0.0, "zeros_like": 0.0, "new_zeros": 0.0, "zero_": 0.0}
_CONSTANT |= {"ones": 1.0, "ones_like": 1.0, "new_ones": 1.0}
_FILLED = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0, "fill_": 1, "fill": 1}
# Questions about a tensor's values, which a fake tensor cannot answer but a known real one can.
_READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "item"}
_MAX_DEPTH = 6


def nested_tensors(value: Any, depth: int = 0) -> Iterable[Tensor]:
    """Yield the tensors in lists, tuples, mappings and dataclass-like outputs; caches are left out."""
    if isinstance(value, Tensor):
        yield value
    elif depth > _MAX_DEPTH or "Cache" in type(value).__name__:
        return
    elif isinstance(value, dict) or (hasattr(value, "values") and hasattr(value, "keys")):
        for item in value.values():
            yield from nested_tensors(item, depth + 1)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from nested_tensors(item, depth + 1)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from nested_tensors(getattr(value, name, None), depth + 1)


def _mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """An operation's arguments with each tensor changed; several times quicker than torch's pytree."""
    if isinstance(value, Tensor):
        return change(value)
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([_mapped(change, item) for item in value])
    if kind is dict:
        return {key: _mapped(change, item) for key, item in value.items()}
    return tree_map_only(Tensor, change, value) if isinstance(value, list | tuple | dict) else value


class Recorder(TorchDispatchMode):
    """Records what runs inside it.

    Args:
        convert: turns a tensor that existed before the run into the one to compute
            with (a fake one), or returns it as it is.
        names: canonical parameter names by the id of the tensor computed with.
        device: the device that every factory call is sent to, or None to leave them.
        fake: whether what `convert` gives is fake, so that nothing real is written.
    """

    def __init__(
        self,
        convert: Callable[[Tensor], Tensor],
        names: dict[int, str],
        device: torch.device | None,
        fake: bool,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape = Tape()
        self._fills: dict[int, float | None] = {}
        self._originals: dict[int, Tensor] = {}

        def converted(tensor: Tensor) -> Tensor:
            made = convert(tensor)
            # What stands in for a buffer has no value; the buffer has.
            if made is not tensor and id(made) not in self._originals:
                self._originals[id(made)] = tensor
                held = None if _is_fake(tensor) else _scalar(tensor)
                # A factor that is 0 for now is a schedule's start, and says nothing of the size.
                self._fills[id(made)] = held if held and math.isfinite(held) else None
            return made

        self.convert = converted
        self.device = device
        self.fake = fake
        self.modules: list[str] = [""]
        self._names = names
        self._inputs: dict[int, str] = {}
        self._keep: list[Tensor] = []
        self._current: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._writes: dict[int, list[int]] = {}
        self._owner: dict[int, int] = {}
        self._silent = 0
        self._backup: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._born: set[int] = set()

    # -- what the run is told

    def add_input(self, tensor: Tensor) -> None:
        """Declare a tensor of the example."""
        real = tensor.is_floating_point() or tensor.is_complex()
        self._inputs[id(tensor)] = "input" if real else "index"
        self._keep.append(tensor)

    def add_output(self, result: Any) -> None:
        """Declare what the model returned."""
        self.tape.outputs.extend(self._read(self.convert(tensor)) for tensor in nested_tensors(result))

    def opaque(self, name: str, inputs: Any, run: Callable[[], Any], extra: Any) -> Any:
        """Run something without looking inside, and record it as one operation."""
        if self._silent:
            return run()
        refs = [self._read(self.convert(tensor)) for tensor in nested_tensors(inputs)]
        self._silent += 1
        try:
            result = run()
        finally:
            self._silent -= 1
        self._record(name, None, tuple(Ref(i) for i in refs), {}, refs, list(nested_tensors(result)), extra)
        return result

    def restore(self) -> None:
        """Undo what the run wrote into tensors that existed before it."""
        for live, saved in self._backup.values():
            live.copy_(saved)

    # -- dispatch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if name in PARTS and "out" not in kwargs:
            with self:
                return PARTS[name](*args, **kwargs)
        # Under inference mode composite operations arrive whole.
        if func._can_decompose() and torch.is_inference_mode_enabled():
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if name in _READS and self.fake and self._known(args):
            return func(*args, **kwargs)
        if self.device is not None:
            if kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": self.device}
            if not (self.fake and name in ("lift_fresh", "lift_fresh_copy")):
                args, kwargs = _mapped(self.convert, args), _mapped(self.convert, kwargs)
        if self._silent:
            return func(*args, **kwargs)
        return self._run(func, name, args, kwargs)

    def _run(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        fill = self._fill(name, args)
        tensors: list[Tensor] = []
        _mapped(tensors.append, (args, kwargs))
        written = written_by(func, args, kwargs)
        if not self.fake:
            for tensor in written:
                self._save(tensor)
        reads = {id(tensor): self._read(tensor) for tensor in tensors}
        inputs = [reads[id(tensor)] for tensor in tensors]
        held_args, held_kwargs = _mapped(lambda t: Ref(reads[id(t)]), (args, kwargs))
        result = _grouped(args) if self.fake and name == "_grouped_mm" else func(*args, **kwargs)
        outputs = [t for t in (result if isinstance(result, list | tuple) else [result]) if _is_tensor(t)]
        for tensor in written:
            if not any(tensor is out for out in outputs):
                outputs.append(tensor)
        if outputs:
            self._record(name, func, held_args, held_kwargs, inputs, outputs, None, written, fill)
        return result

    def _record(
        self,
        name: str,
        func: Any,
        args: Any,
        kwargs: Any,
        inputs: list[int],
        outputs: list[Tensor],
        extra: Any = None,
        written: Iterable[Tensor] = (),
        fill: float | None = None,
    ) -> None:
        tape, index = self.tape, len(self.tape.nodes)
        dirty = {id(tensor) for tensor in written}
        sources = {tape.values[i].storage for i in inputs}
        made: list[int] = []
        view = func is not None and not dirty
        for slot, tensor in enumerate(outputs):
            value = self._value(tensor, index, slot, fill=fill)
            made.append(value.index)
            view = view and value.storage in sources
            self._current[id(tensor)] = value.index
            if id(tensor) in dirty:
                writes = self._writes.setdefault(value.storage, [])
                writes.append(value.index)
            self._seen[id(tensor)] = len(self._writes.get(value.storage, ()))
        tape.nodes.append(
            Node(
                index,
                name,
                func,
                args,
                kwargs,
                tuple(inputs),
                tuple(made),
                self.modules[-1],
                pointwise=not view and (is_pointwise(func) or name in _AS_POINTWISE),
                view=view,
                reduction=is_reduction(func),
                extra=extra,
            )
        )

    # -- tensors and values

    def _value(self, tensor: Tensor, node: int | None, slot: int, **more: Any) -> Value:
        storage = _storage(tensor)
        strided = tensor.layout is torch.strided
        value = Value(
            len(self.tape.values),
            node,
            slot,
            tuple(int(n) for n in tensor.shape),
            tuple(int(n) for n in tensor.stride()) if strided else (0,) * tensor.dim(),
            int(tensor.storage_offset()) if strided else 0,
            storage,
            tensor.dtype,
            **more,
        )
        self.tape.values.append(value)
        self._keep.append(tensor)
        if node is not None and storage not in self._owner:
            self._born.add(storage)
        self._owner.setdefault(storage, value.index)
        return value

    def _read(self, tensor: Tensor) -> int:
        key = id(tensor)
        known = self._current.get(key)
        if known is None:
            return self._first_sight(tensor)
        writes = self._writes.get(self.tape.values[known].storage)
        if writes and self._seen.get(key, 0) < len(writes):
            return self._refresh(tensor, known, writes)
        return known

    def _first_sight(self, tensor: Tensor) -> int:
        storage = _storage(tensor)
        name = self._names.get(id(tensor), "")
        owner = self._owner.get(storage)
        if owner is not None and not name:
            # A view that was made out of sight of the dispatcher.
            self._record("alias", torch.ops.aten.alias.default, (Ref(owner),), {}, [owner], [tensor])
            return self._current[id(tensor)]
        origin = "parameter" if name else self._inputs.get(id(tensor), "constant")
        fill = None if name or origin != "constant" else self._fills.get(id(tensor))
        original = self._originals.get(id(tensor), tensor)
        held = _scalar(tensor) if fill is None else fill
        value = self._value(tensor, None, 0, origin=origin, name=name, fill=held, original=id(original))
        if not (original.is_meta or _is_fake(original)):
            self.tape.held[value.index] = original
        self._current[id(tensor)] = value.index
        self._seen[id(tensor)] = 0
        return value.index

    def _refresh(self, tensor: Tensor, known: int, writes: list[int]) -> int:
        """Bring a view up to date with what was written through other views of its memory."""
        values = self.tape.values
        last = values[writes[-1]]
        new = writes[self._seen.get(id(tensor), 0) :]
        if last.shape == values[known].shape and last.stride == values[known].stride:
            if last.offset == values[known].offset:
                self._current[id(tensor)] = last.index
                self._seen[id(tensor)] = len(writes)
                return last.index
        elif math.prod(last.shape) >= math.prod(values[known].shape):
            # A view of what was written over as a whole.
            self._record(
                "alias", torch.ops.aten.alias.default, (Ref(last.index),), {}, [last.index], [tensor]
            )
            return self._current[id(tensor)]
        inputs = [known, *new]
        self._record("written", None, tuple(Ref(i) for i in inputs), {}, inputs, [tensor])
        return self._current[id(tensor)]

    def _fill(self, name: str, args: Any) -> float | None:
        if name in _CONSTANT:
            return _CONSTANT[name]
        if name in _FILLED and len(args) > _FILLED[name]:
            value = args[_FILLED[name]]
            return float(value) if isinstance(value, int | float) else None
        if name == "lift_fresh" and isinstance(args[0], Tensor):
            return _scalar(args[0])
        return None

    def _known(self, args: Any) -> bool:
        found = list(nested_tensors(args))
        return bool(found) and not any(t.is_meta or _is_fake(t) for t in found)

    def _save(self, tensor: Tensor) -> None:
        storage = _storage(tensor)
        if storage not in self._born and storage not in self._backup:
            memory = tensor.untyped_storage()
            self._backup[storage] = (memory, memory.clone())


def _grouped(args: Any) -> Tensor:
    """The empty result of a grouped product: torch's own rule for fake tensors refuses all but bfloat16."""
    left, right = args[0], args[1]
    batch = [right.shape[0]] if left.dim() == right.dim() else []
    empty: Tensor = left.new_empty([*batch, left.shape[-2], right.shape[-1]])
    return empty


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_fake(tensor: Tensor) -> bool:
    return type(tensor).__name__ == "FakeTensor" or hasattr(tensor, "fake_mode")


def _scalar(tensor: Tensor) -> float | None:
    """The value of a one-element tensor that can be read without a computation."""
    if tensor.numel() != 1 or tensor.is_complex() or isinstance(tensor, nn.Parameter):
        return None
    held = getattr(tensor, "constant", None) if _is_fake(tensor) else tensor
    if held is None or held.is_meta:
        return None
    with torch.utils._python_dispatch._disable_current_modes():
        return float(held.detach().item())


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # sparse and other layouts have no storage
        return id(tensor)


def written_by(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    if not func._schema.is_mutable:
        return []
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            found.extend(nested_tensors(value))
    return found
