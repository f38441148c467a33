"""A model at one batch as a linear map: products with its Jacobian and with the transpose."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from goodinit.errors import ArgumentError, ExampleError, UnknownNameError, did_you_mean
from goodinit.graph.examples import Example, given, in_words, none_fits, proposals
from goodinit.graph.nested import floating, map_tensors
from goodinit.signals.probing.recorder import canonical
from goodinit.signals.probing.untouched import accelerators, kept_generators

__all__ = ["Linearized", "linearized"]


@dataclass(frozen=True)
class Linearized:
    """The Jacobian of `end` by `start`, for every sample at once.

    `multiply` and `transposed` take and give float64 of shape (samples, size of one sample).
    """

    inputs: int
    outputs: int
    samples: int
    joint: bool
    multiply: Callable[[Tensor], Tensor]
    transposed: Callable[[Tensor], Tensor]


@dataclass
class _Ends:
    """The two ends of the map in one forward pass."""

    delta: Tensor | None = None
    end: Tensor | None = None


@dataclass
class _Runner:
    """Runs the model with a shift of `start` by `delta`; the same random numbers every time."""

    model: nn.Module
    example: Example
    start: str
    end: str
    modules: dict[str, nn.Module]
    seed: int

    def run(self, delta: Tensor | None) -> _Ends:
        """Return both ends; a `delta` of None is made where the start is met: zeros to differentiate by."""
        ends = _Ends(delta)
        args, kwargs = map_tensors((self.example.args, self.example.kwargs), lambda t: t.detach().clone())
        with ExitStack() as stack:
            stack.enter_context(kept_generators(self.seed, accelerators(self.model)))
            if self.start == "input":
                args, kwargs = _shifted((args, kwargs), ends)
            else:
                shift = self.modules[self.start].register_forward_hook(_first_call(ends))
                stack.callback(shift.remove)
            if self.end != "output":
                read = self.modules[self.end].register_forward_hook(_last_call(ends))
                stack.callback(read.remove)
            output = self.model(*args, **kwargs)
        if self.end == "output":
            found = floating(output)
            ends.end = found[0][1] if found else None
        return ends


def _shifted(value: Any, ends: _Ends) -> Any:
    """Add the shift to the first floating tensor inside."""
    done = False

    def shift(tensor: Tensor) -> Tensor:
        nonlocal done
        if done or not tensor.is_floating_point() or tensor.numel() == 0:
            return tensor
        done = True
        if ends.delta is None:
            ends.delta = torch.zeros_like(tensor, memory_format=torch.contiguous_format).requires_grad_()
        return tensor + ends.delta

    return map_tensors(value, shift)


def _first_call(ends: _Ends) -> Callable[[nn.Module, Any, Any], Any]:
    called = False

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        nonlocal called
        if called:
            return None
        called = True
        return _shifted(output, ends)

    return hook


def _last_call(ends: _Ends) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        found = floating(output)
        ends.end = found[0][1] if found else None

    return hook


@contextmanager
def linearized(model: nn.Module, batch: Any, start: str, end: str, seed: int) -> Iterator[Linearized]:
    """Give the Jacobian's products while the context is open.

    Args:
        model: the model; its parameters' flags are changed, so restore them afterwards.
        batch: as for `probe`.
        start: ``"input"`` (the first floating tensor) or a layer's name (its first call).
        end: ``"output"`` (the first floating tensor) or a layer's name (its last call).
        seed: of a made batch and of dropout masks.

    Raises:
        UnknownNameError: if there is no layer of that name.
        ArgumentError: if the end does not depend on the start.
        ExampleError: if the model rejects the batch, or none can be made.
    """
    modules = {canonical(name): module for name, module in model.named_modules() if name}
    for argument, name, own in (("start", start, "input"), ("end", end, "output")):
        if name != own and name not in modules:
            raise UnknownNameError(
                f"{argument}: {type(model).__name__} has no layer {name!r}{did_you_mean(name, modules)}; "
                f"give {own!r} or a name from model.named_modules()"
            )
    for parameter in model.parameters():
        if parameter.is_leaf:
            parameter.requires_grad_(False)
    with _differentiable_twice(model):
        runner, ends = _first_run(model, batch, start, end, modules, seed)
        if ends.delta is None:
            cure = " Token ids have no derivative: give start='<name of the embedding layer>'."
            raise ArgumentError(f"start: no floating tensor at {start!r}.{cure if start == 'input' else ''}")
        if ends.end is None or not ends.end.requires_grad:
            raise ArgumentError(
                f"end: {end!r} does not depend on {start!r} by a differentiable way; choose an end that "
                "lies behind the start"
            )
        yield _maps(runner, ends.delta, ends.end)


@contextmanager
def _differentiable_twice(model: nn.Module) -> Iterator[None]:
    """Leave out fused kernels that can be differentiated only once: attention and recurrent layers."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    cuda = recurrent and any(parameter.is_cuda for parameter in model.parameters())
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False) if cuda else nullcontext(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _first_run(
    model: nn.Module, batch: Any, start: str, end: str, modules: dict[str, nn.Module], seed: int
) -> tuple[_Runner, _Ends]:
    tried: list[str] = []
    failure: Exception | None = None
    for example in proposals(model, seed) if batch is None else [given(batch)]:
        runner = _Runner(model, example, start, end, modules, seed)
        try:
            return runner, runner.run(None)
        except Exception as error:
            failure = failure or error
            tried.append(example.words())
    if batch is None:
        raise none_fits("batch", model, tried, failure) from failure
    raise ExampleError(
        f"batch: {type(model).__name__} rejected it ({tried[0]}): {in_words(failure)}. Pass what model(...) "
        "takes: a tensor, a tuple of positional arguments or a dict of keyword arguments"
    ) from failure


def _maps(runner: _Runner, delta: Tensor, end: Tensor) -> Linearized:
    def back(cotangent: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(end, delta, cotangent, retain_graph=True, allow_unused=True)
        return torch.zeros_like(delta) if found is None else found

    forward = _forward_product(runner, delta, end)
    samples = delta.shape[0] if delta.ndim and end.ndim and delta.shape[0] == end.shape[0] else 1
    joint = not (delta.ndim and end.ndim and delta.shape[0] == end.shape[0])
    if samples > 1 and _coupled(back, end):
        samples, joint = 1, True
    return Linearized(
        delta.numel() // samples,
        end.numel() // samples,
        samples,
        joint,
        # On the CPU, where every machine has float64.
        lambda v: forward(_as(v, delta)).reshape(samples, -1).cpu().double(),
        lambda u: back(_as(u, end)).reshape(samples, -1).cpu().double(),
    )


def _as(vectors: Tensor, like: Tensor) -> Tensor:
    return vectors.reshape(like.shape).to(like.device, like.dtype)


def _coupled(back: Callable[[Tensor], Tensor], end: Tensor) -> bool:
    """Whether one sample's output depends on another sample's input; the first and the last are asked."""
    generator = torch.Generator().manual_seed(0)
    for at in (0, end.shape[0] - 1):
        cotangent = torch.zeros_like(end)
        cotangent[at] = torch.randn(end[at].shape, generator=generator, dtype=torch.float32).to(end)
        reached = back(cotangent).reshape(end.shape[0], -1).ne(0).any(dim=1)
        if int(reached.sum()) > int(reached[at]):
            return True
    return False


def _forward_product(runner: _Runner, delta: Tensor, end: Tensor) -> Callable[[Tensor], Tensor]:
    """Return v -> J v: the derivative of u -> Jᵀ u, or forward mode where that has none.

    The first needs no second forward pass and sees the same dropout masks.
    """
    cotangent = torch.zeros_like(end, requires_grad=True)
    try:
        (slope,) = torch.autograd.grad(end, delta, cotangent, create_graph=True)
        if math.prod(end.shape):
            torch.autograd.grad(slope, cotangent, torch.zeros_like(slope), retain_graph=True)
    except RuntimeError:
        return _forward_mode(runner)

    def multiply(tangent: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(slope, cotangent, tangent, retain_graph=True)
        return found

    return multiply


def _forward_mode(runner: _Runner) -> Callable[[Tensor], Tensor]:
    from torch.autograd import forward_ad

    def multiply(tangent: Tensor) -> Tensor:
        with warnings.catch_warnings(), forward_ad.dual_level():
            # torch warns at the first use that it loads a part of itself.
            warnings.simplefilter("ignore")
            dual = forward_ad.make_dual(torch.zeros_like(tangent), tangent)
            end = runner.run(dual).end
            assert end is not None
            found = forward_ad.unpack_dual(end).tangent
        return torch.zeros_like(end) if found is None else found.detach()

    return multiply
