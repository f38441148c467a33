"""Measure one forward and one backward pass, and leave no trace in the model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from goodinit.errors import ArgumentError, ExampleError, TensorError, WrongTypeError
from goodinit.graph.places import unwrapped
from goodinit.records import LayerSignal, Moments, ParameterSignal
from goodinit.signals.batches import Example, given, proposals
from goodinit.signals.moments import flat_real, moments, varying_part
from goodinit.signals.nested import floating, map_tensors, tensors
from goodinit.signals.objective import Objective, objective, split_batch
from goodinit.signals.recorder import Recorder, canonical
from goodinit.signals.structure import structure
from goodinit.signals.untouched import accelerators, kept_generators, kept_model

__all__ = ["Probe", "probe"]

_PAIR = ". If this is (inputs, targets), pass a loss of (output, target) as well, or the inputs alone"


@dataclass(frozen=True)
class Probe:
    """What one forward and one backward pass showed.

    `batch` says in words what went in, `structure` which building blocks the graph
    holds ("attention", "normalised", "recurrent", "residual"), `input` the moments of
    the first floating input, `input_varying` how much of the first input's second
    moment differs from sample to sample, and `notes` what else is worth knowing.
    """

    model: str
    batch: str
    loss: float | None
    layers: tuple[LayerSignal, ...]
    parameters: tuple[ParameterSignal, ...]
    structure: tuple[str, ...] = ()
    input: Moments | None = None
    input_varying: float | None = None
    notes: tuple[str, ...] = ()


def probe(
    model: nn.Module,
    batch: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Probe:
    """Measure every layer's output and gradient in one forward and one backward pass.

    Without a loss the gradient starts from a random linear functional
    L = Σ_t ⟨v_t, y_t⟩ of the outputs y_t with v_t iid N(0, 1): each output element
    receives a gradient of second moment 1, so a layer's gradient second moment is
    the factor by which gradients grew on their way to it. A model that returns a
    scalar ``loss`` itself (transformers, given labels) has that differentiated.

    The model is left as it was, also after an exception: parameters, `.grad`,
    buffers, modes, flags, hooks and all random generators. It runs in the mode
    (train or eval) that it is in.

    Args:
        model: any module with materialised parameters.
        batch: a tensor; a tuple or list of positional arguments; a mapping of
            keyword arguments; the pair (inputs, targets), inputs being any of these,
            if the loss takes two arguments; or None to make one from the first layer
            (standard normal values, uniform token ids).
        loss: ``loss(output)`` or ``loss(output, target)``, returning a scalar tensor.
        seed: of the made batch, the random functional and the model's own randomness
            (dropout).

    Returns:
        The measurements, layers in order of execution.

    Raises:
        ExampleError: if the model rejects the batch, or none can be made.
        TensorError: if parameters hold no values (meta device, lazy modules).
        ArgumentError, WrongTypeError: if the loss returns no scalar tensor.

    >>> seen = probe(nn.Sequential(nn.Linear(8, 16), nn.ReLU()))
    >>> [layer.kind for layer in seen.layers]
    ['Linear', 'ReLU']
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ArgumentError(f"seed: expected an integer from 0 to 2**63 - 1, got {seed!r}")
    model = unwrapped(model)
    _materialised(model)
    inputs, target, has_target = split_batch(batch, loss)
    versions = [parameter._version for parameter in model.parameters()]
    with (
        kept_model(model),
        kept_generators(seed, accelerators(model)),
        torch.inference_mode(False),
        torch.enable_grad(),
        _eager(model),
    ):
        recorder, output, example, entries = _forward(model, inputs, seed)
        chosen = objective(output, loss, target, has_target, seed)
        blocks = structure(tensor for _, tensor in floating(output))
        gradients = _backward(model, chosen, entries)
    notes = []
    if not any(call.gradient is not None for call in recorder.calls):
        notes.append("No gradient reached any layer, so the backward pass could not be judged.")
    if [parameter._version for parameter in model.parameters()] != versions:
        notes.append("The model's own forward pass wrote to its parameters.")
    fed = [tensor for _, tensor in tensors((example.args, example.kwargs))]
    entered = [tensor for _, tensor in floating((example.args, example.kwargs))]
    return Probe(
        model=type(model).__name__,
        batch=f"{example.words()}, {example.origin}",
        loss=chosen.loss,
        layers=recorder.signals(),
        parameters=_parameters(model, gradients),
        structure=blocks,
        input=moments(entered[0]) if entered else None,
        input_varying=varying_part(fed[0]) if fed else None,
        notes=tuple(notes),
    )


