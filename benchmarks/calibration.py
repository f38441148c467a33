"""How often does `check` accuse a network that is initialised as it should be, or miss one that is not?

Each healthy family is built from 200 seeds (slow ones from fewer, see `draws`) and judged on its own
random batch, classifiers with random classes and cross-entropy; a false alarm is any error or warning.
Each faulty family is built from 30 seeds; a miss is a seed in which none of its expected codes is found.

    python benchmarks/calibration.py [--most 200] [--only NAME] [--part 0/1]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _families import (
    Every,
    Experts,
    Language,
    Last,
    Patches,
    Unet,
    chain,
    convnet,
    filled,
    gain,
    kaiming,
    orthogonal,
    resnet,
    xavier,
)
from _machine import RESULTS, save
from torch import Tensor, nn

import goodinit

BATCH = 16
FAULT_SEEDS = 30
ACTIVATIONS = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU
ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"""


@dataclass(frozen=True)
class Family:
    """How to build a network, what it takes, and how its output is judged."""

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Tensor]
    classes: int | None = 10
    codes: frozenset[str] = frozenset()


def draws(name: str) -> int:
    """How many seeds a family gets: 200, and fewer where a draw takes long."""
    words = name.replace(",", "").split()
    depth = int(words[words.index("depth") + 1]) if "depth" in words else 0
    if depth >= 100:
        return 10
    if depth >= 30 or "1024" in words:
        return 40
    if words[0] == "auto":
        return 50
    if words[0] in ("residual", "batch") or depth == 15:
        return 50
    return 100 if "Transformer" in words or words[0] == "convolutions" else 200


def rows(generator: torch.Generator) -> Tensor:
    """Vectors."""
    return torch.randn(BATCH, 64, generator=generator)


def pictures(generator: torch.Generator) -> Tensor:
    """Pictures that differ in their mean, as natural ones do."""
    return torch.randn(BATCH, 1, 1, 1, generator=generator) + torch.randn(BATCH, 1, 8, 8, generator=generator)


def ids(generator: torch.Generator) -> Tensor:
    """Characters."""
    return torch.randint(0, 64, (4, 24), generator=generator)


def sequences(length: int) -> Callable[[torch.Generator], Tensor]:
    """Sequences of two numbers."""
    return lambda generator: torch.randn(BATCH, length, 2, generator=generator)


