"""ReLU halves the second moment at every layer, and Kaiming's factor 2 repairs it."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

import goodinit
from goodinit.initializers import KaimingNormal, KaimingUniform, LecunNormal, VarianceScaling
from goodinit.lab.drawing import curve, grid
from goodinit.lab.estimates import fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import convolutional, normal_batch
from goodinit.lab.travel import Travel, travel
from goodinit.records import Fact, Picture

# Depth, channels, seeds.
_SIZES = {"small": (8, 16, 4), "default": (30, 32, 12), "full": (50, 64, 40)}
_SLOPES = (0.0, 0.1, 0.3)


def _measure(size: Size) -> Found:
    depth, width, count = _SIZES[size]
    seeds = range(count)
    channels = (width,) * (depth + 1)
    batch = normal_batch(8, width, 6, 6)
    net = convolutional(channels, nn.ReLU)
    base = goodinit.plan(net, "torch", example=batch)
    laws = {
        "Var = 1/n_in": LecunNormal(),
        "Kaiming normal, 2/n_in": KaimingNormal("relu"),
        "Kaiming uniform, 2/n_in": KaimingUniform("relu"),
    }
    runs: dict[str, Travel] = {}
    facts: list[Fact] = []
    for name, law in laws.items():
        runs[name] = travel(net, base.override({"*.weight": law}), batch, seeds)
        want = 0.5 if "1/n_in" in name else 1.0
        facts += [
            fact(f"{name}: factor per layer, signal", runs[name].forward_factor, want, within=0.02),
            fact(f"{name}: factor per layer, gradient", runs[name].backward_factor, want, within=0.02),
        ]
    plain, he = runs["Var = 1/n_in"], runs["Kaiming normal, 2/n_in"]

    # By symmetry of the weights the share that ReLU keeps is 1/2 on average in every layer.
    he_plan = base.override({"*.weight": laws["Kaiming normal, 2/n_in"]})
    both = travel(net, he_plan, batch, seeds, ("Conv2d", "ReLU")).forward
    halving = mean((both[:, 1::2] / both[:, ::2]).mean(1).tolist())
    facts.append(fact("second moment after ReLU over before", halving, 0.5, source="He et al. 2015"))

    table: dict[str, dict[str, float]] = {}
    for slope in _SLOPES:
        leaky = convolutional(channels, lambda slope=slope: nn.LeakyReLU(slope))  # type: ignore[misc]
        plan = goodinit.plan(leaky, "torch", example=batch)
        table[f"slope {slope:g}"] = {}
        for name, law in {
            "1/n_in": LecunNormal(),
            "2/n_in": KaimingNormal("relu"),
            "2/((1 + a²) n_in)": KaimingNormal(nn.LeakyReLU(slope)),
        }.items():
            factor = travel(
                leaky, plan.override({"*.weight": law}), batch, seeds[: max(3, count // 4)]
            ).forward_factor
            table[f"slope {slope:g}"][name] = factor.value
            if name.startswith("2/("):
                facts.append(
                    fact(
                        f"leaky ReLU of slope {slope:g}, gain √(2/(1 + a²)): factor per layer",
                        factor,
                        1.0,
                        within=0.02,
                    )
                )
    modes = _by_mode(width, seeds)
    facts += modes
    layers = range(1, depth + 1)
    lines = [run.lines(name) for name, run in runs.items()]
    fall = curve("Var = 1/n_in: theory", layers, [0.5**at for at in range(depth)], theory=True)
    rise = curve("Var = 1/n_in: theory", layers, [0.5 ** (depth - at) for at in layers], theory=True)
    return Found(
        answer=(
            f"ReLU keeps {halving.value:.3g} of the second moment in every layer; with Kaiming's 2/n_in it "
            f"changes {he.forward_factor.value:.3g}-fold per layer.",
            f"The halving is {said(halving)}. Var = 1/n_in changes the signal by "
            f"{said(plain.forward_factor)} per layer and the gradient by {said(plain.backward_factor)}, so "
            f"that {said(plain.forward_ratio)} of {depth} layers' signal is left.",
            f"Kaiming's 2/n_in repairs both: {said(he.forward_factor)} forward, {said(he.backward_factor)} "
            f"backward per layer, {said(he.forward_ratio)} typically over all.",
            f"Where channels double, mode=fan_in keeps the signal ({said(modes[0].measured)} per layer) and "
            f"lets gradients grow by {said(modes[1].measured)}; mode=fan_out keeps gradients "
            f"({said(modes[3].measured)}) and shrinks the signal by {said(modes[2].measured)}.",
        ),
        textbook="Right, with the second moment: it is E[x²] that ReLU halves. The mean is no longer zero, "
        "so the variance falls to (1 − 1/π)/2 of what it was.",
        settings={
            "network": f"{depth} circular 3×3 convolutions of {width} channels, ReLU",
            "seeds": f"0 to {count - 1}",
            "batch": "8 standard normal images of 6×6",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "forward",
                "Second moment before each ReLU",
                "1/n_in halves at every layer; 2/n_in stays.",
                "layer",
                "second moment",
                log_y=True,
                lines=(*(there for there, _ in lines), fall),
            ),
            Picture(
                "backward",
                "Second moment of the gradient",
                "Likewise on the way back, from right to left.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=(*(back for _, back in lines), rise),
            ),
            grid(
                "leaky",
                "Factor per layer with leaky ReLU",
                "1 is kept; only the gain that knows the slope keeps all.",
                table,
                x="variance",
                y="activation",
                unit="factor per layer",
                middle=1.0,
            ),
        ),
    )


def _by_mode(width: int, seeds: range) -> list[Fact]:
    """Where channels double, mode="fan_in" keeps signals and mode="fan_out" gradients."""
    batch = normal_batch(8, width, 6, 6)
    net = convolutional((width, 2 * width, 4 * width), nn.ReLU)
    base = goodinit.plan(net, "torch", example=batch)
    found = []
    modes: dict[Literal["fan_in", "fan_out"], tuple[float, float]] = {
        "fan_in": (1.0, 2.0),
        "fan_out": (0.5, 1.0),
    }
    for mode, (there, back) in modes.items():
        law = VarianceScaling(math.sqrt(2), mode, "normal")
        run = travel(net, base.override({"*.weight": law}), batch, seeds)
        found += [
            fact(
                f"channels that double, {mode}: signal's factor per layer",
                run.forward_factor,
                there,
                within=0.05,
            ),
            fact(
                f"channels that double, {mode}: gradient's factor per layer",
                run.backward_factor,
                back,
                within=0.05,
            ),
        ]
    return found


EXPERIMENT = Experiment(
    "relu-halves",
    "ReLU halves, Kaiming repairs",
    "Kaiming (He) initialization draws with Var = 2/n_in where Xavier's derivation gives 1/n_in, because "
    "ReLU sets half of a symmetric signal to zero. Is that what happens, layer by layer in a deep "
    "convolutional network, forward and backward, and what do uniform draws, fan_out and the slope a of "
    "leaky ReLU change?",
    _measure,
    ("S1.4",),
)
