"""Textbook gains against exact ones, for every activation, by depth."""

from __future__ import annotations

import math

from torch import nn

import goodinit
from goodinit.initializers import VarianceScaling
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import exact, fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense, normal_batch
from goodinit.lab.travel import Travel, travel
from goodinit.records import Fact, Sheet
from goodinit.theory import chi_perp, gain, moments, q_map

# Depth, width, samples, seeds.
_SIZES = {"small": (6, 48, 32, 3), "default": (24, 256, 64, 4), "full": (48, 512, 128, 16)}
_MODULES: dict[str, nn.Module] = {
    "identity": nn.Identity(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "selu": nn.SELU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
}
_SMALL = ("identity", "tanh", "relu", "selu", "gelu")
_HELD = 3.0  # a signal within this factor of its start counts as held
_TORCH_NAME = {"identity": "linear"}


def textbook(name: str) -> float | None:
    """Return what torch.nn.init.calculate_gain says, None where it knows nothing."""
    try:
        return float(nn.init.calculate_gain(_TORCH_NAME.get(name, name)))  # type: ignore[arg-type]
    except ValueError:
        return None


def _measure(size: Size) -> Found:
    depth, width, samples, count = _SIZES[size]
    names = _SMALL if size == "small" else tuple(_MODULES)
    depths = [at for at in (2, 4, 6, 12, 24, 48) if at <= depth]
    batch = normal_batch(samples, width)
    facts: list[Fact] = []
    rows = []
    tables: dict[str, dict[str, dict[str, float]]] = {"textbook": {}, "exact": {}}
    runs: dict[tuple[str, str], Travel] = {}
    for name in names:
        net = dense((width,) * (depth + 2), lambda name=name: _MODULES[name], bias=False)  # type: ignore[misc]
        base = goodinit.plan(net, "torch", example=batch)
        known, right = textbook(name), gain(name)
        for label, factor in (("textbook", 1.0 if known is None else known), ("exact", right)):
            plan = base.override({"*.weight": VarianceScaling(factor, "fan_in", "normal")})
            plan = plan.override({"0.weight": VarianceScaling(1.0, "fan_in", "normal")})
            run = travel(net, plan, batch, range(count))
            runs[name, label] = run
            tables[label][name] = {
                f"{at}": math.log10(run.forward[:, at].log().mean().exp()) for at in depths
            }
        run = runs[name, "textbook"]
        used = 1.0 if known is None else known
        # Where signals stay near 1 the gradient's factor is gain² E[φ′²] at q = 1.
        rows.append(
            (
                name,
                "unknown" if known is None else f"{known:.4f}",
                f"{right:.4f}",
                f"{gain(name, 'backward'):.4f}",
                f"{q_map(name, 1.0, used):.4f}",
                f"{chi_perp(name, 1.0, used):.4f}",
                f"{chi_perp(name, 1.0, right):.4f}",
                f"{run.forward_ratio.value:.3g}",
                f"{run.backward_ratio.value:.3g}",
                f"{runs[name, 'exact'].forward_ratio.value:.3g}",
                f"{runs[name, 'exact'].backward_ratio.value:.3g}",
            )
        )
        first = run.forward[:, 1] / run.forward[:, 0]
        facts.append(
            fact(
                f"{name}, textbook gain: factor of the first layer's second moment",
                mean(first.tolist()),
                used**2 * moments(name).second_moment,
                within=0.03,
                source="gain²·E[φ²]",
            )
        )
    off = {
        name: abs(math.log(runs[name, "textbook"].forward_ratio.value)) for name in names if textbook(name)
    }
    tanh = runs["tanh", "textbook"], runs["tanh", "exact"]
    facts += [
        fact("tanh, textbook gain 5/3: gradient's factor per layer", tanh[0].hidden.backward_factor),
        fact("tanh, exact forward gain: gradient's factor per layer", tanh[1].hidden.backward_factor),
        fact(
            "SELU, textbook gain 3/4: signal of the last layer over the first",
            runs["selu", "textbook"].forward_ratio,
        ),
        fact(
            "SELU, exact gain: signal of the last layer over the first", runs["selu", "exact"].forward_ratio
        ),
        fact(
            "ReLU, textbook gain √2: signal's factor per layer",
            runs["relu", "textbook"].forward_factor,
            1.0,
            within=0.02,
        ),
    ]
    lost = {
        label: [
            name for name in names if abs(math.log(runs[name, label].forward_ratio.value)) > math.log(_HELD)
        ]
        for label in tables
    }
    facts += [
        fact(f"activations whose signal leaves a factor of {_HELD:g}, {label} gains", exact(len(found)))
        for label, found in lost.items()
    ]
    unknown = [name for name in names if textbook(name) is None]
    gelu = runs["gelu", "textbook"], runs["gelu", "exact"]
    worst = max(off, key=lambda name: off[name])
    return Found(
        answer=(
            f"Of torch's gains {worst}'s is farthest off: over {depth} layers the signal changes "
            f"{runs[worst, 'textbook'].forward_ratio.value:.2g}-fold, with the exact gain "
            f"{runs[worst, 'exact'].forward_ratio.value:.2g}-fold.",
            f"With intervals: {said(runs[worst, 'textbook'].forward_ratio)} with the textbook's "
            f"{textbook(worst):.4g}, {said(runs[worst, 'exact'].forward_ratio)} with the exact "
            f"{gain(worst):.4g}.",
            f"It knows none for {len(unknown)} of {len(names)} activations ({', '.join(unknown)}); with gain "
            f"1 GELU's signal changes by {said(gelu[0].forward_ratio)} over {depth} layers, with the exact "
            f"{gain('gelu'):.4g} by {said(gelu[1].forward_ratio)}.",
            f"tanh's 5/3 lets gradients grow by {said(tanh[0].hidden.backward_factor)} per layer; the exact "
            f"forward gain {gain('tanh'):.4g} by {said(tanh[1].hidden.backward_factor)}, while signals "
            f"change by {said(tanh[0].forward_ratio)} and {said(tanh[1].forward_ratio)} over all layers.",
            f"Over {depth} layers {len(lost['textbook'])} of {len(names)} signals leave a factor of "
            f"{_HELD:g} with textbook gains and {len(lost['exact'])} with exact ones "
            f"({', '.join(lost['exact']) or 'none'}).",
        ),
        textbook="Right for the identity and ReLU alone. SELU's 3/4 is a choice that shrinks signals on "
        "purpose, tanh's 5/3 no moment of tanh, and the sigmoid's 1 ignores that its slope is at most 1/4. "
        "Exact gains are not the last word either: where errors of the second moment grow from layer to "
        "layer, a gain alone holds no signal.",
        settings={
            "networks": f"{depth + 1} layers of width {width} without biases, fan_in, normal draws; the "
            "first has gain 1",
            "batch": f"{samples} standard normal inputs",
            "seeds": f"0 to {count - 1}",
        },
        facts=tuple(facts),
        pictures=tuple(
            grid(
                label,
                f"Second moment before the activation, by depth: {label} gains",
                "0 is kept; each row one activation, gain 1 where torch knows none.",
                tables[label],
                x="layer",
                y="activation",
                unit="log₁₀ of the second moment",
                middle=0.0,
            )
            for label in tables
        ),
        sheets=(
            Sheet(
                "Gains and what they do",
                (
                    "activation",
                    "textbook gain",
                    "exact forward",
                    "exact backward",
                    "textbook: gain²·E[φ²]",
                    "textbook: gain²·E[φ′²]",
                    "exact: gain²·E[φ′²]",
                    "textbook: signal, last over first",
                    "textbook: gradient, first over last",
                    "exact: signal",
                    "exact: gradient",
                ),
                tuple(rows),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "textbook-gains",
    "Textbook gains against exact ones",
    "torch.nn.init.calculate_gain gives a gain for each of a few activations. Exact gains are 1/√E[φ²] of a "
    "standard normal input (forward) and 1/√E[φ′²] (backward). How far apart are they, and what does the "
    "difference become over many layers?",
    _measure,
    ("textbook gains",),
)
