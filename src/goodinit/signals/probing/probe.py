"""Measure forward and backward passes, and leave no trace in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph.examples import Example, given, in_words, none_fits, proposals
from goodinit.graph.nested import floating, map_tensors, tensors
from goodinit.graph.places import unwrapped
from goodinit.records import AttentionSignal, LayerSignal, Moments, ParameterSignal
from goodinit.signals.probing.heads import Head
from goodinit.signals.probing.layers import Tallies
from goodinit.signals.probing.measuring import Vectors, fetch, measuring, merge
from goodinit.signals.probing.moments import as_moments, sums, varying_part
from goodinit.signals.probing.objective import Objective, objective, split_batch
from goodinit.signals.probing.outcome import Outcome
from goodinit.signals.probing.parameters import ParameterTallies, effective_depth
from goodinit.signals.probing.recorder import Recorder
from goodinit.signals.probing.refusing import filled, measurable
from goodinit.signals.probing.structure import structure, untouched_norms
from goodinit.signals.probing.targets import Against
from goodinit.signals.probing.untouched import accelerators, kept_generators, kept_model

__all__ = ["Probe", "probe"]

_PAIR = ". If this is (inputs, targets), pass a loss of (output, target) as well, or the inputs alone"


@dataclass(frozen=True)
class Probe:
    """What forward and backward passes over one or more batches showed.

    `batch` says in words what went in, `structure` which building blocks the graph
    holds ("attention", "normalised", "recurrent", "residual"), `input` the moments of
    the first floating input, `input_varying` how much of the first input's second
    moment differs from sample to sample, `effective_depth` how many layers take part
    in learning, and `notes` what else is worth knowing. `broken` counts elements of the
    model's own output that are NaN or plus infinity; `baseline` is the loss of outputs that
    are all zero, where the target holds numbers of `classes` classes. `input_share` is the part
    of the first input's second moment that differs from sample to sample, where that input is
    floating; `returned` the sum of squares of the gradient that each of the model's own outputs received;
    `entering` the shapes of what went into the model; `untouched` the norms that ran in eval mode
    on running statistics of no batch; `against` the first batch's output held against its targets;
    `heads` the same of each of several outputs; `fed` the first batch as it was given.
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
    attention: tuple[AttentionSignal, ...] = ()
    effective_depth: float | None = None
    batches: int = 1
    broken: int = 0
    baseline: float | None = None
    classes: int | None = None
    input_share: float | None = None
    returned: Mapping[str, float] = field(default_factory=dict)
    entering: tuple[tuple[int, ...], ...] = ()
    untouched: tuple[str, ...] = ()
    against: Against | None = None
    heads: tuple[Head, ...] = ()
    fed: Any = field(default=None, compare=False, repr=False)


