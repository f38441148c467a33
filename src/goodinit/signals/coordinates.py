"""Do the sizes of activations and of their updates depend on the width of the network?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph.examples import given, in_words
from goodinit.graph.nested import floating, map_tensors
from goodinit.records import CoordinateCheck, CoordinateLayer
from goodinit.signals.probing.objective import objective, split_batch
from goodinit.signals.probing.recorder import canonical, recorded_modules
from goodinit.signals.probing.untouched import accelerators, kept_generators
from goodinit.signals.widths import diverged, judged

__all__ = ["coordinate_check"]

Sizes = dict[str, tuple[str, float, float]]  # layer -> kind, size at the start, size of the change

_OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@dataclass(frozen=True)
class _Settings:
    """What is the same for every width and seed."""

    build: Callable[[int], nn.Module]
    data: Any
    optimizer: str | Callable[[nn.Module], torch.optim.Optimizer]
    lr: float
    steps: int
    loss: Callable[..., Any] | None


def coordinate_check(
    build: Callable[[int], nn.Module],
    widths: Sequence[int],
    data: Any,
    *,
    optimizer: str | Callable[[nn.Module], torch.optim.Optimizer] = "adam",
    lr: float = 1e-3,
    steps: int = 4,
    seeds: int = 8,
    loss: Callable[..., Any] | None = None,
    tolerance: float = 0.2,
    confidence: float = 0.99,
) -> CoordinateCheck:
    """Train briefly at several widths, and measure how activations and their changes scale with width.

    size of x = √(mean x²),  change = size of (h after `steps` − h at the start) ∝ width**s

    Learning rates carry over from a narrow network to a wide one only where every layer's change
    keeps its size, s = 0 (the maximal update parametrization, muP). s > 0: wide networks blow up
    at the narrow one's rate; s < 0: wide layers stop learning. The slope s is that of log size
    over log width by least squares, with Student's interval over the seeds.

    All steps use the same batch. Models run in the mode in which `build` returns them; random
    generators are put back.

    Args:
        build: ``build(width)`` returns an initialised model; called under a fixed seed.
        widths: at least three, rising.
        data: the pair (inputs, targets); or the inputs alone where the loss takes the output only.
        optimizer: ``"sgd"``, ``"adam"``, ``"adamw"``, or a callable that takes the model and
            returns an optimizer (for rates that differ from group to group).
        lr: learning rate; not used where `optimizer` is a callable.
        steps: optimizer steps before the change is measured.
        seeds: number of models for each width, at least 2.
        loss: ``loss(output, target)`` or ``loss(output)``; None takes cross entropy for integer
            targets, else the mean squared error.
        tolerance: largest |s| that counts as none: finite width bends slopes by about that much.
        confidence: of the intervals.

    Returns:
        The sizes and slopes of every layer, with GI126 where an interval of a change's slope lies
        wholly outside of ±tolerance.

    Raises:
        ArgumentError, WrongTypeError: if an argument is out of range, if there is no loss for the
            data, or if the models of two widths have different layers.

    >>> def build(width: int) -> nn.Module:
    ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4))
    >>> x, y = torch.randn(16, 8), torch.randint(0, 4, (16,))
    >>> check = coordinate_check(build, [32, 64, 128], (x, y), seeds=2, lr=1e-2)
    >>> [layer.name for layer in check.layers]
    ['0', '1', '2']

    Source: Yang and Hu 2021 (Feature learning in infinite-width neural networks, Table 1);
    Yang et al. 2022 (Tensor Programs V, appendix D.1, coordinate checking).
    """
    settings = _Settings(build, data, optimizer, lr, steps, _with_default(loss, data))
    widths = _whole_numbers(widths)
    _check_numbers(widths, steps, seeds, lr, tolerance, confidence)
    sizes: list[list[Sizes]] = []
    losses: list[tuple[float, ...]] = []
    for width in widths:
        runs = [_run(settings, width, seed) for seed in range(seeds)]
        sizes.append([found for found, _, _ in runs])
        losses.append(tuple(sum(column) / seeds for column in zip(*(run[1] for run in runs), strict=True)))
        model = runs[0][2]
    layers = tuple(
        _layer(name, widths, [[run[name] for run in at] for at in sizes], confidence)
        for name in _common(widths, sizes)
    )
    named = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "callable")
    return CoordinateCheck(
        model=model,
        optimizer=named,
        lr=lr if isinstance(optimizer, str) else None,
        steps=steps,
        seeds=seeds,
        widths=tuple(widths),
        layers=layers,
        losses=tuple(losses),
        findings=(*diverged(layers, widths, losses, tolerance), *judged(layers, tolerance)),
        tolerance=tolerance,
        confidence=confidence,
    )


def _whole_numbers(widths: Any) -> tuple[int, ...]:
    try:
        return tuple(index(width) for width in widths)
    except TypeError as error:
        raise WrongTypeError(
            f"widths: expected whole numbers such as [64, 128, 256], got {widths!r}"
        ) from error


def _check_numbers(
    widths: Sequence[int], steps: int, seeds: int, lr: float, tolerance: float, confidence: float
) -> None:
    if len(widths) < 3 or any(b <= a for a, b in pairwise(widths)) or widths[0] < 1:
        raise ArgumentError(f"widths: give at least three, rising from 1 or more; got {list(widths)!r}")
    for name, value, least in (("steps", steps, 1), ("seeds", seeds, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name}: expected an integer of at least {least}, got {value!r}")
    if not 0 < lr < math.inf:
        raise ArgumentError(f"lr: expected a positive number, got {lr!r}")
    if not 0 <= tolerance < math.inf:
        raise ArgumentError(f"tolerance: expected a number of at least 0, got {tolerance!r}")
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence: expected a number between 0 and 1, got {confidence!r}")


def _with_default(loss: Callable[..., Any] | None, data: Any) -> Callable[..., Any] | None:
    if loss is not None or not (isinstance(data, list | tuple) and len(data) == 2):
        return loss  # None: the model's own loss
    target = data[1]
    if not isinstance(target, Tensor):
        raise WrongTypeError(
            f"data: the targets are a {type(target).__name__}, which no usual loss takes; give loss=..."
        )
    return nn.functional.mse_loss if target.is_floating_point() else _cross_entropy


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    # One class score for each target: the scores are the last dimension.
    return nn.functional.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def _run(settings: _Settings, width: int, seed: int) -> tuple[Sizes, tuple[float, ...], str]:
    """Train one model; return sizes by layer, the losses, and the model's class."""
    with kept_generators(seed, []):
        model = settings.build(width)
    if not isinstance(model, nn.Module):
        raise WrongTypeError(
            f"build: expected a torch.nn.Module for width {width}, got {type(model).__name__}"
        )
    devices = accelerators(model)
    optimizer = _optimizer(settings, model)
    inputs, target, has_target = split_batch(settings.data, settings.loss)
    example = given(inputs)
    losses = []

    def forward() -> Any:
        args, kwargs = map_tensors((example.args, example.kwargs), lambda t: t.detach().clone())
        try:
            return model(*args, **kwargs)
        except Exception as error:
            raise ExampleError(
                f"data: {type(model).__name__} of width {width} rejected its inputs ({example.words()}): "
                f"{in_words(error)}"
            ) from error

    # The same seed before every pass: dropout masks are no change of the network.
    with torch.inference_mode(False), torch.enable_grad():
        for step in range(settings.steps + 1):
            last = step == settings.steps
            with kept_generators(seed, devices), _outputs(model, step == 0 or last) as seen:
                output = forward()
                chosen = objective(output, settings.loss, target, has_target, seed)
            if chosen.loss is None or (not last and not chosen.roots):
                raise ArgumentError(
                    "loss: none is known. Give data=(inputs, targets), a loss=..., or a model that returns "
                    "a scalar .loss that depends on its parameters"
                )
            losses.append(chosen.loss)
            if step == 0:
                before = seen
            if last:
                break
            optimizer.zero_grad()
            torch.autograd.backward(chosen.roots, chosen.cotangents)
            with kept_generators(seed, devices):
                optimizer.step()
    return _sizes(before, seen), tuple(losses), type(model).__name__