def auto(model: nn.Module) -> nn.Module:
    """Fill by the default recipe, under a seed of this draw's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        goodinit.initialize(model, seed=int(torch.randint(0, 2**31, ())))
    return model


def _mlp(
    depth: int, width: int, act: type[nn.Module], fill: Callable[[Tensor], object] | None, *codes: str
) -> Family:
    def build() -> nn.Module:
        model = chain(depth, width, act)
        return model if fill is None else filled(model, fill)

    return Family(build, rows, codes=frozenset(codes))


def _core(kind: type[nn.RNNBase], inputs: int = 2, hidden: int = 24) -> nn.Module:
    return kind(inputs, hidden, batch_first=True)


HEALTHY: dict[str, Family] = {
    **{
        f"He, ReLU, depth {depth}, width {width}": _mlp(depth, width, nn.ReLU, kaiming)
        for depth, width in ((2, 16), (5, 32), (10, 64), (20, 128), (30, 64), (50, 96), (3, 1024))
    },
    "He, leaky ReLU, depth 20, width 64": _mlp(20, 64, nn.LeakyReLU, kaiming),
    "orthogonal, ReLU, depth 30, width 64": _mlp(30, 64, nn.ReLU, orthogonal(2**0.5)),
    "orthogonal, tanh, depth 30, width 64": _mlp(30, 64, nn.Tanh, orthogonal(1.0)),
    "Xavier, tanh, depth 5, width 32": _mlp(5, 32, nn.Tanh, xavier()),
    "Xavier, tanh, depth 30, width 64": _mlp(30, 64, nn.Tanh, xavier()),
    "Xavier, softsign, depth 10, width 64": _mlp(10, 64, nn.Softsign, xavier()),
    "Xavier, sigmoid, depth 2, width 64": _mlp(2, 64, nn.Sigmoid, xavier()),
    "LeCun, SELU, depth 20, width 64": _mlp(20, 64, nn.SELU, gain(1.0)),
    "LeCun, SELU, depth 50, width 64": _mlp(50, 64, nn.SELU, gain(1.0)),
    "LeCun, ELU, depth 10, width 64": _mlp(10, 64, nn.ELU, gain(1.0)),
    "He, GELU, depth 6, width 64": _mlp(6, 64, nn.GELU, kaiming),
    "He, SiLU, depth 6, width 64": _mlp(6, 64, nn.SiLU, kaiming),
    "torch's default, ReLU, depth 2, width 64": _mlp(2, 64, nn.ReLU, None),
    "torch's default, ReLU, depth 4, width 64": _mlp(4, 64, nn.ReLU, None),
    **{
        f"auto, {name}, depth 8, width 48": Family(
            lambda name=name: auto(chain(8, 48, getattr(nn, name))),  # type: ignore[misc]
            rows,
        )
        for name in ACTIVATIONS.split()
    },
    "auto, ReLU, depth 100, width 64": Family(lambda: auto(chain(100, 64, nn.ReLU)), rows),
    "auto, tanh, depth 100, width 64": Family(lambda: auto(chain(100, 64, nn.Tanh)), rows),
    "tiny, 4 → 2": Family(lambda: nn.Linear(64, 2), rows, 2),
    "tiny, one unit": Family(lambda: chain(1, 1, nn.Tanh, (64, 2)), rows, 2),
    "tiny, three units": Family(lambda: filled(chain(2, 3, nn.Tanh), xavier()), rows),
    "autoencoder, auto": Family(
        lambda: auto(
            nn.Sequential(
                nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4), nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 64)
            )
        ),
        rows,
        None,
    ),
    "mixture of experts, default": Family(Experts, rows),
    "mixture of experts, auto": Family(lambda: auto(Experts()), rows),
    "convolutions, He, depth 5": Family(lambda: filled(convnet(5), kaiming), pictures),
    "convolutions, He, depth 15": Family(lambda: filled(convnet(15), kaiming), pictures),
    "convolutions, default, depth 3": Family(lambda: convnet(3), pictures),
    "batch norm, plain, depth 6": Family(lambda: convnet(6, norm=True), pictures),
    "residual, batch norm": Family(lambda: resnet(6), pictures),
    "residual, batch norm, He": Family(lambda: filled(resnet(6), kaiming), pictures),
    "residual, no norm, auto": Family(lambda: auto(resnet(8, norm=False)), pictures),
    "U-Net, He": Family(lambda: filled(Unet(), kaiming), pictures, None),
    "U-Net, default": Family(Unet, pictures, None),
    "vision Transformer, default": Family(Patches, pictures),
    "vision Transformer, auto": Family(lambda: auto(Patches()), pictures),
    "pre-norm Transformer, default": Family(lambda: Language(3), ids, 64),
    "pre-norm Transformer, auto": Family(lambda: auto(Language(3)), ids, 64),
    "pre-norm Transformer, auto, tied": Family(lambda: auto(Language(3, tied=True)), ids, 64),
    "post-norm Transformer, default": Family(lambda: Language(3, style="post"), ids, 64),
    "post-norm Transformer, auto": Family(lambda: auto(Language(3, style="post")), ids, 64),
    "LSTM, default, 16 steps": Family(lambda: Last(_core(nn.LSTM), 24, 10), sequences(16)),
    "LSTM, auto, 32 steps": Family(lambda: auto(Last(_core(nn.LSTM), 24, 10)), sequences(32)),
    "GRU, default, 16 steps": Family(lambda: Last(_core(nn.GRU), 24, 10), sequences(16)),
    "RNN, default, 12 steps": Family(lambda: Last(_core(nn.RNN), 24, 10), sequences(12)),
    "RNN, auto, 32 steps": Family(lambda: auto(Last(_core(nn.RNN), 24, 10)), sequences(32)),
    "LSTM on characters, default": Family(lambda: Every(_core(nn.LSTM, 16), 24, 64, 16), ids, 64),
}

FAULTY: dict[str, Family] = {
    "torch's default, ReLU, depth 10, width 64": _mlp(10, 64, nn.ReLU, None, "GI104", "GI108"),
    "torch's default, ReLU, depth 30, width 128": _mlp(30, 128, nn.ReLU, None, "GI119"),
    "torch's default, tanh, depth 20, width 64": _mlp(20, 64, nn.Tanh, None, "GI104"),
    "tanh, gain 5/3, depth 20, width 64": _mlp(20, 64, nn.Tanh, gain(5 / 3), "GI105"),
    "tanh, gain 5/3, depth 20, width 128": _mlp(20, 128, nn.Tanh, gain(5 / 3), "GI105"),
    "tanh, gain 5/3, depth 30, width 128": _mlp(30, 128, nn.Tanh, gain(5 / 3), "GI111"),
    "tanh, gain 3, depth 10, width 64": _mlp(10, 64, nn.Tanh, gain(3.0), "GI105"),
    "ReLU, 1.5 × He, depth 10, width 64": _mlp(10, 64, nn.ReLU, gain(1.5 * 2**0.5), "GI103"),
    "ReLU, He / √2, depth 20, width 128": _mlp(20, 128, nn.ReLU, gain(1.0), "GI102"),
    "ReLU, std 0.01, depth 4, width 64": _mlp(4, 64, nn.ReLU, lambda w: nn.init.normal_(w, 0, 0.01), "GI102"),
    "GELU, LeCun, depth 20, width 64": _mlp(20, 64, nn.GELU, gain(1.0), "GI102"),
    "GELU, He, depth 50, width 128": _mlp(50, 128, nn.GELU, gain(2**0.5), "GI102", "GI104"),
    "sigmoid, Xavier, depth 10, width 64": _mlp(10, 64, nn.Sigmoid, xavier(), "GI104"),
    "batch norm, plain, depth 40": Family(
        lambda: convnet(40, 8, norm=True), pictures, codes=frozenset({"GI124"})
    ),
    "residual, no norm, He, 16 blocks": Family(
        lambda: filled(resnet(16, norm=False), kaiming), pictures, codes=frozenset({"GI114"})
    ),
    "attention alone, depth 6": Family(lambda: Language(6, style="bare"), ids, 64, frozenset({"GI112"})),
    "tied embedding, N(0, 1)": Family(lambda: Language(2, 64, tied=True), ids, 64, frozenset({"GI122"})),
    "RNN, default, 100 steps": Family(
        lambda: Last(_core(nn.RNN), 24, 10), sequences(100), codes=frozenset({"GI127"})
    ),
    "LSTM, default, 100 steps": Family(
        lambda: Last(_core(nn.LSTM), 24, 10), sequences(100), codes=frozenset({"GI120"})
    ),
}


def judged(family: Family, seed: int) -> frozenset[str]:
    """Return the codes of the errors and warnings of one draw."""
    torch.manual_seed(seed)
    model = family.build()
    generator = torch.Generator().manual_seed(seed)
    x: Any = family.inputs(generator)
    loss = None
    if family.classes is not None:
        shape = x.shape if x.dtype == torch.int64 else x.shape[:1]
        x = (x, torch.randint(0, family.classes, shape, generator=generator))
        loss = _cross_entropy
    report = goodinit.check(model, x, loss=loss, seed=seed)
    return frozenset(finding.code for finding in report.findings if finding.severity != "note")


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def upper(alarms: int, draws: int) -> float:
    """Return the 95 % upper limit of a probability of which so many draws gave an alarm."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, alarms + 1, draws - alarms)) if alarms < draws else 1.0