def probe(
    model: nn.Module,
    batch: Any = None,
    *,
    batches: Iterable[Any] | None = None,
    loss: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Probe:
    """Measure every layer's output and gradient in one forward and one backward pass for each batch.

    Without a loss the gradient starts from a random linear functional
    L = Σ_t ⟨v_t, y_t⟩ of the outputs y_t with v_t iid N(0, 1): each output element
    receives a gradient of second moment 1, so a layer's gradient second moment is
    the factor by which gradients grew on their way to it. A model that returns a
    scalar ``loss`` itself (transformers, given labels) has that differentiated.

    Several batches are measured one after the other and merged: moments are those of
    all their elements, a unit is dead where it is zero in all of them, and what
    compares samples (`varying`, `correlation`, `rank`) is the mean over batches. Every
    batch is differentiated on its own.

    The model is left as it was, also after an exception: parameters, `.grad`,
    buffers, attributes, modes, flags, hooks and all random generators. It runs in the
    mode (train or eval) that it is in, and inside the caller's ``torch.autocast``.

    Args:
        model: any module with materialised parameters.
        batch: a tensor; a tuple or list of positional arguments; a mapping of
            keyword arguments; the pair (inputs, targets), inputs being any of these,
            if the loss takes two arguments; or None to make one from the first layer
            (standard normal values, uniform token ids).
        batches: instead of `batch`, several of them: a list, a DataLoader or any other
            iterable, of which every item is used.
        loss: ``loss(output)`` or ``loss(output, target)``, returning a scalar tensor.
        seed: of the made batch, the random functional and the model's own randomness
            (dropout).

    Returns:
        The measurements, layers in order of execution.

    Raises:
        ExampleError: if the model rejects a batch, or none can be made.
        TensorError: if parameters hold no values (meta device, lazy modules) or were made in
            inference mode.
        ArgumentError, WrongTypeError: if the loss fails or returns no scalar tensor, if the
            batches are none, or if the model is TorchScript, whose layers cannot be watched.

    >>> seen = probe(nn.Sequential(nn.Linear(8, 16), nn.ReLU()))
    >>> [layer.kind for layer in seen.layers]
    ['Linear', 'ReLU']
    >>> probe(nn.Linear(8, 16), batches=[torch.randn(4, 8), torch.randn(2, 8)]).layers[0].output.count
    96
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ArgumentError(f"seed: expected an integer from 0 to 2**63 - 1, got {seed!r}")
    model = unwrapped(model)
    measurable(model)
    passes = _Passes(model, loss, seed)
    with (
        kept_model(model) as told,
        kept_model(loss) if isinstance(loss, nn.Module) else nullcontext(),
        kept_generators(seed, accelerators(model)),
        torch.inference_mode(False),
        torch.enable_grad(),
        _eager(model),
        _differentiable_recurrence(model),
    ):
        for each in _batches(batch, batches):
            passes.run(each)
    # With the values that they have again.
    with torch.inference_mode(False):
        parameters = passes.parameters.signals()
    layers = passes.layers.layers()
    notes = []
    if not any(layer.gradient is not None for layer in layers):
        notes.append("No gradient reached any layer, so the backward pass could not be judged.")
    notes += told
    count = len(passes.losses)
    given = [number for number in passes.losses if number is not None]
    return Probe(
        model=type(model).__name__,
        batch=f"{passes.words}{f' and {count - 1} more batches' if count > 1 else ''}",
        loss=sum(given) / len(given) if given else None,
        layers=layers,
        parameters=parameters,
        structure=tuple(sorted(passes.structure)),
        input=as_moments(passes.entered["sums"]) if passes.entered else None,
        input_varying=passes.varying(),
        notes=tuple(notes),
        attention=passes.layers.attention(),
        effective_depth=effective_depth(parameters),
        batches=count,
        broken=passes.outcome.broken,
        baseline=passes.outcome.baseline,
        classes=passes.outcome.classes,
        input_share=passes.share(),
        returned=passes.outcome.returned,
        entering=passes.entering,
        untouched=untouched_norms(model),
        against=passes.outcome.against,
        heads=passes.outcome.heads,
        fed=passes.fed,
    )


def _batches(batch: Any, batches: Iterable[Any] | None) -> Iterator[Any]:
    """Yield the one batch, or each of several."""
    if batches is None:
        yield batch
        return
    if batch is not None:
        raise ArgumentError("batches: give either one batch or batches=..., not both")
    # A tensor or a mapping can be iterated too, into things that are no batches.
    if isinstance(batches, torch.Tensor | Mapping | str) or not isinstance(batches, Iterable):
        raise WrongTypeError(
            f"batches: expected a list or another iterable of batches, got {type(batches).__name__}; "
            "pass a single batch as the second argument"
        )
    found = False
    for each in batches:
        if each is None:
            raise WrongTypeError("batches: holds None; leave `batches` out to have a batch made")
        found = True
        yield each
    if not found:
        raise ArgumentError("batches: is empty; give at least one batch, or none to have one made")


class _Passes:
    """Runs batch after batch and keeps what they add up to."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None, seed: int) -> None:
        self.model, self.loss, self.seed = model, loss, seed
        self.layers, self.parameters = Tallies(), ParameterTallies(model)
        # As they are between passes: FSDP puts others in their place while the model runs.
        self.trainable = [p for p in model.parameters() if p.requires_grad]
        self.structure: set[str] = set()
        self.losses: list[float | None] = []
        self.entered: Vectors = {}
        self.outcome = Outcome()
        self.words = ""
        self.fed: Any = None
        self._varying: list[tuple[float, int]] = []
        self._first_is_floating = False
        self.entering: tuple[tuple[int, ...], ...] = ()

    def run(self, batch: Any) -> None:
        """Measure one batch, forward and backward."""
        self.fed = batch if not self.losses else self.fed
        inputs, target, has_target = split_batch(_ordinary(batch), self.loss)
        filled(inputs)
        recorder, output, example, entries = _forward(self.model, inputs, self.seed)
        try:
            chosen = objective(output, self.loss, target, has_target, self.seed + len(self.losses))
            self.outcome.absorb(output, self.loss, target, has_target, inputs, chosen.loss)
            self.outcome.listen(output)
            self.structure.update(structure(tensor for _, tensor in floating(output)))
            # From here on only the graph holds activations, and it lets go of them as it is used up.
            del output
            recorder.remember()
            inside = [recorder.gathered.get(id(p), p) for p in self.trainable]
            found = _backward(self.model, chosen, [*inside, *entries])
            gradients = {id(p): g for p, g in zip(self.trainable, found, strict=False)}
            # What is left to do is the recorder's own, and none of any function mode's business.
            with torch._C.DisableTorchFunction():
                self.outcome.settle()
                self.layers.absorb(recorder)
        finally:
            recorder.close()
        with torch._C.DisableTorchFunction():
            self.parameters.absorb(gradients)
        self.words = self.words or f"{example.words()}, {example.origin}"
        self.losses.append(chosen.loss)
        self._look_at((example.args, example.kwargs))

    def varying(self) -> float | None:
        """Return the varying part of the first input, mean over samples."""
        samples = sum(count for _, count in self._varying)
        return sum(part * count for part, count in self._varying) / samples if samples else None

    def share(self) -> float | None:
        """Return the same as a share of the input's second moment, if the first input is floating."""
        whole = as_moments(self.entered["sums"]).second_moment if self.entered else 0.0
        varying = self.varying()
        return varying / whole if self._first_is_floating and varying is not None and whole > 0 else None

    def _look_at(self, fed: Any) -> None:
        self.entering = tuple(tuple(tensor.shape) for _, tensor in tensors(fed))
        first = next((tensor for _, tensor in tensors(fed)), None)
        self._first_is_floating = first is not None and first.is_floating_point()
        if first is not None and (part := varying_part(first)) is not None:
            self._varying.append((part, first.shape[0]))
        if entered := floating(fed):
            with measuring(entered[0][1].device):
                found: Vectors = {"sums": sums(entered[0][1])}
            fetch([found])
            merge(self.entered, found)


def _differentiable_recurrence(model: nn.Module) -> AbstractContextManager[Any]:
    """Let recurrent layers in eval mode run without cuDNN, which cannot differentiate them."""
    stuck = any(isinstance(module, nn.RNNBase) and not module.training for module in model.modules())
    if stuck and any(device.type == "cuda" for device in accelerators(model)):
        return torch.backends.cudnn.flags(enabled=False)
    return nullcontext()


def _eager(model: nn.Module) -> AbstractContextManager[Any]:
    """Run compiled parts eagerly: their layers would be invisible otherwise."""
    compiled = any(
        getattr(module, "_orig_mod", None) is not None or module._compiled_call_impl is not None
        for module in model.modules()
    )
    # Only then: this imports the compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def _ordinary(batch: Any) -> Any:
    """Replace tensors that were made in inference mode, which autograd refuses, by copies."""
    if not any(tensor.is_inference() for _, tensor in tensors(batch)):
        return batch
    return map_tensors(batch, lambda tensor: tensor.clone() if tensor.is_inference() else tensor)


def _forward(model: nn.Module, inputs: Any, seed: int) -> tuple[Recorder, Any, Example, list[torch.Tensor]]:
    """Run the model on the batch, or on the first made batch that it accepts."""
    tried: list[str] = []
    failure: Exception | None = None
    for example in proposals(model, seed) if inputs is None else [given(inputs)]:
        # A few models set requires_grad on their inputs themselves, which only leaves allow.
        for prepare in (_differentiable, _plain):
            recorder = Recorder(model)
            (args, kwargs), entries = prepare((example.args, example.kwargs))
            recorder.entered((args, kwargs))
            try:
                with recorder.recording():
                    output = model(*args, **kwargs)
            except Exception as error:
                recorder.close()
                refusal = error
            else:
                return recorder, output, example, entries
        tried.append(example.words())
        failure = failure or refusal
    if inputs is None:
        raise none_fits("batch", model, tried, failure) from failure
    raise ExampleError(
        f"batch: {type(model).__name__} rejected it ({tried[0]}): {in_words(failure)}. Pass what model(...) "
        "takes: a tensor, a tuple of positional arguments or a dict of keyword arguments"
        f"{_PAIR if isinstance(inputs, list | tuple) and len(inputs) == 2 else ''}"
    ) from failure


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
    model: nn.Module, chosen: Objective, wanted: list[torch.Tensor]
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of these tensors, touching no `.grad`."""
    if not chosen.roots or not wanted:
        return ()
    try:
        return torch.autograd.grad(chosen.roots, wanted, chosen.cotangents, allow_unused=True)
    except Exception as error:
        raise ExampleError(
            f"the backward pass of {type(model).__name__} failed: {in_words(error)}. If a layer overwrites "
            "in place what its gradient needs, or uses reentrant checkpointing, turn that off to check it"
        ) from error
