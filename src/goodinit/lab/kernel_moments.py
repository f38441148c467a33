"""Convolution kernels: predicted and measured moments, and what each choice of fan keeps."""

from __future__ import annotations

import itertools

import torch
from torch import nn

import goodinit
from goodinit.initializers import (
    Constant,
    Initializer,
    Normal,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
)
from goodinit.lab.drawing import level, violin
from goodinit.lab.estimates import exact, fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import convolutional, normal_batch
from goodinit.lab.travel import drawn, travel
from goodinit.records import Fact, Interval, Line, Picture, Sheet

_LAWS: dict[str, Initializer] = {
    "constant 0.3": Constant(0.3),
    "ones": Constant(1.0),
    "zeros": Constant(0.0),
    "uniform(−1, 2)": Uniform(-1.0, 2.0),
    "normal(0.5, 0.1)": Normal(0.5, 0.1),
    "xavier_uniform": XavierUniform(),
    "xavier_normal": XavierNormal(),
}
_MODES = {
    "1/n_in": VarianceScaling(1.0, "fan_in", "normal"),
    "1/n_out": VarianceScaling(1.0, "fan_out", "normal"),
    "harmonic mean (Xavier)": XavierNormal(),
}
# Channels that grow by half at each layer, so that n_in and n_out differ.
_CHANNELS = {
    "small": (16, 24, 36, 54),
    "default": (16, 24, 36, 54, 81, 122),
    "full": (16, 24, 36, 54, 81, 122, 183),
}
_SEEDS = {"small": 8, "default": 32, "full": 200}


def _measure(size: Size) -> Found:
    seeds = range(_SEEDS[size])
    kernel = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False))
    facts: list[Fact] = []
    rows, violins = [], []
    plan = goodinit.plan(kernel, "torch", example=torch.zeros(1, 3, 8, 8))
    inputs = plan.rows[0].fan_in or 0.0
    facts.append(fact("n_in of a 3×3 kernel on 3 channels", exact(inputs), 27.0))
    for name, law in _LAWS.items():
        made = plan.override({"0.weight": law})
        kernels = drawn(kernel, made, "0.weight", seeds)
        centre, variance = made.rows[0].mean or 0.0, (made.rows[0].std or 0.0) ** 2
        seen = kernels.mean((1, 2, 3, 4)), kernels.var((1, 2, 3, 4))
        moments = _around(seen[0]), _around(seen[1])
        rows.append((name, f"{centre:.5g}", said(moments[0], 4), f"{variance:.5g}", said(moments[1], 4)))
        facts += [
            fact(f"mean of {name}", moments[0], centre, within=1e-6),
            fact(f"variance of {name}", moments[1], variance, within=1e-6),
        ]
        if variance:
            violins.append(violin(name, kernels[0]))

    laws = [each for each in facts if each.name.startswith(("mean", "variance"))]
    agree = sum(bool(each.holds) for each in laws)

    channels = _CHANNELS[size]
    net = convolutional(channels, nn.Identity)
    batch = normal_batch(4, channels[0], 8, 8)
    base = goodinit.plan(net, "torch", example=batch)
    forward: list[Line] = []
    backward: list[Line] = []
    kept: dict[str, tuple[Interval, Interval]] = {}
    for name, mode in _MODES.items():
        seen_by = travel(net, base.override({"*.weight": mode}), batch, seeds)
        for lines, line in zip((forward, backward), seen_by.lines(name), strict=True):
            lines.append(line)
        # From the first layer's output on: the input has no layer that the probe could name.
        kept[name] = (seen_by.forward_ratio, seen_by.backward_ratio)
    depth = len(channels) - 1
    growth = channels[-1] / channels[1]
    factor = 1.0
    for into, out in itertools.pairwise(channels[1:]):
        factor *= 2 * into / (into + out)
    expected = {
        "1/n_in": (1.0, growth),
        "1/n_out": (1 / growth, 1.0),
        "harmonic mean (Xavier)": (factor, factor * growth),
    }
    for name, (there, home) in expected.items():
        facts += [
            fact(f"{name}: variance of the last output over the first", kept[name][0], there, within=0.05),
            fact(
                f"{name}: gradient variance of the first output over the last",
                kept[name][1],
                home,
                within=0.05,
            ),
        ]
    steps = range(1, depth + 1)
    xavier = kept["harmonic mean (Xavier)"]
    return Found(
        answer=(
            f"Over {depth} convolutions that widen, 1/n_in changes the signal "
            f"{kept['1/n_in'][0].value:.3g}-fold, 1/n_out the gradient {kept['1/n_out'][1].value:.3g}-fold, "
            f"Xavier's rule both: {xavier[0].value:.3g} and {xavier[1].value:.3g}.",
            f"Over {depth} convolutions that grow by half each, 1/n_in keeps the signal "
            f"({said(kept['1/n_in'][0])} of the first output's variance) and lets gradients grow to "
            f"{said(kept['1/n_in'][1])}; 1/n_out keeps gradients ({said(kept['1/n_out'][1])}) and shrinks "
            f"the signal to {said(kept['1/n_out'][0])}.",
            f"Xavier's harmonic mean keeps neither: {said(xavier[0])} forward, {said(xavier[1])} backward, "
            "off in opposite directions.",
            f"A 3×3 kernel on 3 channels sums n_in = {inputs:g} inputs; {agree} of {len(laws)} measured "
            f"means and variances of {len(_LAWS)} laws agree with their formulas.",
        ),
        textbook="Right where n_in = n_out; elsewhere Xavier's rule is a compromise that keeps neither "
        "variance exactly.",
        settings={
            "kernels": "64×3×3×3",
            "seeds": f"0 to {len(seeds) - 1}",
            "network": f"circular 3×3 convolutions, linear, channels {'–'.join(map(str, channels))}",
            "batch": "4 standard normal images of 8×8",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "forward",
                "Variance of each layer's output",
                "Flat is kept.",
                "layer",
                "second moment",
                log_y=True,
                lines=(*forward, level("kept", steps, 1.0)),
            ),
            Picture(
                "backward",
                "Variance of the gradient at each layer's output",
                "Flat is kept.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(backward),
            ),
            Picture(
                "kernels",
                "What each law draws",
                "One kernel of 64×3×3×3 for each law.",
                "law",
                "weight",
                violins=tuple(violins),
            ),
        ),
        sheets=(
            Sheet(
                "Predicted and measured moments",
                ("law", "mean", "measured", "variance", "measured variance"),
                tuple(rows),
            ),
        ),
    )


def _around(values: torch.Tensor) -> Interval:
    return mean(values.tolist())


EXPERIMENT = Experiment(
    "kernel-moments",
    "Moments of convolution kernels, and what they keep",
    "A kernel can be filled with a constant, ones, zeros, uniform(a, b) of mean (a+b)/2 and variance "
    "(b−a)²/12, normal(mean, std), or by Xavier's rule. Do measured moments agree with the formulas? And "
    "which choice of variance, 1/n_in, 1/n_out or their harmonic mean, keeps the variance of signals "
    "forward and of gradients backward?",
    _measure,
    ("S1.1", "S1.2", "S1.3"),
)
