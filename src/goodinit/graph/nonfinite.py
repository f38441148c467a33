"""Where NaN and infinity begin: real numbers watched from operation to operation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from goodinit.graph.examples import Example
from goodinit.graph.nested import map_tensors, tensors
from goodinit.graph.places import canonical_modules, places

__all__ = ["Origin", "Watch", "holders", "locate"]

Kind = Literal["operation", "parameter", "buffer", "example", "memory", "tensor", "constant"]

# Operations that hand out memory without filling it.
_UNFILLED = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")


_OVERWRITE = ("copy_", "fill_", "zero_", "normal_", "uniform_")


@dataclass(frozen=True)
class Origin:
    """Where the first value that is not finite comes from.

    Attributes:
        kind: what brought it in: an ``"operation"``, a ``"parameter"``, ``"buffer"`` or other
            ``"tensor"`` of the model, the ``"example"``, ``"memory"`` that nobody filled, or a
            ``"constant"`` that the model's code writes, such as the -inf of a mask.
        name: the operation's name, or that of the parameter, buffer or part of the example.
        module: the module that was running, ``""`` for the model itself.
        value: ``"NaN"`` or ``"infinity"``.
        turned: (operation, module) in which an infinity became NaN.
    """

    kind: Kind
    name: str
    module: str
    value: str
    turned: tuple[str, str] | None = None

    def words(self) -> str:
        """Return a clause for a reader.

        >>> Origin("operation", "log", "blocks.3", "NaN").words()
        "NaN begins in the operation log in 'blocks.3'"
        """
        what = {
            "operation": f"{self.value} begins in the operation {self.name}{_inside(self.module)}",
            "parameter": f"the parameter '{self.name}' holds {self.value}",
            "buffer": f"the buffer '{self.name}' holds {self.value}",
            "tensor": f"a tensor that the model holds beside its parameters and buffers, read"
            f"{_inside(self.module)}, holds {self.value}",
            "example": f"the example itself holds {self.value}{f' in {self.name!r}' if self.name else ''}",
            "memory": f"memory that nobody filled ({self.name}{_inside(self.module)}) holds {self.value}",
            "constant": f"an infinite constant is written{_inside(self.module)}",
        }[self.kind]
        if self.turned is not None:
            what += f", which turns into NaN in the operation {self.turned[0]}{_inside(self.turned[1])}"
        return what


def _inside(module: str) -> str:
    return f" in '{module}'" if module else ""


class Watch(TorchDispatchMode):
    """Follows what is not finite through everything that runs inside it.

    Args:
        holders: (kind, name) by storage of the tensors that existed before, from `holders`.
        module: gives the name of the module that is running.
    """

    def __init__(self, holders: dict[int, tuple[Kind, str]], module: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._holders, self._module = holders, module
        self._origins: dict[int, Origin] = {}
        self._first: Origin | None = None

    def origin(self, outputs: Any) -> Origin | None:
        """Return where the outputs' NaN or infinity comes from, else where the first NaN inside does."""
        found = [self._of(tensor) for _, tensor in tensors(outputs) if _count(tensor)]
        for value in ("NaN", "infinity"):
            for origin in found:
                ends = "NaN" if origin.turned else origin.value
                if ends == value and origin.kind != "constant":
                    return origin
        return self._first

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        entering: list[Tensor] = []
        tree_map_only(Tensor, entering.append, (args, kwargs))
        name = func.overloadpacket.__name__
        if name in _OVERWRITE:
            entering = entering[1:]  # what stood there before is gone
        # Before it runs: an operation in place changes what entered.
        held = [(tensor, count) for tensor in entering if (count := _count(tensor))]
        sources = {_storage(tensor) for tensor in entering}
        result = func(*args, **kwargs)
        for _, out in tensors(result):
            view = _storage(out) in sources and not func._schema.is_mutable
            if not view:
                self._made(name, out, held, args, kwargs)
        return result

    def _made(
        self, name: str, out: Tensor, held: list[tuple[Tensor, tuple[int, int]]], args: Any, kwargs: Any
    ) -> None:
        key, module = _storage(out), self._module()
        bare = name.rstrip("_")
        if bare in _UNFILLED:
            self._origins[key] = Origin("memory", bare, module, "NaN")
            return
        count = _count(out)
        if count is None:
            if out.numel() * out.element_size() >= out.untyped_storage().nbytes():
                self._origins.pop(key, None)
            return
        origin: Origin | None = None
        if count[0]:
            with_nan = next((tensor for tensor, (nan, _) in held if nan), None)
            if with_nan is not None:
                origin = self._of(with_nan)
            else:
                inner = next((o for tensor, _ in held if (o := self._of(tensor)).kind != "constant"), None)
                origin = inner or Origin("operation", bare, module, "NaN")
                if inner is not None and inner.turned is None:
                    origin = dataclasses.replace(inner, turned=(bare, module))
            self._first = self._first or origin
        elif held:
            origin = self._of(held[0][0])
        elif _written_on_purpose(args, kwargs):
            origin = Origin("constant", bare, module, "infinity")
        else:
            origin = Origin("operation", bare, module, "infinity")
        self._origins[key] = origin

    def _of(self, tensor: Tensor) -> Origin:
        key = _storage(tensor)
        known = self._origins.get(key)
        count = _count(tensor) or (0, 1)
        value = "NaN" if count[0] else "infinity"
        if known is not None:
            return dataclasses.replace(known, value=value) if known.kind == "memory" else known
        kind, name = self._holders.get(key, ("tensor", ""))
        return Origin(kind, name, self._module(), value)


