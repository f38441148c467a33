"""What theory expects of every layer's output and gradient, with the band that chance explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from goodinit.errors import ExampleError, WrongTypeError
from goodinit.graph.examples import Example, given, in_words, none_fits, proposals
from goodinit.graph.nested import floating, map_tensors, tensors
from goodinit.graph.places import unwrapped
from goodinit.records import LayerSignal, Prediction
from goodinit.signals.expectations import Follower, Passing, returned_with_noise, spread
from goodinit.signals.fewer import Share, fewer
from goodinit.signals.probing.recorder import canonical, recorded_modules
from goodinit.signals.probing.sampling import KEPT, spaced
from goodinit.signals.probing.untouched import accelerators, kept_generators, kept_model

__all__ = ["Expectation", "predictions", "with_predictions"]

# Two-sided 3 sigma of a normal is 3e-3 for one layer.
_SIGMAS = 3.0
# What interpolation and infinite-width maps leave out, relative: 3 %.
_FLOOR = 0.03**2


@dataclass(frozen=True)
class Expectation:
    """What is expected of one call of a layer.

    Attributes:
        output: of the output's second moment.
        gradient: of the gradient's second moment, relative to that of the last layer that has one.
        steps: of a recurrent layer's output by time step, at most 64 evenly spaced ones.
    """

    output: Prediction
    gradient: Prediction | None
    steps: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Met:
    """A layer's output as it was met: what of an `Expected` is asked for later, for these are large.

    Attributes:
        mean: of its second moments.
        back: of the gradient moments that will come back to them.
        noise: variance of its log that finite width explains.
        own: the same by what is approximated, the number of elements, and inputs that stand for others.
    """

    key: tuple[str, int]
    mean: float
    count: int
    back: Passing
    noise: float
    own: float
    gap: float
    steps: tuple[float, ...]


def predictions(model: nn.Module, batch: Any = None, *, seed: int = 0) -> dict[tuple[str, int], Expectation]:
    """Return the second moments that theory expects of each layer's output and gradient.

    E[y_o²] = Σ_i w_oi² E[x_i²] + b_o² through weights, E[φ²] through activations, 1 through norms,
    sums over branches, products over gates; and back, E[g_i²] = Σ_o w_oi² E[g_o²] · E[φ′²].

    The model runs once; beside every value a second moment is followed, from the batch's own values
    and the *measured squares* of the weights: only the signs of the weights are taken to be random
    and independent. The band holds what finite width scatters (e^(±3√s), s as in
    `goodinit.theory.finite_width_fluctuation`, for one input: a batch never makes it narrower)
    and what theory leaves open: how alike positions are that attention or pooling averages over.

    Of a large batch some inputs stand for all, so that this costs some seconds and half a gigabyte at
    most where four inputs do; the band is wider by what their choice may change.

    Recurrent layers of torch are followed step by step, and gradients no farther back than to their
    output. A layer of which theory says nothing (products of attention logits, functions of a whole
    vector) is absent; behind the next norm predictions begin again.

    Args:
        model: any module with materialised parameters, in the mode it is in; left as it was.
        batch: as for `probe`; None makes the same one.
        seed: of a made batch and of dropout masks.

    Returns:
        By name and call (from 0), as `LayerSignal` has them, in order of execution.

    Raises:
        ExampleError: if the model rejects the batch, or none can be made.

    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512))
    >>> found = predictions(model)["2", 0].output
    >>> found.low < model(torch.randn(256, 64)).square().mean().item() < found.high
    True

    Source: Poole et al. 2016, equation 3 (forward); Schoenholz et al. 2017, section 3 (backward);
    Hanin and Nica 2020 (finite width).
    """
    if not isinstance(model, nn.Module):
        raise WrongTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    model = unwrapped(model)
    tried: list[str] = []
    failure: Exception | None = None
    with kept_model(model), torch.inference_mode(False), _plainly():
        for example in proposals(model, seed) if batch is None else [given(batch)]:
            devices = accelerators(model)
            for some, share in _within_reach(model, example, seed):
                with kept_generators(seed, devices):
                    try:
                        met, roots = _followed(model, some, share)
                    except Exception as error:
                        failure = failure or error
                        tried.append(some.words())
                    else:
                        return _finished(met, roots)
    if batch is None:
        raise none_fits("batch", model, tried, failure) from failure
    raise ExampleError(
        f"batch: {type(model).__name__} rejected it ({tried[0]}): {in_words(failure)}. Pass what model(...) "
        "takes: a tensor, a tuple of positional arguments or a dict of keyword arguments"
    ) from failure


def with_predictions(
    layers: Sequence[LayerSignal], found: dict[tuple[str, int], Expectation]
) -> tuple[LayerSignal, ...]:
    """Return the layers with `predicted` and `predicted_gradient` filled in where theory has them.

    A gradient is predicted relative to that of the last layer that has a prediction.

    Args:
        layers: measured, as `probe` returns them.
        found: from `predictions`, for the same batch and seed.
    """
    filled = []
    for layer in layers:
        expected = found.get((layer.name, layer.call))
        if expected is None:
            filled.append(layer)
        else:
            filled.append(
                replace(
                    layer,
                    predicted=expected.output,
                    predicted_gradient=expected.gradient,
                    predicted_steps=expected.steps,
                )
            )
    return tuple(filled)


def _plainly() -> ExitStack:
    """Attention in plain operations, compiled parts eagerly, no autograd of the model's own."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    stack = ExitStack()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack


