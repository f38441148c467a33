"""Memory that nobody filled, NaN, Inf and absurd numbers: found before training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import goodinit
from goodinit.lab.drawing import grid
from goodinit.lab.estimates import fact, said, share
from goodinit.lab.experiment import Experiment, Found, Size
from goodinit.lab.nets import dense, normal_batch
from goodinit.records import Sheet

_SEEDS = {"small": 4, "default": 40, "full": 100}


def _bits(weight: torch.Tensor, draw: torch.Generator) -> None:
    """What another program left there: every pattern of 32 bits alike, as float32."""
    weight.copy_(torch.randint(-(2**31), 2**31, weight.shape, generator=draw).int().view(torch.float32))


def _small_numbers(weight: torch.Tensor, draw: torch.Generator) -> None:
    """Whole numbers below 1,000, read as float32: all of them subnormal."""
    weight.copy_(torch.randint(1, 1000, weight.shape, generator=draw).int().view(torch.float32))


def _one(value: float) -> Callable[[torch.Tensor, torch.Generator], None]:
    def put(weight: torch.Tensor, draw: torch.Generator) -> None:
        place = int(torch.randint(weight.numel(), (), generator=draw))
        weight.view(-1)[place] = value

    return put


def _absurd(weight: torch.Tensor, draw: torch.Generator) -> None:
    weight.mul_(1000.0)


def _zero(weight: torch.Tensor, draw: torch.Generator) -> None:
    weight.zero_()


FAULTS: dict[str, Callable[[torch.Tensor, torch.Generator], None]] = {
    "memory of random bits": _bits,
    "memory of small integers": _small_numbers,
    "memory of zeros": _zero,
    "one NaN": _one(float("nan")),
    "one infinity": _one(float("inf")),
    "one value of 1e30": _one(1e30),
    "weights 1,000 times too large": _absurd,
}


def _measure(size: Size) -> Found:
    seeds = range(_SEEDS[size])
    model = dense((16, 32, 32, 4), nn.ReLU)
    batch = (normal_batch(64, 16), torch.arange(64) % 4)
    plan = goodinit.plan(model, "auto", example=batch[0])
    layers = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    reports: dict[tuple[str, str], list[goodinit.Report]] = {}
    sound = []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        sound.append(_checked(plan.apply_(model, seed=seed), batch))
        for fault, damage in FAULTS.items():
            for layer in layers:
                plan.apply_(model, seed=seed)
                with torch.no_grad():
                    damage(model.get_parameter(layer), draw)
                reports.setdefault((fault, layer), []).append(_checked(model, batch))
    table = {
        fault: {
            layer: sum(bool(each.findings) for each in reports[fault, layer]) / len(seeds) for layer in layers
        }
        for fault in FAULTS
    }
    shares = {
        fault: share(round(sum(row.values()) * len(seeds)), len(seeds) * len(layers))
        for fault, row in table.items()
    }
    every = [report for found in reports.values() for report in found]
    caught = share(sum(bool(report.findings) for report in every), len(every))
    alarms = share(sum(bool(report.findings) for report in sound), len(sound))
    blank = reports["memory of zeros", layers[-1]]
    mild = share(sum(report.healthy for report in blank), len(blank))
    return Found(
        answer=(
            f"goodinit.check remarks on {caught.value:.1%} of damaged networks before any training, and on "
            f"{alarms.value:.1%} of sound ones.",
            f"That is the share {said(caught)} of {len(every)} damaged networks, from one batch with its "
            f"loss, and {said(alarms)} of {len(sound)} sound ones.",
            f"Zeros in the output layer are also what careful authors put there; the share {said(mild)} of "
            "these is noted and not called a fault.",
        ),
        textbook="Right: torch.Tensor(n, m) and torch.empty hold what was in memory, which may be anything, "
        "zeros included.",
        settings={
            "model": "16–32–32–4, ReLU, recipe auto",
            "batch": "64 standard normal inputs, 4 classes, cross-entropy",
            "seeds": f"0 to {len(seeds) - 1}",
            "damage": "in one weight at a time",
        },
        facts=(
            *(fact(f"share found: {fault}", each, 1.0) for fault, each in shares.items()),
            fact("share of sound networks that are remarked on", alarms, 0.0),
            fact("share of zero output layers that are noted and not blamed", mild),
        ),
        pictures=(
            grid(
                "found",
                "Share of damaged networks that are found",
                "Each row a damage, each column where it sits.",
                table,
                x="weight",
                y="damage",
                unit="share found",
            ),
        ),
        sheets=(
            Sheet(
                "What check says",
                ("damage", "findings"),
                tuple(
                    (
                        fault,
                        ", ".join(
                            sorted(
                                {
                                    f"{found.code} {found.title}"
                                    for layer in layers
                                    for report in reports[fault, layer]
                                    for found in report.findings
                                }
                            )
                        ),
                    )
                    for fault in FAULTS
                ),
            ),
        ),
    )


def _checked(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> goodinit.Report:
    return goodinit.check(model, batch, loss=nn.functional.cross_entropy, predict=False)


EXPERIMENT = Experiment(
    "garbage",
    "Memory that nobody filled",
    "A raw Parameter(torch.Tensor(n, m)) holds whatever was in memory: numbers of 1e30, NaN, or zeros. Are "
    "weights that were never initialised, that hold NaN or infinity, or that are absurdly large found "
    "before training, and are sound networks left in peace?",
    _measure,
    ("S0.4",),
)
