"""The scalar that a probe differentiates: a given loss, or a random linear functional."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph.examples import in_words
from goodinit.graph.nested import describe, floating

__all__ = ["Objective", "objective", "split_batch", "takes_target"]


@dataclass(frozen=True)
class Objective:
    """What is differentiated: roots with their cotangents, and the loss where it means something."""

    roots: tuple[torch.Tensor, ...]
    cotangents: tuple[torch.Tensor, ...]
    loss: float | None


def takes_target(loss: Callable[..., Any], batch: Any) -> bool:
    """Does this loss take (output, target) rather than (output)?

    Decided by its required positional parameters; where the signature hides them
    (``*args``), by whether the batch is a pair.
    """
    # A module's own signature is that of __call__, which says nothing.
    target = loss.forward if isinstance(loss, torch.nn.Module) else loss
    pair = isinstance(batch, list | tuple) and len(batch) == 2
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return pair
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return pair
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in places)
    if required > 2 or not places:
        raise ArgumentError(
            f"loss: takes {required} positional arguments; give a callable loss(output) or "
            "loss(output, target) that returns a scalar tensor"
        )
    return required == 2


def split_batch(batch: Any, loss: Callable[..., Any] | None) -> tuple[Any, Any, bool]:
    """Return (inputs, target, has_target) according to what the loss takes.

    Raises:
        ExampleError: if the loss wants a target and the batch holds none.
    """
    if loss is None:
        return batch, None, False
    if not callable(loss):
        raise WrongTypeError(
            f"loss: expected a callable such as torch.nn.functional.cross_entropy, got {type(loss).__name__}"
        )
    if not takes_target(loss, batch):
        return batch, None, False
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        found = "no batch" if batch is None else describe(batch)
        raise ExampleError(
            f"batch: the loss takes (output, target), so the batch must be the pair (inputs, targets); "
            f"got {found}. Pass batch=(inputs, targets), or a loss of the output alone"
        )
    return batch[0], batch[1], True


def objective(
    output: Any, loss: Callable[..., Any] | None, target: Any, has_target: bool, seed: int
) -> Objective:
    """Return what to differentiate for one model output.

    Without a loss: a scalar ``output.loss`` if the model returned one, else
    L = Σ_t ⟨v_t, y_t⟩ over all floating outputs y_t, v iid standard normal, so that
    each element of each output receives a gradient of mean 0 and second moment 1,
    and the gradient moments of layers read as growth factors.

    Raises:
        WrongTypeError: if the loss returns no tensor.
        ArgumentError: if it raises an exception, or returns more than one number.
    """
    if loss is not None:
        value = _value(output, loss, target, has_target)
        if not isinstance(value, torch.Tensor):
            raise WrongTypeError(f"loss: must return a scalar tensor, returned {type(value).__name__}")
        if value.numel() != 1 or not value.is_floating_point():
            raise ArgumentError(
                f"loss: must return one floating number, returned shape {tuple(value.shape)} of "
                f"{value.dtype}; reduce it, for example with .mean()"
            )
        return _scalar(value)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor) and own.numel() == 1 and own.requires_grad:
        return _scalar(own)
    generator = torch.Generator().manual_seed(seed)
    roots, cotangents = [], []
    for _, tensor in floating(output):
        random = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
        if tensor.requires_grad:
            roots.append(tensor)
            cotangents.append(random.to(tensor.device, tensor.dtype))
    return Objective(tuple(roots), tuple(cotangents), None)


def _value(output: Any, loss: Callable[..., Any], target: Any, has_target: bool) -> Any:
    try:
        return loss(output, target) if has_target else loss(output)
    except Exception as error:
        given = f"({describe(output)}; {describe(target)})" if has_target else f"({describe(output)})"
        raise ArgumentError(
            f"loss: it failed on {given}: {in_words(error)}. Pass a loss that takes the model's output"
            f"{' and the second item of the batch' if has_target else ''}"
        ) from error


def _scalar(value: torch.Tensor) -> Objective:
    number = float(value.detach())
    if not value.requires_grad:
        return Objective((), (), number)
    return Objective((value,), (torch.ones_like(value),), number)
