"""Glorot's condition: variances kept forward and backward, measured per layer beside theory."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, geometric_mean, mean, said, share
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import convolutional, dense, normal_batch
from goodinit.lab.travel import travel
from goodinit.records import Fact, Interval, Line, Picture

# Depth, width, samples, seeds.
_SIZES = {"small": (4, 48, 64, 3), "default": (10, 256, 256, 12), "full": (20, 512, 512, 40)}
_SHIFTS = (0.0, 1.0, 3.0)


def _measure(size: Size) -> Found:
    depth, width, samples, count = _SIZES[size]
    seeds = range(count)
    sizes = (width,) * (depth + 1)
    images = (width // 4,) * (depth + 1)
    batch = normal_batch(samples, width)
    models: dict[str, tuple[nn.Module, str, torch.Tensor]] = {
        "linear, Xavier": (dense(sizes, nn.Identity, bias=False), "xavier_normal", batch),
        "tanh, Xavier": (dense(sizes, nn.Tanh, bias=False), "xavier_normal", batch),
        "sigmoid, Xavier": (dense(sizes, nn.Sigmoid, bias=False), "xavier_normal", batch),
        "ReLU, Kaiming": (dense(sizes, nn.ReLU, bias=False), "kaiming_normal", batch),
        "convolutions, ReLU, Kaiming": (
            convolutional(images, nn.ReLU),
            "kaiming_normal",
            normal_batch(8, images[0], 6, 6),
        ),
    }
    facts: list[Fact] = []
    there, back = [], []
    ratios: dict[str, tuple[Interval, Interval]] = {}
    inside = total = 0
    for name, (model, recipe, data) in models.items():
        plan = goodinit.plan(model, recipe, example=data)
        run = travel(model, plan, data, seeds)
        ratios[name] = run.forward_ratio, run.backward_ratio
        facts += [
            fact(f"{name}: signal's second moment, last layer over first", ratios[name][0]),
            fact(f"{name}: gradient's second moment, first layer over last", ratios[name][1]),
        ]
        if "tanh" not in name and "sigmoid" not in name:
            facts += [
                fact(f"{name}: signal's factor per layer", run.forward_factor, 1.0, within=0.02),
                fact(f"{name}: gradient's factor per layer", run.backward_factor, 1.0, within=0.02),
            ]
        lines = run.lines(name)
        there.append(lines[0])
        back.append(lines[1])
        plan.apply_(model, seed=0)
        layers = [layer for layer in goodinit.check(model, data).layers if layer.kind in ("Linear", "Conv2d")]
        at = range(1, len(layers) + 1)
        end = layers[-1].gradient
        for layer in layers:
            for found, seen, unit in (
                (layer.predicted, layer.output, 1.0),
                (layer.predicted_gradient, layer.gradient, end.second_moment if end else 1.0),
            ):
                if found is not None and seen is not None:
                    inside += found.low <= seen.second_moment / unit <= found.high
                    total += 1
        there.append(_theory(name, at, [x.predicted.value if x.predicted else float("nan") for x in layers]))
        back.append(
            _theory(
                name,
                at,
                [x.predicted_gradient.value if x.predicted_gradient else float("nan") for x in layers],
            )
        )
    agree = share(inside, total)
    facts.append(fact("share of layers within the band that theory predicts", agree, (0.9, 1.0)))

    model = dense(sizes, nn.Tanh, bias=False)
    plan = goodinit.plan(model, "xavier_normal", example=batch)
    grown, varying = {}, {}
    for shift in _SHIFTS:
        first = []
        for seed in seeds:
            plan.apply_(model, seed=seed)
            first.append(goodinit.probe(model, batch + shift).layers[0])
        grown[shift] = geometric_mean([layer.output.second_moment for layer in first])
        varying[shift] = mean([(layer.varying or 0.0) / layer.output.second_moment for layer in first])
        facts += [
            fact(
                f"inputs of mean {shift:g}: second moment of the first layer",
                grown[shift],
                1 + shift**2,
                within=0.05,
                source="1 + mean²",
            ),
            fact(
                f"inputs of mean {shift:g}: share of it that differs between inputs",
                varying[shift],
                1 / (1 + shift**2),
                within=0.05,
            ),
        ]
    far = _SHIFTS[-1]
    tanh, relu, sigmoid = ratios["tanh, Xavier"], ratios["ReLU, Kaiming"], ratios["sigmoid, Xavier"]
    return Found(
        answer=(
            f"After {depth} layers Xavier on tanh leaves {tanh[0].value:.2g} of the signal and "
            f"{tanh[1].value:.2g} of the gradient, Kaiming on ReLU {relu[0].value:.2g} and "
            f"{relu[1].value:.2g}.",
            f"With intervals: {said(tanh[0])} and {said(tanh[1])}, {said(relu[0])} and {said(relu[1])}; "
            f"Xavier on sigmoid leaves {said(sigmoid[0])} and {said(sigmoid[1])}.",
            f"Of {total} second moments, forward and backward, the share {said(agree)} lies in the band that "
            "theory predicts from the weights.",
            f"Data must be centred: with inputs of mean {far:g} the first layer starts at {said(grown[far])} "
            f"instead of {said(grown[0.0])}, and only {said(varying[far])} of that tells inputs apart.",
        ),
        textbook="Right for linear networks with equal fans and zero-centred data; tanh flattens the signal "
        "as it saturates, and the sigmoid, whose output is never centred, breaks the condition at once.",
        settings={
            "networks": f"{depth} layers of width {width}, no biases",
            "batch": f"{samples} standard normal inputs",
            "seeds": f"0 to {count - 1}; the prediction at seed 0",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "forward",
                "Second moment of each layer's output",
                "Dashed: what theory predicts of seed 0's weights.",
                "layer",
                "second moment",
                log_y=True,
                lines=tuple(there),
            ),
            Picture(
                "backward",
                "Second moment of the gradient at each layer's output",
                "From right to left; dashed: theory, relative to the last layer.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(back),
            ),
        ),
    )


def _theory(name: str, x: range, y: list[float]) -> Line:
    return curve(f"{name}: theory", x, y, theory=True)


EXPERIMENT = Experiment(
    "glorot-condition",
    "Glorot's condition, measured",
    "Glorot and Bengio ask that variances of signals stay equal from layer to layer forward, and variances "
    "of gradients backward, for zero-centred data. Do they, layer by layer, for networks with the init that "
    "is recommended for each, and what does theory predict? What if data are not centred?",
    _measure,
    ("S4.12",),
)
