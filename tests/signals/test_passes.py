"""Several batches are one measurement; precision and modes change nothing in how it is taken."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.records import LayerSignal, ParameterSignal, Report, to_jsonable
from goodinit.signals import Probe, probe
from goodinit.signals.probing.parameters import effective_depth


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 8), nn.Sigmoid())


def _sum(output: torch.Tensor) -> torch.Tensor:
    return output.square().sum()


def test_batches_merge_into_what_one_large_batch_shows() -> None:
    model, x = _net(), torch.randn(12, 6) + 0.5
    whole = probe(model, x, loss=_sum)
    parts = probe(model, batches=[x[:2], x[2:7], x[7:]], loss=_sum)
    assert parts.batches == 3
    assert (parts.input.count, parts.input.std) == (72, pytest.approx(whole.input.std, rel=1e-6))
    for one, other in zip(whole.layers, parts.layers, strict=True):
        for moment in ("output", "gradient"):
            a, b = getattr(one, moment), getattr(other, moment)
            assert (a.count, a.nonfinite) == (b.count, b.nonfinite)
            assert (b.mean, b.second_moment, b.std) == pytest.approx(
                (a.mean, a.second_moment, a.std), rel=1e-5, abs=1e-7
            )
        assert (one.dead, one.always_on, one.saturated) == (other.dead, other.always_on, other.saturated)
        assert other.zeros == pytest.approx(one.zeros)
        assert other.unit_moments == pytest.approx(one.unit_moments, rel=1e-5)
        assert other.unit_gradients == pytest.approx(one.unit_gradients, rel=1e-5)
        assert other.histogram == one.histogram
    assert whole.loss == pytest.approx(3 * parts.loss, rel=1e-5)


def test_a_unit_that_one_batch_wakes_is_not_dead() -> None:
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
    up, down = torch.rand(4, 1) + 0.1, -torch.rand(4, 1) - 0.1
    assert [probe(model, x).layers[1].dead for x in (up, down)] == [2, 2]
    assert probe(model, batches=[up, down]).layers[1].dead == 1


def test_what_compares_samples_is_the_mean_over_batches() -> None:
    model, x = nn.Linear(6, 5), torch.randn(8, 6)
    one, two = probe(model, x[:4]).layers[0], probe(model, x[4:]).layers[0]
    both = probe(model, batches=[x[:4], x[4:]]).layers[0]
    for name in ("varying", "correlation", "rank"):
        mean = (getattr(one, name) + getattr(two, name)) / 2
        assert getattr(both, name) == pytest.approx(mean, rel=1e-5)
        assert getattr(both, name) != pytest.approx(getattr(one, name), rel=1e-3)


def test_parameter_gradients_are_pooled_over_batches() -> None:
    model, x = nn.Linear(6, 5), torch.randn(8, 6)
    parts = [probe(model, x[place], loss=_sum).parameters[0].gradient for place in (slice(4), slice(4, 8))]
    both = probe(model, batches=[x[:4], x[4:]], loss=_sum).parameters[0].gradient
    assert both.count == 2 * model.weight.numel()
    assert both.second_moment == pytest.approx(sum(part.second_moment for part in parts) / 2, rel=1e-6)


def test_batches_of_different_length_and_pairs_with_targets_are_taken() -> None:
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 20))
    ids = [torch.randint(0, 20, (3, length)) for length in (4, 9)]
    pairs = [(x, torch.nn.functional.one_hot(x, 20).float()) for x in ids]
    seen = probe(model, batches=iter(pairs), loss=functional.mse_loss)
    assert seen.layers[1].output.count == (3 * 4 + 3 * 9) * 20
    assert seen.layers[1].gradient.count == (3 * 4 + 3 * 9) * 20


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batches": []}, ArgumentError, "batches: is empty"),
        ({"batches": torch.ones(2, 6)}, WrongTypeError, "batches: expected a list"),
        ({"batches": {"x": torch.ones(2, 6)}}, WrongTypeError, "batches: expected a list"),
        ({"batches": 3}, WrongTypeError, "batches: expected a list"),
        ({"batches": [None]}, WrongTypeError, "batches: holds None"),
        ({"batch": torch.ones(2, 6), "batches": [torch.ones(2, 6)]}, ArgumentError, "not both"),
    ],
)
def test_what_are_no_batches_is_refused(arguments: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        probe(_net(), **arguments)


def _layer(seen: Probe, name: str) -> LayerSignal:
    return next(layer for layer in seen.layers if layer.name == name)


def test_units_are_measured_one_by_one_forward_and_backward() -> None:
    model, x = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(20, 7)), torch.randn(6, 2, 4, 4)
    seen = probe(model, x, loss=lambda y: y.pow(4).sum())
    conv = model[0](x)
    out = model[2](model[1](conv))
    down, up = torch.autograd.grad(out.pow(4).sum(), (conv, out))
    first, last = _layer(seen, "0"), _layer(seen, "2")
    assert first.unit_moments == pytest.approx(conv.square().mean(dim=(0, 2, 3)).tolist(), rel=1e-5)
    assert first.unit_gradients == pytest.approx(down.square().mean(dim=(0, 2, 3)).tolist(), rel=1e-5)
    assert last.unit_moments == pytest.approx(out.square().mean(dim=0).tolist(), rel=1e-5)
    assert last.unit_gradients == pytest.approx(up.square().mean(dim=0).tolist(), rel=1e-5)
    assert last.unit_moments != pytest.approx(out.square().mean(dim=0).roll(1).tolist(), rel=1e-2)


def test_of_many_units_evenly_spaced_ones_are_kept() -> None:
    model, x = nn.Linear(6, 200), torch.randn(9, 6)
    (layer,) = probe(model, x).layers
    assert layer.unit_moments == pytest.approx(model(x).square().mean(dim=0)[3::4].tolist(), rel=1e-5)


def test_histograms_count_outputs_and_gradients() -> None:
    model, x = nn.Linear(6, 8), torch.randn(9, 6)
    (layer,) = probe(model, x, loss=lambda y: y.pow(2).sum() / 2).layers
    output = model(x)
    # Of this loss the gradient is the output itself.
    assert layer.histogram == layer.gradient_histogram
    assert (layer.histogram.low, layer.histogram.high) == (output.min().item(), output.max().item())
    assert layer.histogram.sampled == 72
    for parameter in probe(model, x).parameters:
        assert parameter.histogram.sampled == parameter.value.count == parameter.gradient_histogram.sampled


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_moments_are_right_where_squares_overflow_half_precision(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(6, 8)).to(dtype)
    x = (1000 * torch.randn(16, 6)).to(dtype)
    (layer,) = probe(model, x).layers
    output = model(x).double()
    assert layer.dtype == str(dtype).removeprefix("torch.")
    assert layer.output.nonfinite == 0
    assert layer.output.second_moment == pytest.approx(output.square().mean().item(), rel=1e-6)
    assert layer.output.second_moment > torch.finfo(torch.float16).max
    assert sum(layer.unit_moments) / 8 == pytest.approx(layer.output.second_moment, rel=1e-5)


def test_underflowing_gradients_are_counted() -> None:
    def tiny(scale: float) -> LayerSignal:
        model, x = nn.Linear(6, 8).to(torch.float16), torch.randn(16, 6).to(torch.float16)
        return probe(model, x, loss=lambda y: (y.float() * scale).square().sum()).layers[0]

    assert tiny(1.0).underflow < 0.05
    assert tiny(1e-4).underflow == 1.0
    # float16's smallest normal number is 6.1e-5: with |gradient| = 2e-4·|y| about half fall below |y| = 0.3.
    assert 0.2 < tiny(1e-2).underflow < 0.8


def test_the_callers_autocast_is_kept_and_the_measurement_runs_outside_of_it() -> None:
    model, x = _net(), torch.randn(64, 6)
    with torch.autocast("cpu", torch.bfloat16):
        seen = probe(model, x)
        outputs = model[0](x)
    first = seen.layers[0]
    assert first.dtype == "bfloat16"
    assert first.output.second_moment == pytest.approx(outputs.double().square().mean().item(), rel=1e-6)
    cosines = functional.normalize(outputs.double(), dim=1)
    pairs = (cosines @ cosines.T).sum() - 64
    # In bfloat16 the products would carry three digits.
    assert first.correlation == pytest.approx(pairs.item() / 64 / 63, abs=1e-5)
    assert seen.parameters[0].gradient is not None


@pytest.mark.parametrize("training", [True, False])
def test_it_measures_the_mode_that_the_model_is_in(training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)).train(training)
    norm, dropout = probe(model, 3 * torch.randn(50, 6)).layers
    assert norm.output.second_moment == pytest.approx(1.0 if training else 9.0, rel=0.2)
    assert (dropout.zeros > 0.3) is training


def test_zeros_are_exact_in_relu_layers_and_estimated_elsewhere() -> None:
    model, x = nn.Sequential(nn.Linear(6, 400), nn.ReLU(), nn.Dropout(0.3)), torch.randn(200, 6)
    _, relu, dropout = probe(model, x).layers
    exact = (model[1](model[0](x)) == 0).double().mean().item()
    assert relu.zeros == pytest.approx(exact, abs=1e-12)
    # 2,048 of 80,000 elements: std 0.011; 0.06 is more than five of them.
    assert dropout.zeros == pytest.approx(1 - 0.7 * (1 - exact), abs=0.06)


def _parameter(name: str, value: float, gradient: float, kind: str = "Linear") -> ParameterSignal:
    seen = probe(nn.Linear(3, 3)).parameters[0]
    moments = seen.value
    return ParameterSignal(
        name=name,
        shape=(3, 3),
        dtype="float32",
        trainable=True,
        value=type(moments)(9, 0.0, value, math.sqrt(value)),
        gradient=type(moments)(9, 0.0, gradient, math.sqrt(gradient)),
        largest=1.0,
        kind=kind,
    )


def test_the_effective_depth_counts_the_layers_that_learn() -> None:
    alike = [_parameter(str(place), 2.0, 0.5) for place in range(7)]
    assert effective_depth(alike) == pytest.approx(7.0)
    assert effective_depth(
        [*alike[:1], *(_parameter(str(p), 2.0, 1e-30) for p in range(6))]
    ) == pytest.approx(1)
    # Weights and gradients both count: ten times the one and a tenth of the other is no difference.
    assert effective_depth([_parameter("a", 1.0, 1.0), _parameter("b", 10.0, 0.1)]) == pytest.approx(2.0)
    left_out = [_parameter("norm", 9.0, 9.0, "LayerNorm"), _parameter("table", 9.0, 9.0, "Embedding")]
    assert effective_depth([*alike, *left_out]) == pytest.approx(7.0)
    assert effective_depth(left_out) is None


def test_a_probe_of_a_deep_net_with_fading_gradients_has_a_small_effective_depth() -> None:
    def deep(activation: type[nn.Module]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(20):
            linear = nn.Linear(64, 64, bias=False)
            nn.init.orthogonal_(linear.weight)
            layers += [linear, activation()]
        return nn.Sequential(*layers)

    x = torch.randn(32, 64)
    assert probe(deep(nn.Tanh), x).effective_depth > 10
    # A sigmoid's slope of at most 1/4 takes a sixteenth of the gradient's second moment at every layer.
    assert probe(deep(nn.Sigmoid), x).effective_depth < 3


def test_everything_that_was_measured_survives_json() -> None:
    seen = probe(nn.Sequential(nn.LSTM(4, 4, batch_first=True)), torch.randn(3, 5, 4))
    report = Report("m", seen.batch, seen.loss, seen.layers, seen.parameters, ())
    again = Report.from_json(report.to_json())
    assert again.layers == seen.layers
    assert to_jsonable(again.parameters) == to_jsonable(seen.parameters)
