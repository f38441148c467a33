"""torch's default against He's init in ReLU networks, by depth: signals, gradients, training."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense, normal_batch
from goodinit.lab.travel import travel
from goodinit.records import Comparison, Fact, Line, Picture

# Depth and width of the measurement, its seeds; depths, seeds and steps of the training.
_SIZES = {
    "small": (8, 64, 3, (2, 6), 2, 20),
    "default": (30, 256, 10, (2, 5, 10, 20), 12, 300),
    "full": (50, 512, 40, (2, 5, 10, 20, 40), 32, 1000),
}
_RECIPES = {"torch default": "torch", "He": "kaiming_normal"}
_WIDTH = 32  # of the networks that are trained
_RATE = (0.03, 0.1, 0.3)


def _measure(size: Size) -> Found:
    depth, width, count, depths, runs, steps = _SIZES[size]
    batch = normal_batch(64, width)
    net = dense((width,) * (depth + 1), nn.ReLU)
    # Before anything is filled: a plan takes biases that are all zero for what the author wants.
    plans = {label: goodinit.plan(net, recipe, example=batch) for label, recipe in _RECIPES.items()}
    seen = {label: travel(net, plan, batch, range(count)) for label, plan in plans.items()}
    default, he = seen["torch default"], seen["He"]
    steady = default.hidden.forward[:, -1].mean().item()
    told = {
        label: mean(_telling(net, plan, batch, seed) for seed in range(count))
        for label, plan in plans.items()
    }
    facts: list[Fact] = [
        fact(
            "torch default: gradient's factor per layer",
            default.hidden.backward_factor,
            1 / 6,
            within=0.02,
            source="a sixth of He's variance",
        ),
        fact("He: gradient's factor per layer", he.hidden.backward_factor, 1.0, within=0.02),
        fact("torch default: gradient of the first layer over the last", default.backward_ratio),
        fact("He: gradient of the first layer over the last", he.backward_ratio),
        *(
            fact(f"{label}: share of the last hidden layer's second moment that differs between inputs", each)
            for label, each in told.items()
        ),
        fact("torch default: signal of the last layer over the first", default.forward_ratio),
        fact("He: signal of the last layer over the first", he.forward_ratio),
    ]
    # q = q/6 + 1/(3 width): the weights' part and the biases', both uniform in ±1/√width.
    floor = 0.4 / width

    data = load("digits")
    comparisons: dict[int, Comparison] = {}
    for layers in depths:
        comparisons[layers] = goodinit.compare(
            lambda layers=layers: dense((64, *[_WIDTH] * layers, 10), nn.ReLU),  # type: ignore[misc]
            _RECIPES,
            data,
            seeds=runs,
            steps=steps,
            lr=_RATE,
            batch_size=32,
            evaluations=10,
            progress=False,
        )
    lines: list[Line] = []
    reached: dict[str, list[float]] = {}
    for label in _RECIPES:
        best = [next(each.score for each in made.best if each.plan == label) for made in comparisons.values()]
        reached[label] = [score.value for score in best]
        lines.append(
            Line(
                label,
                tuple(map(float, depths)),
                tuple(reached[label]),
                tuple(score.low for score in best),
                tuple(score.high for score in best),
            )
        )
        facts += [
            fact(
                f"{label}: accuracy on digits with {layers} hidden layers after {steps} steps, best rate",
                score,
            )
            for layers, score in zip(depths, best, strict=True)
        ]
    layers_axis = range(1, depth + 1)
    there, back = zip(*(run.lines(label) for label, run in seen.items()), strict=True)
    fall = curve(
        "torch default: theory", layers_axis, [6.0 ** (at - depth) for at in layers_axis], theory=True
    )
    held = curve("torch default: theory", layers_axis, _signal(depth, floor), theory=True)
    shallow, deep = depths[0], depths[-1]
    verdict = comparisons[deep].conclusions[0] if comparisons[deep].conclusions else ""
    return Found(
        answer=(
            f"Each ReLU layer passes back {default.hidden.backward_factor.value:.3g} of the gradient's "
            f"second moment with torch's default, {he.hidden.backward_factor.value:.3g} with He's init.",
            f"That is {said(default.hidden.backward_factor)} and {said(he.hidden.backward_factor)}; after "
            f"{depth} layers {said(default.backward_ratio)} against {said(he.backward_ratio)} is left.",
            f"The default's signal does not vanish as fast, because its biases hold it at {steady:.2g}; yet "
            f"only {said(told['torch default'])} of it differs between inputs, with He's init "
            f"{said(told['He'])}.",
            f"On digits the best rate reaches {reached['torch default'][0]:.3g} (default) and "
            f"{reached['He'][0]:.3g} (He) with {shallow} hidden layers, {reached['torch default'][-1]:.3g} "
            f"and {reached['He'][-1]:.3g} with {deep}.",
            *((verdict,) if verdict else ()),
        ),
        textbook="The default of Linear is called Kaiming in torch's source, kaiming_uniform_(a=√5), but "
        "its gain is 1/√3 where ReLU needs √2; shallow and normalised networks do not notice.",
        settings={
            "signals": f"{depth} layers of width {width}, ReLU, seeds 0 to {count - 1}, 64 standard "
            "normal inputs",
            "training": f"64–{_WIDTH}×depth–10, ReLU, SGD, rates {', '.join(map(str, _RATE))}, batch "
            f"32, {steps} steps, seeds 0 to {runs - 1}",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "backward",
                "Second moment of the gradient at each layer",
                "A factor of 6 is lost at every layer.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=(*back, fall),
            ),
            Picture(
                "forward",
                "Second moment of each layer's output",
                "The default ends at what its biases add.",
                "layer",
                "second moment",
                log_y=True,
                lines=(*there, held),
            ),
            Picture(
                "training",
                "Accuracy on digits, by depth",
                "Each at its best rate; bands: intervals of the median.",
                "hidden layers",
                "test accuracy",
                lines=tuple(lines),
            ),
        ),
        comparisons=(comparisons[deep],),
    )


def _signal(depth: int, floor: float) -> list[float]:
    """Return q ← q/6 + floor·5/6 behind the first layer, which reads data of second moment 1 and no ReLU."""
    values = [1 / 3 + floor * 5 / 6]
    for _ in range(depth - 1):
        values.append(values[-1] / 6 + floor * 5 / 6)
    return values


def _telling(model: nn.Module, plan: goodinit.Plan, batch: torch.Tensor, seed: int) -> float:
    """Return how much of the last hidden layer's second moment differs from input to input."""
    layers = [
        each for each in goodinit.probe(plan.apply_(model, seed=seed), batch).layers if each.kind == "ReLU"
    ]
    return (layers[-1].varying or 0.0) / layers[-1].output.second_moment


EXPERIMENT = Experiment(
    "torch-default-by-depth",
    "torch's default init against He's, by depth",
    "nn.Linear and nn.Conv2d draw weights uniformly in ±1/√fan_in, a sixth of He's variance for ReLU. What "
    "does that do to signals and gradients of a ReLU network, layer by layer, and from which depth on does "
    "training feel it?",
    _measure,
    ("torch default by depth",),
)