def holders(model: nn.Module, example: Any) -> dict[int, tuple[Kind, str]]:
    """Return what the parameters, buffers and parts of the example are called, by storage."""
    found: dict[int, tuple[Kind, str]] = {}
    for name, tensor in tensors(example):
        found[_storage(tensor)] = ("example", name)
    for module_name, module, _ in canonical_modules(model):
        for local, buffer in module._buffers.items():
            if buffer is not None:
                found[_storage(buffer)] = ("buffer", f"{module_name}.{local}" if module_name else local)
    for place in places(model):
        found[_storage(place.parameter)] = ("parameter", place.name)
    return found


def locate(model: nn.Module, example: Example) -> Origin | None:
    """Run a model once on real numbers and return where NaN or infinity begins, or None where all is finite.

    Args:
        model: the model; its buffers may change, as in any forward pass.
        example: what goes in; the model gets a copy.

    >>> from goodinit.graph.examples import given
    >>> locate(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), given(torch.full((3, 2), math.nan))).words()
    'the example itself holds NaN'
    """
    args, kwargs = map_tensors((example.args, example.kwargs), lambda tensor: tensor.detach().clone())
    copied = Example(args, kwargs, example.origin)
    with _running(model) as stack, torch.no_grad():
        watch = Watch(holders(model, copied.named()), lambda: stack[-1] if stack else "")
        with watch:
            output = model(*args, **kwargs)
        return watch.origin(output)


@contextmanager
def _running(model: nn.Module) -> Iterator[list[str]]:
    """Keep a stack of the names of the modules that run."""
    stack: list[str] = []
    handles = []
    for name, module, _ in canonical_modules(model):

        def enter(_module: nn.Module, _args: Any, name: str = name) -> None:
            stack.append(name)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            stack.pop()

        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def _count(tensor: Tensor) -> tuple[int, int] | None:
    """Return how many elements are NaN and how many infinite; None where all are finite or have no value."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.layout != torch.strided:
        return None
    if tensor.is_meta or not tensor.numel() or bool(torch.isfinite(tensor).all()):
        return None
    return int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())


def _written_on_purpose(args: Any, kwargs: Any) -> bool:
    """Whether an operation on finite tensors was told to write infinity, as masks are."""
    numbers: list[float] = []
    tree_map_only((int, float), lambda number: numbers.append(float(number)), (args, kwargs))
    return any(math.isinf(number) for number in numbers)


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # sparse and other layouts have no storage
        return id(tensor)
