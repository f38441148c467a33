"""Three roads to stability: addition instead of multiplication, normalization, and a suitable init."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

import goodinit
from goodinit.initializers import Blocks, Constant, LecunNormal, VarianceScaling
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Residual, dense, normal_batch
from goodinit.lab.travel import Travel, travel
from goodinit.records import Fact, Interval, Picture

# Depth, width, samples, seeds.
_SIZES = {"small": (8, 48, 64, 3), "default": (30, 128, 256, 10), "full": (50, 256, 1024, 30)}
# Gradients of batch-normalised ReLU nets grow by this factor per layer: Yang et al. 2019.
_GROWTH = math.pi / (math.pi - 1)
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "leaky ReLU 0.1": lambda: nn.LeakyReLU(0.1),
    "SiLU": nn.SiLU,
}


class _Gated(nn.Module):
    """h ← (1 − z)·n + z·h: the same addition with a gate z that opens and closes (a GRU's step)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(1, width)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.cell(state.new_zeros(len(state), 1), state)
        return out


def _roads(depth: int, width: int) -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    """Models of the same depth and the kinds of layers to follow in each."""

    def block() -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, width), nn.ReLU())

    sizes = (width,) * (depth + 1)
    return {
        "plain": (nn.Sequential(*(block() for _ in range(depth))), ("ReLU",)),
        "residual": (nn.Sequential(*(Residual(block()) for _ in range(depth))), ("add",)),
        "gated": (nn.Sequential(*(_Gated(width) for _ in range(depth))), ("GRUCell",)),
        "batch norm": (dense(sizes, nn.ReLU, bias=False, norm=nn.BatchNorm1d), ("Linear",)),
        "layer norm": (dense(sizes, nn.ReLU, bias=False, norm=nn.LayerNorm), ("Linear",)),
    }


def _measure(size: Size) -> Found:
    depth, width, samples, count = _SIZES[size]
    seeds = range(count)
    batch = normal_batch(samples, width)
    runs: dict[str, Travel] = {}
    for name, (model, kinds) in _roads(depth, width).items():
        plans = {name: goodinit.plan(model, "torch", example=batch)}
        if name == "plain":
            plans["suitable init"] = goodinit.plan(model, "kaiming_normal", example=batch)
        if name == "gated":
            # torch stacks reset, update and new; the update gate σ(4) keeps 98 % of the state.
            ajar = Blocks(((width, Constant(0.0)), (width, Constant(4.0)), (width, Constant(0.0))))
            plans["gates open"] = plans[name].override({"*.bias_ih": ajar})
        runs |= {label: travel(model, plan, batch, seeds, kinds) for label, plan in plans.items()}
    back = {name: run.backward_ratio for name, run in runs.items()}
    there = {name: run.forward_ratio for name, run in runs.items()}
    grown = runs["batch norm"].hidden.backward_factor

    table: dict[str, dict[str, float]] = {}
    suited: dict[str, Interval] = {}
    for name, activation in _ACTIVATIONS.items():
        model = dense((width,) * (depth + 1), activation, bias=False)
        base = goodinit.plan(model, "torch", example=batch)
        laws = {
            "torch default": base,
            "1/fan_in": base.override({"*.weight": LecunNormal()}),
            "2/fan_in": base.override({"*.weight": VarianceScaling(math.sqrt(2), "fan_in", "normal")}),
            "auto": goodinit.plan(model, "auto", example=batch),
        }
        found = {
            label: travel(model, plan, batch, seeds[: max(2, count // 3)]) for label, plan in laws.items()
        }
        table[name] = {label: math.log10(run.hidden.backward_factor.value) for label, run in found.items()}
        suited[name] = found["auto"].hidden.backward_factor
    lines = [run.lines(name) for name, run in runs.items()]
    facts: list[Fact] = [
        fact(
            "batch norm and ReLU: gradient's growth per layer",
            grown,
            _GROWTH,
            within=0.02,
            source="π/(π − 1), Yang et al.",
        ),
        fact(
            "ReLU with Kaiming's init: gradient's factor per layer",
            runs["suitable init"].backward_factor,
            1.0,
            within=0.05,
        ),
        *(
            fact(f"{name}: gradient of the first layer over the last, second moments", each)
            for name, each in back.items()
        ),
        *(fact(f"{name}: signal of the last layer over the first", each) for name, each in there.items()),
        *(fact(f"{name} with auto: gradient's factor per layer", each) for name, each in suited.items()),
    ]
    return Found(
        answer=(
            f"Over {depth} layers a plain network leaves {back['plain'].value:.2g} of the gradient, layer "
            f"norm {back['layer norm'].value:.2g}, Kaiming's init {back['suitable init'].value:.2g}; batch "
            f"norm blows it up {back['batch norm'].value:.2g}-fold.",
            f"Over {depth} layers the plain network with torch's default leaves {said(back['plain'])} of the "
            f"gradient's second moment; with residual sums it is {said(back['residual'])}, with gated sums "
            f"{said(back['gated'])} ({said(back['gates open'])} once their gates are biased open), with "
            f"layer norm {said(back['layer norm'])}, and with Kaiming's init alone "
            f"{said(back['suitable init'])}.",
            f"Batch norm keeps the signal ({said(there['batch norm'])}) but its gradients explode at the "
            f"start: by {said(grown, 4)} per layer, {said(back['batch norm'])} over all.",
            "Sums trade vanishing for growth: unscaled, the residual stream's second moment grows "
            f"{said(there['residual'])}-fold and its gradient {said(back['residual'])}-fold.",
        ),
        textbook="Half right. Addition keeps the gradient from vanishing, yet signals then grow with depth "
        "unless branches are scaled; gates help only where they start open; and batch norm steadies the "
        "signal but makes the gradient grow with depth.",
        settings={
            "depth": str(depth),
            "width": str(width),
            "batch": f"{samples} standard normal inputs",
            "seeds": f"0 to {count - 1}",
            "init": "torch's default unless named; weights of normed layers do not matter",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "forward",
                "Second moment of each layer's output",
                "Roads that hold the signal are level.",
                "layer",
                "second moment",
                log_y=True,
                lines=tuple(one for one, _ in lines),
            ),
            Picture(
                "backward",
                "Second moment of the gradient",
                "Read from right to left: how much returns.",
                "layer",
                "second moment of the gradient",
                log_y=True,
                lines=tuple(other for _, other in lines),
            ),
            grid(
                "suitable",
                "Gradient's factor per layer, by activation and init",
                "0 is kept; negative vanishes.",
                table,
                x="init",
                y="activation",
                unit="log₁₀ of the factor",
                middle=0.0,
            ),
        ),
    )


EXPERIMENT = Experiment(
    "three-roads",
    "Three roads to stability",
    "A product of many factors vanishes or explodes. One can turn it into a sum (residual connections, gated "
    "recurrence), normalise (batch norm, layer norm), or choose the init that suits the activation (ReLU, "
    "leaky ReLU, SiLU). What does each do for signals and gradients at the same depth?",
    _measure,
    ("S2.1", "S2.2", "S2.3"),
)