def main() -> None:
    """Run all families, print them and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=200, help="seeds of one family")
    parser.add_argument("--only", default="")
    parser.add_argument("--part", default="0/1", help="every n-th family from the k-th on, as k/n")
    parser.add_argument("--join", type=int, help="join the parts of so many runs into the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.join:
        join(arguments.join)
        return
    part, parts = map(int, arguments.part.split("/"))
    target = RESULTS / f"calibration.{part}of{parts}.json"
    table: dict[str, dict[str, Any]] = {"healthy": {}, "faulty": {}}
    if target.is_file():
        # An interrupted run goes on where it was.
        table = json.loads(target.read_text(encoding="utf-8"))
    for group, families in (("faulty", FAULTY), ("healthy", HEALTHY)):
        for name, family in list(families.items())[part::parts]:
            if arguments.only not in name or name in table[group]:
                continue
            began = time.perf_counter()
            count = min(draws(name) if group == "healthy" else FAULT_SEEDS, arguments.most)
            found = [judged(family, seed) for seed in range(count)]
            wrong = (
                sum(bool(codes) for codes in found)
                if group == "healthy"
                else sum(not codes & family.codes for codes in found)
            )
            counts = Counter(code for codes in found for code in codes)
            table[group][name] = {"draws": count, "wrong": wrong, "codes": dict(sorted(counts.items()))}
            shown = dict(counts) if group == "faulty" or counts else ""
            what = "alarms" if group == "healthy" else "misses"
            seconds = time.perf_counter() - began
            print(f"{group} {name:45} {what} {wrong}/{count} {shown} ({seconds:.0f} s)", flush=True)
            if not arguments.only and arguments.most >= 200:
                RESULTS.mkdir(exist_ok=True)
                target.write_text(json.dumps(table), encoding="utf-8")
    if arguments.only or arguments.most < 200:
        return
    if parts == 1:
        join(1)


def join(parts: int) -> None:
    """Put the results of several processes together."""
    table: dict[str, dict[str, Any]] = {"healthy": {}, "faulty": {}}
    for part in range(parts):
        source = RESULTS / f"calibration.{part}of{parts}.json"
        for group, rows_ in json.loads(source.read_text(encoding="utf-8")).items():
            table[group].update(rows_)
        source.unlink()
    ordered = {
        "healthy": {name: table["healthy"][name] for name in HEALTHY if name in table["healthy"]},
        "faulty": {name: table["faulty"][name] for name in FAULTY if name in table["faulty"]},
    }
    conclude(ordered)


def conclude(table: dict[str, dict[str, Any]]) -> None:
    """Print and keep the totals."""
    alarms = sum(row["wrong"] for row in table["healthy"].values())
    count = sum(row["draws"] for row in table["healthy"].values())
    missed = sum(row["wrong"] for row in table["faulty"].values())
    faults = sum(row["draws"] for row in table["faulty"].values())
    worst = max(table["healthy"].items(), key=lambda item: item[1]["wrong"] / item[1]["draws"])
    totals = {
        "false_alarms": alarms,
        "draws": count,
        "rate": alarms / count,
        "upper_95": upper(alarms, count),
        "worst_family": worst[0],
        "worst_rate": worst[1]["wrong"] / worst[1]["draws"],
        "missed": missed,
        "faults": faults,
    }
    print(totals)
    save("calibration", {"totals": totals, **table})


if __name__ == "__main__":
    main()