def _eager(model: nn.Module) -> AbstractContextManager[Any]:
    """Run compiled parts eagerly: their layers would be invisible otherwise."""
    compiled = any(
        getattr(module, "_orig_mod", None) is not None or module._compiled_call_impl is not None
        for module in model.modules()
    )
    # Only then: this imports the compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _materialised(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise TensorError(
                f"parameter '{name}' is lazy and has no shape yet; run the model once on a real batch, "
                "then check it"
            )
        if parameter.is_meta:
            raise TensorError(
                f"parameter '{name}' is on the meta device and holds no values; materialise the model "
                "(model.to_empty(device='cpu'), then goodinit.initialize(model)), then check it"
            )


def _forward(model: nn.Module, inputs: Any, seed: int) -> tuple[Recorder, Any, Example, list[torch.Tensor]]:
    """Run the model on the batch, or on the first made batch that it accepts."""
    tried: list[str] = []
    failure: Exception | None = None
    for example in proposals(model, seed) if inputs is None else [given(inputs)]:
        # A few models set requires_grad on their inputs themselves, which only leaves allow.
        for prepare in (_differentiable, _plain):
            recorder = Recorder(model)
            (args, kwargs), entries = prepare((example.args, example.kwargs))
            try:
                with recorder.recording():
                    output = model(*args, **kwargs)
            except Exception as error:
                refusal = error
            else:
                return recorder, output, example, entries
        tried.append(example.words())
        failure = failure or refusal
    name = type(model).__name__
    if inputs is not None:
        raise ExampleError(
            f"batch: {name} rejected it ({tried[0]}): {_words(failure)}. Pass what model(...) takes: "
            "a tensor, a tuple of positional arguments or a dict of keyword arguments"
            f"{_PAIR if isinstance(inputs, list | tuple) and len(inputs) == 2 else ''}"
        ) from failure
    attempts = (
        f"tried {'; '.join(tried[:6])}{' and more' if len(tried) > 6 else ''}"
        if tried
        else "found no first layer"
    )
    reason = f"; the first attempt ended with {_words(failure)}" if failure is not None else ""
    raise ExampleError(
        f"batch: could not make one for {name}: {attempts}{reason}. Pass one: batch=tensor, a tuple of "
        "positional arguments, or a dict of keyword arguments"
    ) from failure


def _words(error: Exception | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _differentiable(values: Any) -> tuple[Any, list[torch.Tensor]]:
    """Make inputs part of the graph, so that frozen layers have gradients too.

    The model receives a copy that is no leaf: it may be overwritten in place, and the
    user's own tensor is not touched.
    """
    entries: list[torch.Tensor] = []

    def enter(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            return tensor
        leaf = tensor.detach().requires_grad_()
        entries.append(leaf)
        return leaf.clone()

    return map_tensors(values, enter), entries


def _plain(values: Any) -> tuple[Any, list[torch.Tensor]]:
    """Give the model copies of its inputs outside of any graph."""
    return map_tensors(values, lambda tensor: tensor.detach().clone()), []


def _backward(
    model: nn.Module, chosen: Objective, entries: list[torch.Tensor]
) -> dict[int, torch.Tensor | None]:
    """Return each trainable parameter's gradient by the parameter's id, touching no `.grad`."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    wanted = [*trainable, *entries]
    if not chosen.roots or not wanted:
        return {}
    try:
        found = torch.autograd.grad(chosen.roots, wanted, chosen.cotangents, allow_unused=True)
    except RuntimeError as error:
        raise ExampleError(
            f"the backward pass of {type(model).__name__} failed: {_words(error)}. If a layer overwrites "
            "in place what its gradient needs, or uses reentrant checkpointing, turn that off to check it"
        ) from error
    return {id(p): g for p, g in zip(trainable, found[: len(trainable)], strict=True)}


def _parameters(model: nn.Module, gradients: dict[int, torch.Tensor | None]) -> tuple[ParameterSignal, ...]:
    owners = dict(model.named_modules())
    signals = []
    for name, parameter in model.named_parameters():
        if not (parameter.is_floating_point() or parameter.is_complex()):
            continue
        gradient = gradients.get(id(parameter))
        flat = flat_real(parameter)
        size, count = flat.abs(), max(flat.numel(), 1)
        finite = size[torch.isfinite(size)]
        tiny = (finite > 0) & (finite < torch.finfo(flat.dtype).tiny)
        signals.append(
            ParameterSignal(
                name=canonical(name),
                shape=tuple(parameter.shape),
                dtype=str(parameter.dtype).removeprefix("torch."),
                trainable=parameter.requires_grad,
                value=moments(parameter),
                gradient=None if gradient is None else moments(gradient),
                largest=float(finite.max()) if finite.numel() else 0.0,
                kind=type(owners[name.rpartition(".")[0]]).__name__.removeprefix("Parametrized"),
                zeros=int((size == 0).sum()) / count,
                subnormal=int(tiny.sum()) / count,
            )
        )
    return tuple(signals)