def _optimizer(settings: _Settings, model: nn.Module) -> torch.optim.Optimizer:
    if callable(settings.optimizer):
        made = settings.optimizer(model)
        if not isinstance(made, torch.optim.Optimizer):
            raise WrongTypeError(
                f"optimizer: the callable returned a {type(made).__name__}; return a torch.optim.Optimizer"
            )
        return made
    kind = _OPTIMIZERS.get(settings.optimizer)
    if kind is None:
        raise ArgumentError(
            f"optimizer: {settings.optimizer!r} is not known; use {', '.join(map(repr, _OPTIMIZERS))} "
            "or a callable that takes the model"
        )
    return kind(model.parameters(), lr=settings.lr)  # type: ignore[call-arg]


@contextmanager
def _outputs(model: nn.Module, wanted: bool) -> Iterator[dict[str, tuple[str, list[Tensor]]]]:
    """Collect copies of every layer's outputs, one for each call."""
    seen: dict[str, tuple[str, list[Tensor]]] = {}
    handles = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            found = floating(output)
            if found:
                calls = seen.setdefault(name, (type(module).__name__, []))[1]
                calls.append(found[0][1].detach().clone())

        return keep

    for module, name in recorded_modules(model).items() if wanted else ():
        handles.append(module.register_forward_hook(hook(canonical(name) or type(model).__name__)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _sizes(before: dict[str, tuple[str, list[Tensor]]], after: dict[str, tuple[str, list[Tensor]]]) -> Sizes:
    found = {}
    for name, (kind, first) in before.items():
        last = after[name][1]
        both = [(a, b) for a, b in zip(first, last, strict=False) if a.shape == b.shape]
        if both:
            found[name] = (kind, _rms([a for a, _ in both]), _rms([b - a for a, b in both]))
    return found


def _rms(tensors: Sequence[Tensor]) -> float:
    total = sum(float(t.double().abs().pow(2).sum()) for t in tensors)
    return math.sqrt(total / max(sum(t.numel() for t in tensors), 1))


def _common(widths: Sequence[int], sizes: list[list[Sizes]]) -> list[str]:
    names = list(sizes[0][0])
    for width, runs in zip(widths, sizes, strict=True):
        for run in runs:
            if list(run) != names:
                odd = sorted(set(run) ^ set(names))[:3]
                raise ArgumentError(
                    f"build: the models of widths {widths[0]} and {width} differ in more than width "
                    f"({', '.join(map(repr, odd)) or 'another order of layers'}); keep depth and names"
                )
    return names


def _layer(
    name: str, widths: Sequence[int], runs: list[list[tuple[str, float, float]]], confidence: float
) -> CoordinateLayer:
    outputs = [[run[1] for run in at] for at in runs]
    changes = [[run[2] for run in at] for at in runs]
    first, second = _slope(widths, outputs, confidence), _slope(widths, changes, confidence)
    return CoordinateLayer(
        name=name,
        kind=runs[0][0][0],
        output=tuple(_typical(at) for at in outputs),
        change=tuple(_typical(at) for at in changes),
        output_slope=None if first is None else first[0],
        output_interval=None if first is None else first[1],
        change_slope=None if second is None else second[0],
        change_interval=None if second is None else second[1],
    )


def _typical(sizes: Sequence[float]) -> float:
    if not all(0 < size < math.inf for size in sizes):
        return sum(sizes) / len(sizes)
    return math.exp(sum(map(math.log, sizes)) / len(sizes))


def _slope(
    widths: Sequence[int], sizes: list[list[float]], confidence: float
) -> tuple[float, tuple[float, float]] | None:
    """Return the exponent of width and Student's interval over the seeds, each with its own fit."""
    if not all(0 < size < math.inf for at in sizes for size in at):
        return None
    from scipy.stats import t

    x = [math.log(width) for width in widths]
    middle = sum(x) / len(x)
    square = sum((value - middle) ** 2 for value in x)
    slopes = [
        sum((a - middle) * math.log(size) for a, size in zip(x, one, strict=True)) / square
        for one in zip(*sizes, strict=True)
    ]
    count = len(slopes)
    mean = sum(slopes) / count
    spread = math.sqrt(sum((slope - mean) ** 2 for slope in slopes) / (count - 1) / count)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * spread
    return mean, (mean - half, mean + half)
