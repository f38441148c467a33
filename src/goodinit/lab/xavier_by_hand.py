"""Xavier's rule, from torch's own stream, by hand, and as data: the same numbers."""

from __future__ import annotations

import math

import torch
from torch import nn

import goodinit
from goodinit.lab.drawing import violin
from goodinit.lab.estimates import exact, fact, mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense
from goodinit.lab.travel import drawn
from goodinit.records import Picture, Sheet

# What the tutorial prints after torch.manual_seed(1), to four digits.
_PRINTED = (
    (0.3535, 0.1427, 0.0330),
    (0.3321, -0.2416, -0.0888),
    (-0.8140, 0.2040, -0.5493),
    (-0.3010, -0.4769, -0.0311),
)
_SEEDS = {"small": 200, "default": 4000, "full": 40000}


def _measure(size: Size) -> Found:
    layer = nn.Linear(3, 4, bias=False)
    std = math.sqrt(2) / math.sqrt(7)
    torch.manual_seed(1)
    by_torch = nn.init.xavier_normal_(torch.empty(4, 3))
    torch.manual_seed(1)
    by_hand = torch.empty(4, 3).normal_(0.0, std)
    torch.manual_seed(1)
    made = goodinit.plan(layer, "xavier_normal")
    made.apply_(layer, engine="torch")
    by_plan = layer.weight.detach()

    net = dense((3, 2, 1), nn.Tanh, bias=False)
    plan = goodinit.plan(net, "xavier_normal", example=torch.zeros(1, 3))
    draws = {row.name: drawn(net, plan, row.name, range(_SEEDS[size])) for row in plan}
    # Squares, not centred: the law's mean is 0.
    variances = {name: mean(values.square().flatten().tolist()) for name, values in draws.items()}
    rows = []
    for row in plan:
        assert row.fan_in is not None
        assert row.fan_out is not None
        assert row.std is not None
        values = draws[row.name][0]
        matrix = "; ".join(" ".join(f"{value:.4f}" for value in line) for line in values.tolist())
        rows.append(
            (
                row.name,
                f"{row.fan_in:g}",
                f"{row.fan_out:g}",
                f"2/{row.fan_in + row.fan_out:g}",
                f"{row.std**2:.4f}",
                said(variances[row.name]),
                matrix,
            )
        )

    # Four digits are printed.
    off = (by_torch - torch.tensor(_PRINTED)).abs().max().item()
    by_hand_off = (by_torch - by_hand).abs().max().item()
    by_plan_off = (by_torch - by_plan).abs().max().item()
    facts = [
        fact(
            "largest difference between torch.nn.init and the tutorial's printed matrix",
            exact(off),
            (0.0, 5e-5),
            source="rounding to four digits",
        ),
        fact(
            "largest difference between torch.nn.init and a normal draw of std √2/√7",
            exact(by_hand_off),
            0.0,
            source="the tutorial",
        ),
        fact(
            "largest difference between torch.nn.init and the plan carried out from torch's stream",
            exact(by_plan_off),
            0.0,
        ),
    ]
    for row in plan:
        assert row.std is not None
        facts.append(
            fact(f"variance of {row.name}", variances[row.name], row.std**2, source="2/(fan_in + fan_out)")
        )
    first, last = rows[0], rows[-1]
    return Found(
        answer=(
            f"torch's Xavier is a normal draw with std √2/√7 = {std:.4f}: the two differ by {by_hand_off:g} "
            "at most.",
            f"Both repeat the tutorial's printed matrix to {off:.1g}; a plan carried out from torch's stream "
            f"differs by {by_plan_off:g}.",
            f"On 3–2–1 the layers have variance {first[4]} (fans {first[1]} and {first[2]}; measured "
            f"{first[5]}) and {last[4]} (fans {last[1]} and {last[2]}; measured {last[5]}).",
        ),
        textbook="Right: Xavier's rule is one normal (or uniform) draw with one std, and nothing else.",
        settings={
            "stream": "torch.manual_seed(1), weight 4×3",
            "3–2–1 network": f"goodinit seeds 0 to {_SEEDS[size] - 1}",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "draws",
                "What the rule draws",
                "The layer with the larger fans has the narrower violin.",
                "layer",
                "weight",
                violins=tuple(violin(name, values) for name, values in draws.items()),
            ),
        ),
        sheets=(
            Sheet(
                "The 3–2–1 network, layer by layer; the matrix is that of seed 0",
                ("layer", "fan_in", "fan_out", "rule", "variance", "measured", "matrix, row by row"),
                tuple(rows),
            ),
        ),
    )


EXPERIMENT = Experiment(
    "xavier-by-hand",
    "Xavier by hand",
    "Xavier's (Glorot's) normal rule draws each weight with std √(2/(fan_in + fan_out)). Does a plain normal "
    "draw with that std give the very numbers of torch.nn.init.xavier_normal_, and what are fans, variances "
    "and matrices of each layer of a 3–2–1 network?",
    _measure,
    ("S0.1", "S0.2", "S2.4"),
)
