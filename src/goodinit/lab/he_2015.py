"""He's experiment of 2015: a deep plain convolutional network that Xavier's init cannot start."""

from __future__ import annotations

import math

from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.initializers import Initializer, KaimingNormal, XavierNormal
from goodinit.lab.drawing import level
from goodinit.lab.estimates import fact, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.training import accuracy, members, reweighted, tried
from goodinit.lab.travel import travel
from goodinit.records import Fact, Picture

# Layers and channels, seeds, steps, learning rates.
_SIZES = {
    "small": (14, 6, 2, 40, (0.01,)),
    "default": (20, 8, 4, 250, (0.01,)),
    "full": (30, 8, 8, 400, (0.003, 0.01)),
}
_LAWS: dict[str, Initializer] = {"Xavier": XavierNormal(), "He": KaimingNormal("relu")}
_BATCH, _DRAWS, _CHANCE = 32, 5, 0.1
_INSIDE = (22 / 24) ** 2  # of the 9 inputs of an output on 8×8 pixels, the share that is not padding


def net(layers: int, channels: int) -> nn.Sequential:
    """Return so many 3×3 convolutions with ReLU and no norm over 8×8 images, and a linear output."""
    found: list[nn.Module] = []
    for at in range(layers):
        found += [nn.Conv2d(channels if at else 1, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*found, nn.Flatten(), nn.Linear(64 * channels, 10))


def _measure(size: Size) -> Found:
    layers, channels, count, steps, rates = _SIZES[size]
    data = load("digits", image=True)
    example = data.train_x[:_BATCH]
    plans = reweighted(net(layers, channels), _LAWS, example)
    # Biases are zero in the paper.
    plans = {label: plans[label].override({"*.bias": 0.0}) for label in _LAWS}
    seen = {
        label: travel(net(layers, channels), plan, example, range(_DRAWS), ("Conv2d",))
        for label, plan in plans.items()
    }
    made = goodinit.compare(
        lambda: net(layers, channels),
        plans,
        data,
        seeds=count,
        steps=steps,
        lr=rates,
        momentum=0.9,
        batch_size=_BATCH,
        evaluations=5,
        progress=False,
    )
    best = {each.plan: each for each in made.best}
    ends = {label: accuracy(made, label) for label in _LAWS}
    facts: list[Fact] = [
        fact(
            "Xavier: accuracy at the best rate",
            ends["Xavier"],
            (0.0, 2 * _CHANCE),
            source="stalls, He et al. 2015, figure 3",
        ),
        fact("He: accuracy at the best rate", ends["He"], (0.5, 1.0), source="converges, the same figure")
        if size != "small"
        else fact("He: accuracy at the best rate", ends["He"]),
    ]
    for label, run in seen.items():
        facts += [
            fact(f"{label}: last layer's signal over the first's", run.forward_ratio),
            fact(f"{label}: first layer's gradient over the last's", run.backward_ratio),
        ]
    xavier, he = (run.forward_ratio for run in seen.values())
    stalled = sum(run.metric[-1] < 2 * _CHANCE for rate in rates for run in members(made, "Xavier", rate))
    lines = {label: run.lines(label) for label, run in seen.items()}
    return Found(
        answer=(
            f"{layers} plain convolutional layers on digits: after {steps} steps Xavier's init reaches "
            f"{said(ends['Xavier'])}, He's {said(ends['He'])}; a tenth is chance.",
            f"{stalled} of {count * len(rates)} networks with Xavier's init stay near chance.",
            f"Of the first layer's signal {said(xavier)} reaches the last with Xavier's init and "
            f"{said(he)} with "
            f"He's, of which the zero-padded borders of 8×8 images alone would leave "
            f"{_INSIDE ** (layers - 1):.2g}.",
        ),
        textbook="He et al. show Xavier stalling at 30 layers and merely slower at 22. "
        f"Here, with {layers} layers of {channels} channels, it "
        + ("stalls." if ends["Xavier"].high < 2 * _CHANCE else "does not stall altogether."),
        settings={
            "network": f"{layers} 3×3 convolutions of {channels} channels with ReLU, no norm, linear output",
            "training": f"SGD, momentum 0.9, rates {', '.join(map(str, rates))}, {steps} steps of {_BATCH}, "
            f"{steps * _BATCH / len(data.train_x):.3g} passes",
            "seeds": f"0 to {count - 1}, paired; signals {_DRAWS} draws",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "curves",
                "Training loss",
                "Median and 80 % of the seeds, each at its best rate.",
                "steps",
                "cross-entropy",
                lines=(
                    *(tried(label, best[label].train) for label in _LAWS),
                    level("guessing", (0, steps), math.log(10)),
                ),
            ),
            Picture(
                "forward",
                "Second moment of each layer's output",
                "Medians and 80 % of the draws.",
                "layer",
                "second moment",
                log_y=True,
                lines=tuple(each[0] for each in lines.values()),
            ),
            Picture(
                "backward",
                "Second moment of each layer's gradient",
                "Medians and 80 % of the draws.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(each[1] for each in lines.values()),
            ),
        ),
        comparisons=(made,),
    )


EXPERIMENT = Experiment(
    "he-2015",
    "A deep plain convolutional network where Xavier stalls",
    "He et al. (2015) trained a plain convolutional ReLU network of 30 layers: with Xavier's init it "
    "stalls, with "
    "theirs it converges. Does that come out on small images as well, and what happens to the signals?",
    _measure,
    ("He 2015",),
)
