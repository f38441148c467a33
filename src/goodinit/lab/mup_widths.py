"""The best learning rate by width, under the standard parametrization and under muP."""

from __future__ import annotations

import math

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import load
from goodinit.initializers import LecunNormal, VarianceScaling
from goodinit.lab.drawing import curve
from goodinit.lab.estimates import fact, geometric_mean, median, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.plans import Plan
from goodinit.records import Comparison, Fact, Interval, Line, Picture

# Widths, seeds, steps, learning rates; widths and seeds of the coordinate check.
_SIZES = {
    "small": ((16, 64), 2, 500, (2.0**-9, 2.0**-7, 2.0**-5), (32, 64, 128), 12),
    "default": ((16, 32, 64, 128), 4, 500, tuple(2.0**at for at in range(-10, -1)), (32, 64, 128, 256), 16),
    "full": (
        (16, 32, 64, 128, 256),
        6,
        500,
        tuple(2.0**at for at in range(-11, -1)),
        (32, 64, 128, 256, 512),
        32,
    ),
}
_BASE, _BATCH = 16, 32
_STANDARD, _MAXIMAL = "standard", "muP"


class Times(nn.Linear):
    """A linear layer without bias whose output is multiplied by a fixed number."""

    def __init__(self, into: int, out: int, factor: float) -> None:
        super().__init__(into, out, bias=False)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return factor·W·x."""
        return self.factor * super().forward(x)


def net(width: int, maximal: bool) -> nn.Sequential:
    """Return 64–width–width–10 with ReLU; in muP the last two layers are multiplied by 1/r, r = width/16.

    Adam moves every weight by about the rate, so a multiplier of 1/r is a rate of 1/r: with weights
    that are r times wider in the middle and √r times at the end, these are muP's scales and rates. At
    r = 1 both parametrizations are the same network.

    Source: Yang et al. (2022), Tensor Programs V, Table 3.
    """
    factor = _BASE / width if maximal else 1.0
    first, inner, last = Times(64, width, 1.0), Times(width, width, factor), Times(width, 10, factor)
    return nn.Sequential(first, nn.ReLU(), inner, nn.ReLU(), last)


def plan(model: nn.Module, width: int, maximal: bool) -> Plan:
    """Return the plan that belongs to `net`."""
    wider = {"2.weight": width / _BASE, "4.weight": math.sqrt(width / _BASE)} if maximal else {}
    made = goodinit.plan(model, "torch").override({"*.weight": LecunNormal()})
    return made.override({name: VarianceScaling(by, "fan_in", "normal") for name, by in wider.items()})


def _losses(made: Comparison) -> dict[float, list[float]]:
    """Return the final training loss of each seed at each rate; infinite where it diverged."""
    return {
        rate: [
            run.train[-1] if math.isfinite(run.train[-1]) else math.inf for run in made.runs if run.lr == rate
        ]
        for rate in made.lrs
    }


def _drawn(width: int, maximal: bool) -> nn.Module:
    """Return a filled network, its seed taken from the process's random state, which the check sets."""
    model = net(width, maximal)
    return plan(model, width, maximal).apply_(model, seed=int(torch.randint(2**31, ())))


