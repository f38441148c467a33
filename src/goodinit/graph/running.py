"""Run a model once under the recorder: with fake tensors where that works, with real ones where it must."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph.examples import Example, given, none_fits, proposals
from goodinit.graph.nested import floating
from goodinit.graph.nonfinite import Watch, holders
from goodinit.graph.places import Place, canonical_modules, places
from goodinit.graph.recorder import Recorder, nested_tensors
from goodinit.graph.rejecting import spoilt, without_gradients
from goodinit.graph.snapshot import eval_mode, untouched
from goodinit.graph.tape import Tape

__all__ = ["Run", "run"]

# Above this a run with real tensors is not tried for a model without values: it would have to be allocated.
_MOST_BYTES = 2 * 2**30
_OPAQUE = (nn.RNNBase, nn.RNNCellBase)
_CPU = torch.device("cpu")
_OF_ONE_TYPE = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution")


# How much may be spent on examples that a model rejects: most reject at once, but one that fails at its end
# costs a whole run (80 blocks of a llama are some 8,000 operations, a few seconds).
_MOST_TRIES = 24
_MOST_OPERATIONS = 8_000


@dataclass(frozen=True)
class Run:
    """A tape and how it was made: ``"fake"`` or ``"real"``, on which example."""

    tape: Tape
    how: str
    notes: tuple[str, ...]
    places: tuple[Place, ...]
    example: str


def run(model: nn.Module, example: Any = None) -> Run:
    """Run a model on an example and return what it did; the model is left as it was.

    Args:
        model: any module.
        example: a tensor, a tuple or list of arguments, a mapping of keyword arguments,
            or a zero-argument callable that returns one of these; None makes one for the
            layer that data meets first.

    Raises:
        WrongTypeError: if the model is no module or the example none of these.
        ArgumentError: if a lazy parameter has no shape yet.
        ExampleError: if the model rejects the example, or none that was made fits.
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
    if example is None:
        return _on_made(model, found)
    return _on_given(model, found, _checked(example))


def _on_given(model: nn.Module, found: tuple[Place, ...], example: Example) -> Run:
    """Run on the user's example, by whatever means it takes."""
    attempts: list[tuple[str, bool]] = [("fake", False), ("real", False)]
    if any(module.training for module in model.modules()):
        attempts += [("fake", True), ("real", True)]
    first: Exception | None = None
    why = ""
    for how, evaluate in attempts:
        if how == "real" and not _affordable(model, first):
            continue
        try:
            return _attempt(model, found, example, how, evaluate, why)
        except RecursionError:
            raise
        except Exception as error:  # the model may raise anything
            why = why or _first_line(error)
            # The real run's words are the model's own; the fake run may have failed for its own reasons.
            if first is None or (how == "real" and not evaluate):
                first = error
    assert first is not None
    raise ExampleError(
        f"example: {type(model).__name__} rejected ({example.words()}): {type(first).__name__}: {first}. "
        + without_gradients(first)
        + "Give another example: a tensor, a tuple of arguments, a dict of keyword arguments, "
        "or a callable that returns one"
    ) from first


def _on_made(model: nn.Module, found: tuple[Place, ...]) -> Run:
    """Run on the first made example that the model accepts, without arithmetic as far as possible."""
    tried: list[str] = []
    first: Exception | None = None
    work: list[int] = []
    for evaluate in (False, True) if any(module.training for module in model.modules()) else (False,):
        for example in islice(proposals(model, 0), _MOST_TRIES):
            why = ""
            for how in ("fake", "real"):
                try:
                    return _attempt(model, found, example, how, evaluate, why, work)
                except Exception as error:  # the model may raise anything
                    first, why = first or error, _first_line(error)
                    if not (_about_fakes(error) and _size(model) <= _MOST_BYTES):
                        break
            if not evaluate:
                tried.append(example.words())
            if sum(work) > _MOST_OPERATIONS:
                raise none_fits("example", model, tried, first) from first
    raise none_fits("example", model, tried, first) from first


def _attempt(
    model: nn.Module,
    found: tuple[Place, ...],
    example: Example,
    how: str,
    evaluate: bool,
    why: str,
    work: list[int] | None = None,
) -> Run:
    """Run once; `why` says what came of the attempts before, `work` receives the number of operations."""
    with untouched(model), ExitStack() as stack:
        if evaluate:
            stack.enter_context(eval_mode(model))
        tape, broken = _record(model, found, example, how, [] if work is None else work)
    notes = []
    if how == "real":
        notes.append(f"ran on real tensors, because fake ones could not do it: {why}")
        if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
            notes.append("tensors on the meta device got random values for this run")
    if evaluate:
        told = f" rejected the example: {why}" if why else " rejected every made example"
        notes.append(f"ran in evaluation mode, because training mode{told}")
    notes += broken if how == "real" else _spoilt(example)
    notes += [] if broken else spoilt(model, found)
    return Run(tape, how, tuple(notes), found, f"{example.words()}, {example.origin}")


