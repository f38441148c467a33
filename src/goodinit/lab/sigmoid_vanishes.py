"""Gradients vanish in a stack of sigmoids; Xavier's weights relieve it and do not cure it."""

from __future__ import annotations

import statistics

import torch
from torch import nn

import goodinit
from goodinit.comparing.datasets import Data, load
from goodinit.initializers import XavierNormal, XavierUniform
from goodinit.lab.drawing import banded, violins
from goodinit.lab.estimates import fact, median, said, short
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import small
from goodinit.plans import Plan
from goodinit.records import Picture

# Seeds, depths of the sweep.
_SIZES = {"small": (30, (1, 3)), "default": (100, (1, 2, 3, 4, 5, 6)), "full": (1000, (1, 2, 3, 4, 5, 6, 8))}
_LAWS = {"torch default": None, "Xavier uniform": XavierUniform(), "Xavier normal": XavierNormal()}
_CLASS3 = 3


def plans(model: nn.Module, data: Data) -> dict[str, Plan]:
    """Only weights are filled anew; biases keep torch's default."""
    base = goodinit.plan(model, "torch", example=data.train_x[:10])
    return {label: base.override({"*.weight": law}) if law else base for label, law in _LAWS.items()}


def ratios(model: nn.Module, plan: Plan, data: Data, seeds: range) -> list[float]:
    """Root mean square of the last layer's weight gradient over the first one's, for each seed."""
    found = []
    for seed in seeds:
        plan.apply_(model, seed=seed)
        loss = nn.functional.mse_loss(model(data.train_x), data.train_y)
        weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        first, last = torch.autograd.grad(loss, (weights[0], weights[-1]))
        found.append((last.double().square().mean() / first.double().square().mean()).sqrt().item())
    return found


def _measure(size: Size) -> Found:
    count, depths = _SIZES[size]
    seeds = range(count)
    data = load("s4")
    seen: dict[str, dict[int, list[float]]] = {label: {} for label in _LAWS}
    for depth in depths:
        model = small(depth, nn.Sigmoid)
        for label, plan in plans(model, data).items():
            seen[label][depth] = ratios(model, plan, data, seeds)
    model = small(_CLASS3, nn.Sigmoid)
    parameters = {}
    for label, plan in plans(model, data).items():
        plan.apply_(model, seed=420)
        parameters[label] = goodinit.probe(
            model, (data.train_x, data.train_y), loss=nn.functional.mse_loss
        ).parameters
    typical = {label: median(found[_CLASS3]) for label, found in seen.items()}
    default, uniform, normal = typical.values()
    paired = list(zip(seen["torch default"][_CLASS3], seen["Xavier uniform"][_CLASS3], strict=True))
    relief = median([before / after for before, after in paired])
    wins = sum(before > after for before, after in paired)
    layers = {depth: statistics.median(seen["torch default"][depth]) for depth in depths}
    per_layer = (layers[depths[-1]] / layers[depths[0]]) ** (1 / (depths[-1] - depths[0]))
    source = "100 paired seeds of a careful reproduction"
    return Found(
        answer=(
            f"The last layer's gradient is {short(default.value)} times the first's with torch's default, "
            f"{short(uniform.value)} times with Xavier's weights.",
            f"With {_CLASS3} hidden sigmoid layers the last layer's gradient is {said(default)} times the "
            f"first's (median of {count} seeds); with Xavier's weights it is {said(uniform)} (uniform) or "
            f"{said(normal)} (normal).",
            f"Each further sigmoid layer costs a factor of about {per_layer:.3g} with torch's default.",
            f"Seed by seed Xavier lowers the ratio by {said(relief)}, on {wins} of {count} seeds.",
        ),
        textbook="Half right: Xavier's weights are larger than torch's default and so relieve the vanishing, "
        "but Xavier's derivation assumes a slope of 1 at 0, and the sigmoid's is 1/4: the gradient still "
        "vanishes.",
        settings={
            "network": "2→4→…→1, hidden layers of 4, sigmoid, linear output",
            "data": data.about,
            "seeds": f"0 to {count - 1}, paired",
            "passes": "0: at the start",
            "loss": "mean squared error on the training set",
        },
        facts=(
            fact(
                "torch default: last over first gradient, 3 hidden layers",
                default,
                2000.0,
                within=0.1,
                source=source,
            ),
            fact(
                "Xavier uniform: last over first gradient, 3 hidden layers",
                uniform,
                (300.0, 400.0),
                source=source,
            ),
            fact(
                "Xavier normal: last over first gradient, 3 hidden layers",
                normal,
                (300.0, 400.0),
                source=source,
            ),
            fact("factor by which Xavier uniform lowers the ratio, paired", relief),
        ),
        pictures=(
            violins("gradients", "Gradients of the weights at seed 420", parameters, gradients=True),
            violins("weights", "Weights at seed 420", parameters, gradients=False),
            Picture(
                "depth",
                "Last layer's gradient over the first's, by depth",
                "Each layer multiplies the ratio.",
                "hidden layers",
                "ratio",
                log_y=True,
                lines=tuple(
                    banded(label, depths, torch.tensor([found[depth] for depth in depths]).T)
                    for label, found in seen.items()
                ),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "sigmoid-vanishes",
    "Gradients vanish in a sigmoid stack",
    "In a stack of sigmoid layers the gradient shrinks from layer to layer on its way back. By how much "
    "between the last and the first layer of the tutorials' network, with torch's default init and with "
    "Xavier's, over many seeds instead of one?",
    _measure,
    ("S4.2",),
)
