"""Run a model once under the recorder: with fake tensors where that works, with real ones where it must."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph.places import Place, canonical_modules, places
from goodinit.graph.recorder import Recorder, nested_tensors
from goodinit.graph.snapshot import eval_mode, untouched
from goodinit.graph.tape import Tape

__all__ = ["Run", "run"]

# Above this a run with real tensors is not tried for a model without values: it would have to be allocated.
_MOST_BYTES = 2 * 2**30
_OPAQUE = (nn.RNNBase, nn.RNNCellBase)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """A tape and how it was made: ``"fake"`` or ``"real"``."""

    tape: Tape
    how: str
    notes: tuple[str, ...]
    places: tuple[Place, ...]


def run(model: nn.Module, example: Any) -> Run:
    """Run a model on an example and return what it did; the model is left as it was.

    Args:
        model: any module.
        example: a tensor, a tuple or list of arguments, a mapping of keyword arguments,
            or a zero-argument callable that returns one of these.

    Raises:
        WrongTypeError: if the model is no module or the example none of these.
        ArgumentError: if a lazy parameter has no shape yet.
        ExampleError: if the model rejects the example.
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"model is a {type(model).__name__}; give an nn.Module")
    found = places(model)
    for place in found:
        if is_lazy(place.parameter):
            raise ArgumentError(
                f"model: parameter {place.name!r} is lazy and has no shape yet; "
                "run the model once on a batch, then trace it"
            )
    args, kwargs = _arguments(example)
    attempts: list[tuple[str, bool]] = [("fake", False), ("real", False)]
    if any(module.training for module in model.modules()):
        attempts += [("fake", True), ("real", True)]
    first: Exception | None = None
    why = ""
    for how, evaluate in attempts:
        if how == "real" and not _affordable(model, first):
            continue
        try:
            with untouched(model), ExitStack() as stack:
                if evaluate:
                    stack.enter_context(eval_mode(model))
                tape = _record(model, found, args, kwargs, how)
        except RecursionError:
            raise
        except Exception as error:  # the model may raise anything
            why = why or _first_line(error)
            # The real run's words are the model's own; the fake run may have failed for its own reasons.
            if first is None or (how == "real" and not evaluate):
                first = error
            continue
        notes = []
        if how == "real":
            notes.append(f"ran on real tensors, because fake ones could not do it: {why}")
            if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
                notes.append("tensors on the meta device got random values for this run")
        if evaluate:
            notes.append(f"ran in evaluation mode, because training mode rejected the example: {why}")
        return Run(tape, how, tuple(notes), found)
    assert first is not None
    shapes = _described(args, kwargs)
    raise ExampleError(
        f"example: {type(model).__name__} rejected {shapes}: {type(first).__name__}: {first}. "
        "Give another example: a tensor, a tuple of arguments, a dict of keyword arguments, "
        "or a callable that returns one"
    ) from first


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if callable(example) and not isinstance(example, Tensor | Mapping):
        example = example()
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), {str(key): value for key, value in example.items()}
    if isinstance(example, list | tuple):
        return tuple(example), {}
    raise WrongTypeError(
        f"example is a {type(example).__name__}; give a tensor, a tuple or list of arguments, "
        "a dict of keyword arguments, or a callable that returns one"
    )


def _described(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    def one(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(one(item) for item in value)}]"
        return repr(value) if isinstance(value, bool | int | float | str | None) else type(value).__name__

    parts = [one(value) for value in args] + [f"{key}={one(value)}" for key, value in kwargs.items()]
    return f"({', '.join(parts)})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _affordable(model: nn.Module, error: Exception | None) -> bool:
    """Whether a run with real tensors may be tried after a fake one failed."""
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(t.numel() * t.element_size() for t in tensors)
    if size <= _MOST_BYTES:
        return True
    about_fakes = type(error).__module__.startswith(("torch._subclasses", "torch.fx"))
    return about_fakes and not any(t.is_meta for t in tensors)