def _spoilt(example: Example) -> list[str]:
    """Tell of NaN in an example, though a run without numbers does not meet it."""
    for name, tensor in floating(example.named()):
        if not (tensor.is_meta or _foreign(tensor)) and bool(torch.isnan(tensor).any()):
            return [f"the example itself holds NaN{f' in {name!r}' if name else ''}; only its shapes counted"]
    return []


def _checked(example: Any) -> Example:
    if callable(example) and not isinstance(example, Tensor | Mapping):
        example = example()
    if isinstance(example, Tensor | Mapping | list | tuple):
        return given(example)
    raise WrongTypeError(
        f"example is a {type(example).__name__}; give a tensor, a tuple or list of arguments, "
        f"a dict of keyword arguments, or a callable that returns one{_cure(example)}"
    )


def _cure(example: Any) -> str:
    """What to write instead of something near to an example."""
    if type(example).__module__.partition(".")[0] == "numpy":
        return ". For a NumPy array: torch.from_numpy(array)"
    if isinstance(example, torch.utils.data.DataLoader):
        return ". For the first batch of a DataLoader: next(iter(loader)), without its targets"
    if isinstance(example, torch.utils.data.Dataset):
        return ". For a sample of a Dataset: dataset[0][0].unsqueeze(0)"
    if isinstance(example, str | os.PathLike):
        return ". For a file that torch.save wrote: torch.load(path)"
    return ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _affordable(model: nn.Module, error: Exception | None) -> bool:
    """Whether a run with real tensors may be tried after a fake one failed."""
    if _size(model) <= _MOST_BYTES:
        return True
    return _about_fakes(error) and not any(t.is_meta for t in (*model.parameters(), *model.buffers()))


def _size(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _about_fakes(error: Exception | None) -> bool:
    """Whether a run failed because its tensors hold no numbers, rather than because of their shapes."""
    if type(error).__module__.startswith(("torch._subclasses", "torch.fx")):
        return True
    return any(word in str(error) for word in ("tensor subclasses", "FakeTensor", "Fake tensor"))


def _record(
    model: nn.Module, found: tuple[Place, ...], example: Example, how: str, work: list[int]
) -> tuple[Tape, list[str]]:
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
    args, kwargs = tree_map_only(Tensor, recorder.convert, (example.args, example.kwargs))
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
        stack.callback(lambda: work.append(len(recorder.tape.nodes)))
        watch = None
        if not unreal:
            watch = Watch(holders(model, example.named()), lambda: recorder.modules[-1])
            stack.enter_context(watch)
        with recorder:
            result = model(*args, **kwargs)
        recorder.add_output(result)
        if fake_mode is not None:
            _refuse_mixed_types(recorder.tape)
        broken = None if watch is None else watch.origin(result)
    notes = [f"the numbers of this run were not finite: {broken.words()}"] if broken else []
    return recorder.tape, notes


def _refuse_mixed_types(tape: Tape) -> None:
    """Raise what real tensors would have raised: fake ones multiply integers by real numbers in silence."""
    for node in tape.nodes:
        if node.op in _OF_ONE_TYPE:
            dtypes = [tape.values[i].dtype for i in node.inputs]
            if len(set(dtypes)) > 1:
                names = " and ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
                raise RuntimeError(
                    f"{node.op}{f' in {node.module!r}' if node.module else ''} multiplies {names}"
                )


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
                with _placed(self, recorder.convert):
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


@contextmanager
def _placed(module: nn.Module, convert: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Give a recurrent layer on the meta device stand-ins: it compares devices before any dispatch."""
    own = dict(module._parameters)
    flat = getattr(module, "_flat_weights", None)
    if not any(p is not None and p.is_meta for p in own.values()):
        yield
        return
    parameters: dict[str, Any] = module._parameters
    parameters.update({name: p if p is None else convert(p) for name, p in own.items()})
    if isinstance(flat, list):
        flat[:], flat = [w if w is None else convert(w) for w in flat], list(flat)
    try:
        yield
    finally:
        parameters.update(own)
        if isinstance(flat, list) and isinstance(held := module._flat_weights, list):
            held[:] = flat


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