def _followed(model: nn.Module, example: Example, share: Share) -> tuple[list[_Met], list[Tensor]]:
    """Return what was met in order, and the second moments that gradients start from."""
    args, kwargs = map_tensors((example.args, example.kwargs), lambda t: t.detach().clone())
    follower = Follower(model.parameters(), [tensor for _, tensor in tensors((args, kwargs))])
    met: list[_Met] = []
    calls: dict[str, int] = {}
    last: list[Tensor] = []
    steps: dict[nn.Module, tuple[float, ...]] = {}

    def whole(module: nn.RNNBase, inputs: Any, output: Any) -> None:
        found = follower.sequence(module, inputs, output)
        steps[module] = found[spaced(len(found), KEPT)]

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            call = calls.get(name, 0)
            calls[name] = call + 1
            tensor = floating(output)[0][1] if floating(output) else None
            expected = None if tensor is None else follower.expected(tensor)
            if expected is None or not 0 < (mean := float(expected.q.detach().mean())) < math.inf:
                return
            last[:] = [expected.q]
            count = expected.q.numel()
            own = _FLOOR + expected.fuzz + 2 / count + share.noise(expected.q)
            width, back = spread(expected), Passing(expected.q)
            met.append(_Met((name, call), mean, count, back, width, own, expected.gap, steps.get(module, ())))

        return note

    with ExitStack() as stack:
        stack.callback(follower.close)
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                stack.callback(module.register_forward_pre_hook(follower.pause).remove)
                stack.callback(module.register_forward_hook(whole).remove)
        for module, name in recorded_modules(model).items():
            handle = module.register_forward_hook(hook(canonical(name) or type(module).__name__))
            stack.callback(handle.remove)
        with torch.no_grad(), follower:
            output = model(*args, **kwargs)
        ends = [
            expected.q
            for _, tensor in floating(output)
            if (expected := follower.expected(tensor)) is not None
        ]
    return met, ends or last


def _within_reach(model: nn.Module, example: Example, seed: int) -> Iterator[tuple[Example, Share]]:
    """Yield fewer inputs where all would cost too much, then all, for models that take no fewer."""
    found = None
    with suppress(Exception), kept_generators(seed, accelerators(model)):  # it fails again below, and is told
        found = fewer(model, example)
    if found is not None:
        yield found
    yield example, Share(1, 1)


def _finished(met: list[_Met], roots: list[Tensor]) -> dict[tuple[str, int], Expectation]:
    back = _back(met, roots)
    last = next((at for at in range(len(met) - 1, -1, -1) if back[at][0] > 0), None)
    found = {}
    for at, item in enumerate(met):
        output = _band(item.mean, item.noise + item.own, item.gap, item.gap)
        gradient = None
        if last is not None and at <= last and back[at][0] > 0:
            noise = max(back[at][3] - back[last][3], 0.0) + item.own + 2 / met[last].count
            value, least, most = (back[at][k] / back[last][k] for k in range(3))
            gradient = _band(
                value, noise, math.log(value / min(least, value)), math.log(max(most, value) / value)
            )
        found[item.key] = Expectation(output, gradient, item.steps)
    return found


def _back(met: list[_Met], roots: list[Tensor]) -> list[tuple[float, float, float, float]]:
    """Return each layer's gradient second moment with its bounds and noise, for one of 1 at every output."""
    roots = [root for root in roots if root.requires_grad]
    if not roots or not met:
        return [(0.0, 0.0, 0.0, 0.0)] * len(met)
    return returned_with_noise(roots, [item.back for item in met])


def _band(value: float, noise: float, below: float, above: float) -> Prediction:
    """Return the band of 3 sigma around a mean, widened by what is not known.

    Through many layers the logarithm is close to normal with variance v and a mean of −v/2 (Hanin
    and Nica 2020); of one narrow layer the mean square is chi-squared with 2/v degrees of freedom,
    whose lower tail is longer (by Wilson and Hilferty 1931). The wider edge counts.
    """
    half = _SIGMAS * math.sqrt(noise)
    cubed = max(1 - noise / 9 - _SIGMAS * math.sqrt(noise / 9), 0.0) ** 3
    low = min(math.exp(max(-noise / 2 - half, -700.0)), cubed) * math.exp(-below)
    high = math.exp(min(max(half - noise / 2, 0.0) + above, 700.0))
    return Prediction(value, value * low, value * high)
