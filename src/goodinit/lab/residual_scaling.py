"""Residual networks with and without scaled branches, by depth."""

from __future__ import annotations

import math

from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.initializers import Constant, Initializer, KaimingNormal, LecunNormal, VarianceScaling
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, said, share
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Residual, normal_batch
from goodinit.lab.training import accuracy
from goodinit.lab.travel import Travel, travel
from goodinit.plans import Plan
from goodinit.records import Fact, Line, Picture

# Blocks of the measurement, its width and seeds; blocks that are trained, seeds, steps, learning rates.
_SIZES = {
    "small": (8, 48, 4, (8,), 2, 500, (0.03,)),
    "default": (32, 128, 10, (2, 8, 24), 5, 500, (0.001, 0.003, 0.01, 0.03)),
    "full": (64, 256, 40, (2, 8, 32, 64), 12, 600, (0.0003, 0.001, 0.003, 0.01, 0.03)),
}
_WIDTH, _BATCH = 24, 32
_PLAIN, _SCALED, _ZERO = "unscaled", "scaled by 1/√L", "branches end in 0"


def net(blocks: int, width: int, ends: tuple[int, int] | None = None) -> nn.Sequential:
    """Return residual blocks of two linear layers with a ReLU between, and linear ends where wanted."""
    inner = [
        Residual(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)))
        for _ in range(blocks)
    ]
    return (
        nn.Sequential(nn.Linear(ends[0], width), *inner, nn.Linear(width, ends[1]))
        if ends
        else nn.Sequential(*inner)
    )


def plans(model: nn.Sequential, blocks: int) -> dict[str, Plan]:
    """Return He's init in the blocks, with the last layers of the branches left, scaled, or set to zero."""
    base = goodinit.plan(model, "lecun_normal")
    base = base.override({"*.branch.0.weight": KaimingNormal("relu")})
    lasts: dict[str, Initializer] = {
        _PLAIN: LecunNormal(),
        _SCALED: VarianceScaling(blocks**-0.5, "fan_in", "normal"),
        _ZERO: Constant(0.0),
    }
    return {label: base.override({"*.branch.2.weight": law}) for label, law in lasts.items()}


def _measure(size: Size) -> Found:
    blocks, width, draws, depths, count, steps, rates = _SIZES[size]
    batch = normal_batch(64, width)
    model = net(blocks, width)
    seen: dict[str, Travel] = {
        label: travel(model, plan, batch, range(draws), ("add",))
        for label, plan in plans(model, blocks).items()
    }
    scaled = 1 + 1 / blocks
    facts: list[Fact] = [
        fact(
            f"{label}: factor of the signal per block",
            seen[label].forward_factor,
            stated,
            within=0.02,
            source=why,
        )
        for label, stated, why in (
            (_PLAIN, 2.0, "1 + 1"),
            (_SCALED, scaled, "1 + 1/L"),
            (_ZERO, 1.0, "the identity"),
        )
    ]
    facts += [
        fact(f"{label}: gradient at the first block over the last", run.backward_ratio)
        for label, run in seen.items()
    ]
    data = load("digits")
    lines: list[Line] = []
    made = {
        depth: goodinit.compare(
            lambda depth=depth: net(depth, _WIDTH, (64, 10)),  # type: ignore[misc]
            plans(net(depth, _WIDTH, (64, 10)), depth),
            data,
            seeds=count,
            steps=steps,
            lr=rates,
            batch_size=_BATCH,
            evaluations=10,
            progress=False,
        )
        for depth in depths
    }
    for label in seen:
        reached = [accuracy(each, label) for each in made.values()]
        facts += [
            fact(f"{label}: accuracy with {depth} blocks, best rate", each)
            for depth, each in zip(depths, reached, strict=True)
        ]
        lines.append(
            Line(
                label,
                tuple(map(float, depths)),
                tuple(each.value for each in reached),
                tuple(each.low for each in reached),
                tuple(each.high for each in reached),
            )
        )
    last, top = depths[-1], rates[-1]
    ends = {label: accuracy(made[last], label) for label in seen}
    fallen = {
        label: [run.outcome == "diverged" for run in made[last].runs if (run.plan, run.lr) == (label, top)]
        for label in seen
    }
    lost = {label: share(sum(each), count) for label, each in fallen.items()}
    layers = range(1, blocks + 1)
    return Found(
        answer=(
            f"Each unscaled block multiplies the signal's second moment by "
            f"{said(seen[_PLAIN].forward_factor)}, after "
            f"{blocks} blocks by {said(seen[_PLAIN].forward_ratio)} since the first; with branches scaled "
            f"by 1/√L "
            f"that is {said(seen[_SCALED].forward_ratio)}, whatever the depth below e = {math.e:.3g}.",
            f"On digits with {last} blocks the best rate reaches "
            + ", ".join(f"{said(each)} {label}" for label, each in ends.items())
            + ".",
            f"At a rate of {top} of those networks diverge "
            + ", ".join(f"{said(each, 2)} {label}" for label, each in lost.items())
            + ".",
        ),
        textbook="Residual connections alone are said to make any depth trainable. They turn the product "
        "into a sum, "
        "but an unscaled sum still doubles at every block; "
        + (
            "scaling is what makes depth free of charge."
            if ends[_SCALED].low > ends[_PLAIN].high
            else "in training at the best rate the difference is not clear with these seeds and depths."
        ),
        settings={
            "signals": f"{blocks} blocks x + W₂·ReLU(W₁·x) of width {width}, seeds 0 to {draws - 1}",
            "training": f"64–{_WIDTH}×2·blocks–10, SGD, rates {', '.join(map(str, rates))}, {steps} steps of "
            f"{_BATCH}, {steps * _BATCH / len(data.train_x):.3g} passes, seeds 0 to {count - 1}, paired",
            "accuracy": "medians; a network that diverged counts as 0",
            "init": "He before the ReLU, 1/fan_in at the end of a branch, biases 0",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "forward",
                "Second moment behind each block",
                "Bands: 80 % of the draws. Dashed: theory.",
                "block",
                "second moment",
                log_y=True,
                lines=(
                    *(run.lines(label)[0] for label, run in seen.items()),
                    curve("2 per block", layers, [2.0**at for at in layers], theory=True),
                    curve("1 + 1/L per block", layers, [scaled**at for at in layers], theory=True),
                ),
            ),
            Picture(
                "training",
                "Accuracy on digits, by depth",
                "Each at its best rate; bands: intervals of the median.",
                "blocks",
                "test accuracy",
                lines=tuple(lines),
            ),
        ),
        comparisons=(made[last],),
    )


EXPERIMENT = Experiment(
    "residual-scaling",
    "Residual networks with and without scaling",
    "x + f(x) turns multiplication into addition, but added signals grow as well. What do residual "
    "networks of "
    "growing depth gain from branches that are scaled by 1/√L, or that start at zero?",
    _measure,
    ("residual with and without scaling",),
)
