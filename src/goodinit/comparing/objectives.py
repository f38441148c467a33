"""Losses and metrics by name, and a user's own under the same roof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError, did_you_mean

__all__ = ["LOSSES", "METRICS", "Objective", "make_loss", "make_metric"]

#: The target that torch's cross-entropy leaves out.
IGNORED = -100

Function = Callable[[torch.Tensor, torch.Tensor], Any]


@dataclass(frozen=True)
class Objective:
    """A function of (output, target), its name and its direction; `own` is one of the user's."""

    name: str
    function: Function
    higher_is_better: bool = False
    own: bool = False

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> Any:
        return self.function(output, target)


def _alike(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the target in the output's shape: (n, 1) against (n,) would broadcast to (n, n)."""
    if output.numel() != target.numel():
        raise ArgumentError(
            f"the model's output has shape {tuple(output.shape)}, the targets {tuple(target.shape)}: "
            "this loss needs one target for each output"
        )
    return target.reshape(output.shape).to(output.dtype)


def _classes(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the output with its classes in the last dimension, a row for each target."""
    if output.shape[:-1] == target.shape:
        return output.reshape(-1, output.shape[-1])
    if output.dim() > 2 and (output.shape[0], *output.shape[2:]) == tuple(target.shape):
        return output.movedim(1, -1).reshape(-1, output.shape[1])
    raise ArgumentError(
        f"the model's output has shape {tuple(output.shape)}, the targets {tuple(target.shape)}: "
        "classes need an output of shape (examples, ..., classes) and targets of shape (examples, ...)"
    )


def mse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    return functional.mse_loss(output, _alike(output, target))


def l1(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute error."""
    return functional.l1_loss(output, _alike(output, target))


def huber(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Huber's loss with its corner at 1."""
    return functional.huber_loss(output, _alike(output, target))


def bce(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits."""
    return functional.binary_cross_entropy_with_logits(output, _alike(output, target))


def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits, classes in the last dimension (or in dimension 1, as torch has it)."""
    return functional.cross_entropy(_classes(output, target), target.reshape(-1))


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Share of examples whose largest logit (or the sign of the only one) is right."""
    if output.numel() == target.numel():
        return ((output > 0) == (_alike(output, target) > 0.5)).double().mean()
    flat = target.reshape(-1)
    right = _classes(output, target).argmax(-1) == flat
    return right.double().sum() / (flat != IGNORED).sum()


LOSSES: dict[str, Function] = {
    "mse": mse,
    "l1": l1,
    "huber": huber,
    "bce": bce,
    "cross_entropy": cross_entropy,
}
METRICS: dict[str, Function] = {"accuracy": accuracy, **LOSSES}


def make_loss(loss: str | Function) -> Objective:
    """Return the loss of that name, or a user's own.

    Raises:
        UnknownNameError: if there is no such loss.
        WrongTypeError: if it is neither a name nor a callable.

    >>> make_loss("mse")(torch.zeros(2, 1), torch.ones(2)).item()
    1.0
    """
    return _make("loss", loss, LOSSES, False)


def make_metric(metric: str | Function, higher_is_better: bool | None = None) -> Objective:
    """Return the metric of that name, or a user's own, whose direction must then be said.

    Raises:
        UnknownNameError: if there is no such metric.
        ArgumentError: if the direction of a callable is not said, or that of a name is another.
        WrongTypeError: if it is neither a name nor a callable.

    >>> make_metric("accuracy").higher_is_better
    True
    """
    if isinstance(metric, str):
        found = _make("metric", metric, METRICS, metric == "accuracy")
        if higher_is_better not in (None, found.higher_is_better):
            raise ArgumentError(
                f"higher_is_better={higher_is_better} does not fit metric={metric!r}, of which "
                f"{'higher' if found.higher_is_better else 'lower'} is better: leave it out"
            )
        return found
    if callable(metric) and higher_is_better is None:
        raise ArgumentError("higher_is_better must be True or False for a metric of your own, found None")
    if higher_is_better not in (None, True, False):
        raise WrongTypeError(f"higher_is_better must be True or False, found {higher_is_better!r}")
    return _make("metric", metric, METRICS, bool(higher_is_better))


def _make(what: str, given: object, known: dict[str, Function], higher_is_better: bool) -> Objective:
    if isinstance(given, str):
        if given not in known:
            raise UnknownNameError(
                f"{what}={given!r} is none of {', '.join(known)}{did_you_mean(given, known)}"
            )
        return Objective(given, known[given], higher_is_better)
    if not callable(given):
        raise WrongTypeError(f"{what} must be a name or a callable, found {type(given).__name__}")
    name = str(getattr(given, "__name__", type(given).__name__))
    return Objective(name if name.isidentifier() else what, given, higher_is_better, own=True)
