"""Deep linear networks: depth hardly slows orthogonal weights, and Gaussian ones very much."""

from __future__ import annotations

import math

import torch
from torch import nn

import goodinit
from goodinit.initializers import Initializer, LecunNormal, Orthogonal
from goodinit.lab.drawing import banded, curve
from goodinit.lab.estimates import exact, fact, median, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense
from goodinit.lab.travel import drawn
from goodinit.records import Line, Picture

# Width, depths, seeds, most steps.
_SIZES = {
    "small": (12, (2, 4, 8), 4, 120),
    "default": (16, (2, 4, 8, 16, 32, 64), 8, 300),
    "full": (24, (2, 4, 8, 16, 32, 64, 100), 12, 400),
}
_LAWS: dict[str, Initializer] = {"orthogonal": Orthogonal(), "Gaussian": LecunNormal()}
_STRENGTHS = (0.5, 1.0, 2.0, 3.0)  # singular values of the map to be learnt; one output for each
_LEFT = 0.01  # learnt: this share of the starting loss is left
# Rates times depth; stability limits the product, see `theory`. The best is taken for each law and depth.
_RATES = tuple(2.0 ** (at / 2) for at in range(-14, 2))


def train(
    weights: list[torch.Tensor], target: torch.Tensor, rates: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Learn ½|W_D…W_1 − T|² (what whitened inputs leave of squared errors) by gradient descent.

    Args:
        weights: of each layer, the first first: (seeds, outputs, inputs).
        target: (seeds, outputs, inputs).
        rates: of gradient descent; all are tried at once.
        steps: after so many it ends; earlier once every seed has learnt at one rate.

    Returns:
        losses (steps, rates, seeds), infinite where diverged; and the step at which each has learnt,
        infinite where it has not.
    """
    layers = [weight.expand(len(rates), *weight.shape).clone() for weight in weights]
    learnt = torch.full((len(rates), len(target)), math.inf, dtype=torch.float64)
    losses = []
    for step in range(steps + 1):
        ahead = [layers[0]]
        for weight in layers[1:]:
            ahead.append(weight @ ahead[-1])
        back = ahead[-1] - target
        losses.append((back.square().sum((-1, -2)) / 2).nan_to_num(math.inf, math.inf))
        learnt[(losses[-1] <= _LEFT * losses[0]) & learnt.isinf()] = step
        if learnt.isfinite().all(1).any():
            break
        for at in range(len(layers) - 1, -1, -1):
            gradient = back @ ahead[at - 1].mT if at else back
            back = layers[at].mT @ back
            layers[at] = layers[at] - rates[:, None, None, None] * gradient
    return torch.stack(losses), learnt


def theory(depth: int, rate: float, steps: int) -> torch.Tensor:
    """Return the losses of theory: each mode starts at a = 1 and learns by itself.

    a ← a + λ·a^(D−1)·(s − a^D): of u = a^D it is du/dt = λ·D·u^(2−2/D)·(s − u).

    Source: Saxe, McClelland and Ganguli 2014, section 2.2, in discrete steps.
    """
    a = torch.ones(len(_STRENGTHS), dtype=torch.float64)
    s = torch.tensor(_STRENGTHS, dtype=torch.float64)
    losses = []
    for _ in range(steps):
        losses.append((s - a**depth).square().sum() / 2)
        a = a + rate * a ** (depth - 1) * (s - a**depth)
    return torch.stack(losses)


def weights_of(law: Initializer, depth: int, width: int, seeds: range) -> list[torch.Tensor]:
    """Return the weights of a deep linear network, by layer, under each seed."""
    net = dense((*[width] * depth, len(_STRENGTHS)), nn.Identity, bias=False)
    plan = goodinit.plan(net, "torch", example=torch.zeros(1, width)).override({"*.weight": law})
    return [drawn(net, plan, row.name, seeds) for row in plan]


def _targets(width: int, seeds: range) -> torch.Tensor:
    """Maps with random singular vectors."""
    outputs = len(_STRENGTHS)
    left = torch.stack([Orthogonal().fill_(torch.empty(outputs, outputs), key=2 * s).double() for s in seeds])
    right = torch.stack(
        [Orthogonal().fill_(torch.empty(outputs, width), key=2 * s + 1).double() for s in seeds]
    )
    return left @ torch.diag(torch.tensor(_STRENGTHS, dtype=torch.float64)) @ right


def aligned(weights: list[torch.Tensor]) -> torch.Tensor:
    """Maps with the singular vectors of the network's own map, so that its modes do not mix."""
    whole = weights[0]
    for weight in weights[1:]:
        whole = weight @ whole
    return torch.diag(torch.tensor(_STRENGTHS, dtype=torch.float64)) @ whole


def _measure(size: Size) -> Found:
    width, depths, count, most = _SIZES[size]
    seeds = range(count)
    targets = _targets(width, seeds)
    times: dict[str, list[torch.Tensor]] = {law: [] for law in _LAWS}
    curves: list[Line] = []
    off = 0.0
    for depth in depths:
        rates = torch.tensor(_RATES, dtype=torch.float64) / depth
        for name, law in _LAWS.items():
            weights = weights_of(law, depth, width, seeds)
            losses, learnt = train(weights, targets, rates, most)
            best = int(learnt.median(1).values.argmin())
            times[name].append(learnt[best])
            if depth == depths[-1]:
                curves.append(
                    banded(
                        f"{name}, depth {depth}", range(len(losses)), (losses[:, best] / losses[0, best]).T
                    )
                )
            if name == "orthogonal":
                losses, learnt = train(weights, aligned(weights), rates, most)
                best = int(learnt.median(1).values.argmin())
                expected = theory(depth, float(rates[best]), len(losses))
                off = max(off, ((losses[:, best] - expected[:, None]).abs() / expected[0]).max().item())
                if depth == depths[-1]:
                    axis, label = range(len(losses)), f"orthogonal, own modes, depth {depth}"
                    curves += [
                        banded(label, axis, (losses[:, best] / losses[0, best]).T),
                        curve(f"{label}: theory", axis, (expected / expected[0]).tolist(), theory=True),
                    ]
    typical = {name: [median(each.tolist()) for each in found] for name, found in times.items()}
    lost = {name: sum(int(each.isinf().sum()) for each in found) for name, found in times.items()}
    capped = {name: [each.clamp(max=most + 1.0) for each in found] for name, found in times.items()}
    first, last = depths[0], depths[-1]
    grown = {name: median((found[-1] / found[0]).tolist()) for name, found in capped.items()}
    half = len(depths) // 2
    late = {name: median((found[-1] / found[half]).tolist()) for name, found in capped.items()}
    facts = [
        fact(
            "orthogonal, own modes: largest distance of a loss from theory's, as a share of the start",
            exact(off),
            (0.0, 1e-3),
            source="Saxe et al. 2014, exact",
        ),
        *(
            fact(f"{name}: steps to learn at depth {depth}, best rate", figure)
            for name, found in typical.items()
            for depth, figure in zip(depths, found, strict=True)
        ),
        *(
            fact(f"{name}: steps at depth {last} over depth {first}, at least", figure)
            for name, figure in grown.items()
        ),
        *(
            fact(f"{name}: steps at depth {last} over depth {depths[half]}, at least", figure)
            for name, figure in late.items()
        ),
    ]
    return Found(
        answer=(
            f"From depth {first} to {last} learning takes {grown['orthogonal'].value:.2g} times as long with "
            f"orthogonal weights, at least {grown['Gaussian'].value:.2g} times with Gaussian ones.",
            f"With intervals, each at its best rate: {said(grown['orthogonal'])} and at least "
            f"{said(grown['Gaussian'])}.",
            f"From depth {depths[half]} on orthogonal learning slows {said(late['orthogonal'])}-fold.",
            f"{lost['orthogonal']} of {count * len(depths)} orthogonal runs and {lost['Gaussian']} of as "
            f"many Gaussian ones had not learnt after {most} steps.",
            "Where the map to be learnt has the network's own singular vectors, theory gives the measured "
            f"loss to {off:.1g} of its start at every step and depth.",
        ),
        textbook="Nearly right: Saxe et al. find orthogonal learning times independent of depth "
        "in the limit; a Gaussian product keeps its size on average while its singular values spread ever "
        "wider.",
        settings={
            "networks": f"linear, {width}–…–{width}–{len(_STRENGTHS)}, depths {', '.join(map(str, depths))}",
            "task": f"a map with singular values {', '.join(f'{s:g}' for s in _STRENGTHS)}, whitened "
            "inputs, full batch",
            "seeds": f"0 to {count - 1}",
            "rates": f"{len(_RATES)} from {_RATES[0]:.2g} to "
            f"{_RATES[-1]:.2g} over depth, the best for each law and depth",
            "learnt": f"loss below {_LEFT:g} of its start; at most {most} steps",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "depth",
                "Steps to learn, by depth",
                f"At the top edge: not learnt within {most} steps.",
                "depth",
                "steps",
                log_x=True,
                log_y=True,
                lines=tuple(banded(name, depths, torch.stack(found, 1)) for name, found in capped.items()),
            ),
            Picture(
                "curves",
                f"Loss at depth {last}",
                "Dashed: theory, for the map that shares the network's modes.",
                "step",
                "share of the starting loss",
                log_y=True,
                lines=tuple(curves),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "saxe",
    "Orthogonal against Gaussian weights in deep linear networks",
    "A deep linear network can express no more than one matrix, yet gradient descent on it is as nonlinear "
    "as in any deep network, and Saxe et al. (2014) solved it. Does learning take longer with depth? With "
    "random orthogonal weights it should not; with Gaussian weights, although their variance keeps signals, "
    "it should.",
    _measure,
    ("Saxe et al. 2014",),
)
