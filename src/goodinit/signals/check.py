"""probe, then diagnose: the health report of one model."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from goodinit.errors import GoodinitError
from goodinit.graph.examples import in_words
from goodinit.records import JacobianSpectrum, Report
from goodinit.signals.jacobians.jacobian import jacobian_spectrum
from goodinit.signals.judging.cures import INITIALIZATION
from goodinit.signals.judging.diagnose import diagnose, gravest_first, remarks
from goodinit.signals.judging.origins import traced_back
from goodinit.signals.judging.patterns import inspected
from goodinit.signals.judging.samples import judge_samples
from goodinit.signals.prediction import predictions, with_predictions
from goodinit.signals.probing.objective import split_batch
from goodinit.signals.probing.probe import Probe, probe
from goodinit.signals.probing.sharded import has_shards

__all__ = ["check"]


def check(
    model: nn.Module,
    batch: Any = None,
    *,
    batches: Iterable[Any] | None = None,
    loss: Callable[..., Any] | None = None,
    seed: int = 0,
    predict: bool = True,
    jacobian: bool = False,
) -> Report:
    """Measure one forward and one backward pass and say what is wrong, how strongly, and the cure.

    Args:
        model: any module with materialised parameters; it is left exactly as it was.
        batch: as for `probe`; None makes one from the first layer.
        loss: as for `probe`; None differentiates a random linear functional.
        batches: as for `probe`: several batches instead of one.
        seed: of everything random in the measurement.
        predict: whether to set what theory expects beside what was measured, for the price of a
            few more forward passes. Without it, slow drifts over depth are found less surely.
        jacobian: whether to estimate the singular values of the input–output Jacobian (of token ids
            that of the first layer's output to the model's), for the price of some hundred more passes.

    Returns:
        The report; `report.healthy` is True where nothing was found but notes.

    Raises:
        ExampleError: if the model rejects the batch, or none can be made.
        TensorError: if parameters hold no values.

    >>> check(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))).healthy
    True
    """
    seen = probe(model, batch, batches=batches, loss=loss, seed=seed)
    first = seen.fed
    seen = replace(seen, parameters=inspected(model, seen.parameters))
    notes = [*seen.notes]
    if predict:
        seen, trouble = _predicted(seen, model, first, loss, seed)
        notes += trouble
    mixed = () if has_shards(model) else judge_samples(model, first, loss, seed)
    found = traced_back(gravest_first((*diagnose(seen), *mixed)), seen, model, first, loss, seed)
    found = tuple(replace(each, cure=_on_example(each.cure, first, loss)) for each in found)
    spectra: tuple[JacobianSpectrum, ...] = ()
    if jacobian:
        spectra, trouble = _jacobians(seen, model, first, loss, seed)
        notes += trouble
    return Report(
        model=seen.model,
        batch=seen.batch,
        loss=seen.loss,
        layers=seen.layers,
        parameters=seen.parameters,
        findings=found,
        notes=(*notes, *remarks(seen)),
        versions={"torch": torch.__version__, "python": platform.python_version()},
        attention=seen.attention,
        jacobians=spectra,
        effective_depth=seen.effective_depth,
    )


def _on_example(cure: str, batch: Any, loss: Callable[..., Any] | None) -> str:
    """Return a cure whose plan is made on the batch, where nobody would guess such inputs from the model."""
    inputs, _, has_target = split_batch(batch, loss)
    if inputs is None or isinstance(inputs, torch.Tensor):
        return cure
    example = "batch[0]" if has_target else "batch"
    return cure.replace(INITIALIZATION, f"{INITIALIZATION[:-1]}, example={example})")


def _predicted(
    seen: Probe, model: nn.Module, batch: Any, loss: Callable[..., Any] | None, seed: int
) -> tuple[Probe, list[str]]:
    """Return the measurement with predictions beside it, and what went wrong with them."""
    if any(layer.output.nonfinite for layer in seen.layers):
        return seen, []
    if has_shards(model):
        return seen, ["Nothing is predicted of a model whose parameters are distributed tensors."]
    try:
        found = predictions(model, split_batch(batch, loss)[0], seed=seed)
    except Exception as error:  # a measurement stands without theory beside it
        return seen, [f"Theory could not follow this model ({in_words(error)}), so nothing is predicted."]
    return replace(seen, layers=with_predictions(seen.layers, found)), []


def _jacobians(
    seen: Probe, model: nn.Module, batch: Any, loss: Callable[..., Any] | None, seed: int
) -> tuple[tuple[JacobianSpectrum, ...], list[str]]:
    """Return the spectrum from the input, or from the first layer where the input is token ids."""
    start = "input" if seen.input is not None or not seen.layers else seen.layers[0].name
    try:
        return (jacobian_spectrum(model, split_batch(batch, loss)[0], start=start, seed=seed),), []
    except GoodinitError as error:  # a measurement stands without it
        return (), [f"The Jacobian could not be estimated ({in_words(error)})."]
