"""Models from layers, blocks and bare parameters: each gets a complete plan, with fans from use."""

from __future__ import annotations

import torch
from torch import nn

import goodinit
from goodinit.lab.drawing import banded, curve
from goodinit.lab.estimates import exact, fact, geometric_mean, said
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import Residual, dense, normal_batch
from goodinit.records import Picture, Sheet

_SEEDS = {"small": 4, "default": 40, "full": 400}


class Own(nn.Module):
    """A linear map with a Parameter of its own: x @ weight + bias, stored (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.randn(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight) + self.bias


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(20, 256), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(torch.relu(self.hidden(x)))
        return out


def _block() -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 20), nn.ReLU())


def _nested() -> nn.Sequential:
    blocks = nn.Sequential()
    for at in range(4):
        blocks.add_module(f"block {at}", _block())
    return nn.Sequential(blocks, nn.Linear(20, 1))


def models() -> dict[str, nn.Module]:
    """Return the tutorials' ways to build a model; every one takes 20 features."""
    return {
        "layers": _Mlp(),
        "nn.Sequential": dense((20, 256, 10), nn.ReLU),
        "blocks": nn.Sequential(_block(), Residual(_block()), nn.Linear(20, 1)),
        "nested blocks": _nested(),
        "own parameter": nn.Sequential(Own(20, 256), nn.ReLU(), Own(256, 16), nn.ReLU(), Own(16, 1)),
        "a parameter used twice": _Shared(),
    }


class _Shared(nn.Module):
    """A constant that is no parameter, one layer used twice, and control flow: as in the book."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.rand(20, 20, generator=torch.Generator().manual_seed(0)))
        self.linear = nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(torch.relu(self.linear(x) @ self.fixed + 1))
        return x.sum()


def _measure(size: Size) -> Found:
    torch.manual_seed(0)
    seeds = range(_SEEDS[size])
    batch = normal_batch(256, 20)
    rows, facts = [], []
    whole = total = 0
    for name, model in models().items():
        plan = goodinit.plan(model, "auto", example=batch)
        count = len(list(model.named_parameters()))
        verified = all(plan.verify(plan.apply_(model, seed=seed), seed=seed) for seed in seeds[:2])
        filled = {row.name for row in plan if row.initializer.writes}
        whole += len(filled) == count and verified
        total += 1
        laws = "; ".join(f"{row.name}: fans {row.fan_in:g}→{row.fan_out:g}" for row in plan if row.fan_in)
        rows.append((name, str(count), str(len(plan)), "yes" if verified else "no", laws))
        facts.append(fact(f"{name}: parameters with a row that fills them", exact(len(filled)), float(count)))

    own = models()["own parameter"]
    plan = goodinit.plan(own, "kaiming_normal", example=batch)
    wide = plan["0.weight"]
    ours, guessed = [], []
    for seed in seeds:
        plan.apply_(own, seed=seed)
        ours.append(_outputs(own, batch))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, parameter in own.named_parameters():
                if parameter.dim() > 1:
                    nn.init.kaiming_normal_(parameter, nonlinearity="relu" if name[0] != "4" else "linear")
        guessed.append(_outputs(own, batch))
    used, shaped = torch.tensor(ours), torch.tensor(guessed)
    kept, lost = (geometric_mean((each[:, 1] / each[:, 0]).tolist()) for each in (used, shaped))
    assert wide.fan_in is not None
    facts += [
        fact("own parameter: fan_in of the 20×256 weight in x @ weight", exact(wide.fan_in), 20.0),
        fact(
            "own parameter: second layer's second moment over the first's, fans from the matmul",
            kept,
            1.0,
            within=0.1,
        ),
        fact(
            "the same by torch.nn.init, whose fans come from the shape",
            lost,
            256 / 16,
            within=0.1,
            source="fan_in 256 taken for 16",
        ),
    ]
    return Found(
        answer=(
            f"{whole} of {total} ways to build a model get a complete plan, which the model then follows bit "
            "for bit.",
            f"x @ weight sums {wide.fan_in:g} inputs although the 20×256 shape says {wide.shape[1]} to "
            f"torch.nn.init: with fans from the matmul the second layer keeps {said(kept)} of the first "
            f"one's second moment, with fans from the shape it is {said(lost)}.",
        ),
        textbook="Its own Linear stores the weight as (inputs, outputs) and is right to multiply by it; "
        "torch.nn.init then reads the fans the wrong way round.",
        settings={
            "recipe": "auto; kaiming_normal for the comparison",
            "batch": "256 standard normal inputs of 20 features",
            "seeds": f"0 to {len(seeds) - 1}",
        },
        facts=tuple(facts),
        pictures=(
            Picture(
                "own",
                "Second moment after each matmul of the model with its own parameters",
                "Fans from use hold it; fans from the shape do not.",
                "layer",
                "second moment",
                log_y=True,
                lines=(
                    banded("fans from the matmul", (1, 2, 3), used),
                    banded("fans from the shape", (1, 2, 3), shaped),
                    curve("fans from the shape: theory", (1, 2, 3), _misread(), theory=True),
                ),
            ),
        ),
        sheets=(
            Sheet("Every model's plan", ("model", "parameters", "rows", "verified", "fans"), tuple(rows)),
        ),
    )


def _misread() -> list[float]:
    """Second moments if the fan of the other side is taken: q ← q·fan_in/fan_out, and 2 for ReLU's half."""
    found, q = [], 1.0
    for at, (inputs, outputs) in enumerate(((20, 256), (256, 16), (16, 1))):
        q *= inputs / outputs * (0.5 if at else 1.0) * (2.0 if at < 2 else 1.0)
        found.append(q)
    return found


def _outputs(model: nn.Module, batch: torch.Tensor) -> list[float]:
    seen = goodinit.probe(model, batch).layers
    return [layer.output.second_moment for layer in seen if layer.kind in ("Own", "matmul", "add")]


EXPERIMENT = Experiment(
    "building-blocks",
    "Models of every build",
    "Models are written as layers, as blocks within blocks, as nn.Sequential, or with a Parameter of one's "
    "own that is multiplied by in forward. Does each get a complete plan, and does a bare parameter get its "
    "fans from the multiplication that it is used in, instead of from its shape?",
    _measure,
    ("S2.5",),
)