def _record(
    model: nn.Module, found: tuple[Place, ...], args: tuple[Any, ...], kwargs: dict[str, Any], how: str
) -> Tape:
    memo: dict[int, tuple[Tensor, Tensor]] = {}
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True) if how == "fake" else None

    def convert(tensor: Tensor) -> Tensor:
        if fake_mode is None:
            if not (tensor.is_meta or _foreign(tensor)):
                return tensor
        elif getattr(tensor, "fake_mode", None) is fake_mode:
            return tensor
        if id(tensor) not in memo:
            with torch.utils._python_dispatch._disable_current_modes():
                made = _real(tensor) if fake_mode is None else _fake(tensor, fake_mode)
            memo[id(tensor)] = (tensor, made)
        return memo[id(tensor)][1]

    names = {id(convert(place.parameter)): place.name for place in found}
    unreal = fake_mode is not None or any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    recorder = Recorder(convert, names, _CPU if unreal else None, fake_mode is not None)
    args, kwargs = tree_map_only(Tensor, convert, (args, kwargs))
    for tensor in nested_tensors((args, kwargs)):
        recorder.add_input(tensor)
    labels: dict[int, str] = {}
    for name, module, _ in canonical_modules(model):
        labels.setdefault(id(module), name)
    with ExitStack() as stack:
        stack.callback(recorder.restore)
        stack.enter_context(_plain_torch())
        stack.enter_context(torch.no_grad())
        stack.enter_context(_watched_modules(recorder, labels))
        if fake_mode is not None:
            stack.enter_context(fake_mode)
        with recorder:
            result = model(*args, **kwargs)
        recorder.add_output(result)
    return recorder.tape


@contextmanager
def _plain_torch() -> Iterator[None]:
    """Compiled modules run eagerly, attention takes no short cut, autocast keeps no copies."""
    fast = torch.backends.mha.get_fastpath_enabled()
    cache = torch.is_autocast_cache_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_autocast_cache_enabled(False)
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)
    # Importing the compiler takes a second; a model that is compiled has imported it.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else None
    try:
        with ExitStack() as stack:
            if eager is not None:
                stack.enter_context(eager)
            yield
    finally:
        log.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.set_autocast_cache_enabled(cache)


@contextmanager
def _watched_modules(recorder: Recorder, labels: dict[int, str]) -> Iterator[None]:
    """Tell the recorder which module is running, by way of ``nn.Module.__call__``."""
    original: Callable[..., Any] = nn.Module.__call__
    thread = threading.get_ident()

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        name = labels.get(id(self))
        if name is None or threading.get_ident() != thread:
            return original(self, *args, **kwargs)
        recorder.modules.append(name)
        try:
            if isinstance(self, _OPAQUE):
                inside = (args, kwargs)
                return recorder.opaque("rnn", inside, lambda: original(self, *args, **kwargs), self)
            return original(self, *args, **kwargs)
        finally:
            recorder.modules.pop()

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]


def _foreign(tensor: Tensor) -> bool:
    return getattr(tensor, "fake_mode", None) is not None


def _fake(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    if not (tensor.device.type == "cpu" and not tensor.is_meta and not _foreign(tensor)):
        with mode, torch.no_grad():
            made = torch.empty_strided(tuple(tensor.shape), _strides(tensor), dtype=tensor.dtype, device=_CPU)
    else:
        made = mode.from_tensor(tensor.detach(), static_shapes=True)
    return made


def _strides(tensor: Tensor) -> tuple[int, ...]:
    if tensor.layout is torch.strided:
        return tuple(tensor.stride())
    return tuple(torch.empty(tensor.shape, device="meta").stride())


def _real(tensor: Tensor) -> Tensor:
    """Stand-in values for a tensor that has none: standard normal, or zero for integers."""
    if tensor.is_floating_point():
        generator = torch.Generator().manual_seed(0)
        return torch.randn(tuple(tensor.shape), generator=generator).to(tensor.dtype)
    return torch.zeros(tuple(tensor.shape), dtype=tensor.dtype)