def _measure(size: Size) -> Found:
    widths, count, steps, rates, checked, repeats = _SIZES[size]
    data = load("digits")
    narrow, wide = widths[0], widths[-1]
    losses: dict[str, dict[int, dict[float, list[float]]]] = {_STANDARD: {}, _MAXIMAL: {}}
    for name, row in losses.items():
        for width in widths:

            def build(width: int = width, maximal: bool = name == _MAXIMAL) -> nn.Module:
                return net(width, maximal)

            row[width] = _losses(
                goodinit.compare(
                    build,
                    {name: plan(build(), width, name == _MAXIMAL)},
                    data,
                    seeds=count,
                    steps=steps,
                    lr=rates,
                    optimizer="adam",
                    batch_size=_BATCH,
                    evaluations=1,
                    progress=False,
                )
            )
    # Of each seed the rate with the lowest loss, at each width.
    best = {
        name: {
            width: [min(rates, key=lambda rate: found[rate][seed]) for seed in range(count)]
            for width, found in row.items()
        }
        for name, row in losses.items()
    }
    moved = {
        name: geometric_mean(after / before for before, after in zip(row[narrow], row[wide], strict=True))
        for name, row in best.items()
    }
    step = rates[1] / rates[0]
    facts: list[Fact] = [
        fact(
            f"{name}: best rate at width {wide} over that at width {narrow}",
            each,
            (1 / step, step) if name == _MAXIMAL else None,
            source="the same up to one step of the rates tried" if name == _MAXIMAL else "",
        )
        for name, each in moved.items()
    ]
    slopes: dict[str, float] = {}
    for name in losses:

        def drawn(width: int, maximal: bool = name == _MAXIMAL) -> nn.Module:
            return _drawn(width, maximal)

        batch = (data.train_x[:_BATCH], data.train_y[:_BATCH])
        check = goodinit.coordinate_check(
            drawn, checked, batch, optimizer="adam", lr=1e-3, steps=1, seeds=repeats, confidence=0.95
        )
        layer = check.layers[-1]
        if layer.change_slope is None or layer.change_interval is None:
            continue
        slopes[name] = layer.change_slope
        measured = Interval(layer.change_slope, *layer.change_interval, check.confidence)
        facts.append(
            fact(
                f"{name}: exponent in width of the output's change in one step",
                measured,
                1.0 if name == _STANDARD else (-check.tolerance, check.tolerance),
                within=0.25 if name == _STANDARD else 0.0,
                source="infinite width" if name == _STANDARD else "0 up to the check's tolerance",
            )
        )
    drop = [f"{slope:.2f} ({name})" for name, slope in slopes.items()]
    kept = 1 / step <= moved[_MAXIMAL].value <= step
    return Found(
        answer=(
            f"From width {narrow} to {wide} the best learning rate changes by a factor of "
            f"{said(moved[_STANDARD])} under the standard parametrization and of {said(moved[_MAXIMAL])} "
            f"under muP "
            f"({count} seeds, rates in steps of {step:.3g}).",
            f"The output's change in one step grows with width to the power {' and '.join(drop)}.",
        ),
        textbook="Under muP the rate found on a narrow network fits a wide one: "
        + ("right" if kept else "not so")
        + " here, up to one step of the rates tried.",
        settings={
            "network": f"64–width–width–10, ReLU, no biases; both parametrizations agree at width {_BASE}",
            "training": f"Adam, {steps} steps of {_BATCH}, {steps * _BATCH / len(data.train_x):.3g} passes",
            "learning rates": ", ".join(f"{rate:.4g}" for rate in rates),
            "widths": ", ".join(map(str, widths)),
            "coordinate check": f"widths {', '.join(map(str, checked))}, {repeats} seeds, one step",
            "seeds": f"0 to {count - 1}, paired",
            "data": data.about,
        },
        facts=tuple(facts),
        pictures=tuple(
            Picture(
                f"rates-{name.lower()}",
                f"Training loss by learning rate, {name} parametrization",
                "Median over seeds; where the curves of all widths have their lowest point, the rate "
                "carries over.",
                "learning rate",
                "cross-entropy",
                log_x=True,
                log_y=True,
                lines=tuple(_line(width, found) for width, found in row.items()),
            )
            for name, row in losses.items()
        ),
    )


def _line(width: int, found: dict[float, list[float]]) -> Line:
    """Return the median loss over rates; networks that diverged have no height and are left out."""
    middle = {rate: median(values).value for rate, values in found.items()}
    kept = {rate: value for rate, value in middle.items() if math.isfinite(value)}
    return curve(f"width {width}", kept, kept.values())


EXPERIMENT = Experiment(
    "mup-widths",
    "Learning rate and width under muP",
    "A learning rate is tuned on a narrow network and used on a wide one. Does the best rate stay where it "
    "was, "
    "under the usual parametrization and under the maximal update parametrization (muP)?",
    _measure,
    ("widths under muP",),
)
