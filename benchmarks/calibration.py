"""How often does `check` accuse a network that is initialised as it should be, or miss one that is not?

Each healthy family is built from 200 seeds and judged on its own random batch, classifiers with random
classes and cross-entropy; a false alarm is any error or warning. Each faulty family is built from 30
seeds; a miss is a seed in which the fault is real and none of its expected codes is found.

    python benchmarks/calibration.py --first-seed 1000 [--seeds 200] [--only NAME] [--processes 1]

Seeds below 1,000 served to set thresholds; figures that bound anything come from others. Every judged
network is a line of `results/calibration.<first seed>.jsonl`, so that an interrupted run goes on where
it was; at the end the lines become `results/calibration.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import torch
from _calibrated import FAULTY, HEALTHY
from _machine import RESULTS, save
from torch import Tensor, nn

import goodinit

FAULT_SEEDS = 30


# A family's group and name, and the seed.
Draw: TypeAlias = tuple[str, str, int]


def judged(draw: Draw) -> tuple[Draw, bool, list[str], float]:
    """Return whether a draw has its fault, the codes of its errors and warnings, and the seconds it took."""
    group, name, seed = draw
    family = (HEALTHY if group == "healthy" else FAULTY)[name]
    began = time.process_time()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = family.build()
    generator = torch.Generator().manual_seed(seed)
    x: Any = family.inputs(generator)
    real, loss = family.real(model, x), None
    if family.classes is not None:
        shape = x.shape if x.dtype == torch.int64 else x.shape[:1]
        x = (x, torch.randint(0, family.classes, shape, generator=generator))
        loss = _cross_entropy
    report = goodinit.check(model, x, loss=loss, seed=seed)
    codes = sorted({finding.code for finding in report.findings if finding.severity != "note"})
    return draw, real, codes, time.process_time() - began


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def upper(alarms: int, draws: int) -> float:
    """Return the 95 % upper limit of a probability of which so many draws gave an alarm."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, alarms + 1, draws - alarms)) if alarms < draws else 1.0


def main() -> None:
    """Run all families, print them and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--seeds",
        type=int,
        default=200,
        help="of a healthy family, a faulty one has 30; below 200 nothing is kept",
    )
    parser.add_argument("--only", default="", help="families whose name holds this")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    first = arguments.first_seed
    wanted: list[Draw] = [
        (group, name, seed)
        for group, families, count in (
            ("faulty", FAULTY, min(FAULT_SEEDS, arguments.seeds)),
            ("healthy", HEALTHY, arguments.seeds),
        )
        for name in families
        if arguments.only in name
        for seed in range(first, first + count)
    ]
    whole = not arguments.only and arguments.seeds >= 200
    journal = RESULTS / f"calibration.{first}.jsonl" if whole else None
    table = known(journal, wanted)
    RESULTS.mkdir(exist_ok=True)
    left = [draw for draw in wanted if draw not in table]
    with journal.open("a", encoding="utf-8") if journal else nullcontext() as file:
        for draw, real, codes, seconds in results(left, arguments.processes):
            table[draw] = (real, codes, seconds)
            if file is not None:
                file.write(json.dumps([*draw, real, codes, round(seconds, 3)]) + "\n")
                file.flush()
            if draw[2] == max(seed for group, name, seed in wanted if (group, name) == draw[:2]):
                print(line(draw[0], draw[1], row(draw[0], draw[1], table)), flush=True)
    made = {
        group: {
            name: row(group, name, table) for name in dict.fromkeys(n for g, n, _ in wanted if g == group)
        }
        for group in ("healthy", "faulty")
    }
    conclude(made, first, journal)


def known(journal: Path | None, wanted: list[Draw]) -> dict[Draw, Any]:
    """Read what an interrupted run left; a line cut short is left out."""
    table: dict[Draw, Any] = {}
    for text in journal.read_text(encoding="utf-8").splitlines() if journal and journal.is_file() else ():
        try:
            group, name, seed, real, codes, seconds = json.loads(text)
        except ValueError:
            continue
        table[group, name, seed] = (real, codes, seconds)
    return {draw: table[draw] for draw in wanted if draw in table}


def results(left: list[Draw], processes: int) -> Iterator[tuple[Draw, bool, list[str], float]]:
    """Judge the draws in order, in this process or in several."""
    if processes == 1:
        yield from map(judged, left)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(judged, left, chunksize=4)


def row(group: str, name: str, table: dict[Draw, Any]) -> dict[str, Any]:
    """Return one family's counts."""
    found = [(seed, *seen) for (g, n, seed), seen in table.items() if (g, n) == (group, name)]
    expected = FAULTY[name].codes if group == "faulty" else frozenset()
    real = [each for each in found if each[1]]
    wrong = [
        seed
        for seed, _, codes, _ in real
        if (bool(codes) if group == "healthy" else not expected & set(codes))
    ]
    counts = Counter(code for _, _, codes, _ in found for code in codes)
    return {
        "draws": len(real),
        **({"without the fault": len(found) - len(real)} if len(real) < len(found) else {}),
        "wrong": len(wrong),
        **({"wrong seeds": sorted(wrong)} if wrong else {}),
        "codes": dict(sorted(counts.items())),
        "seconds": round(sum(seconds for *_, seconds in found), 1),
    }


def line(group: str, name: str, made: dict[str, Any]) -> str:
    """Return one family as a line."""
    what = "alarms" if group == "healthy" else "misses"
    codes = made["codes"] if group == "faulty" or made["codes"] else ""
    return f"{group} {name:45} {what} {made['wrong']}/{made['draws']} {codes} ({made['seconds']:.0f} s)"


def conclude(table: dict[str, dict[str, Any]], first: int, journal: Path | None) -> None:
    """Print the totals, and keep all where it was a whole run."""
    healthy, faulty = table["healthy"].values(), table["faulty"].values()
    alarms, count = sum(each["wrong"] for each in healthy), sum(each["draws"] for each in healthy)
    totals: dict[str, Any] = {
        "first_seed": first,
        "families": len(healthy),
        "false_alarms": alarms,
        "draws": count,
        "rate": alarms / max(count, 1),
        "upper_95": upper(alarms, count),
        "missed": sum(each["wrong"] for each in faulty),
        "faults": sum(each["draws"] for each in faulty),
        "faulty_families": len(faulty),
        "seconds": round(sum(each["seconds"] for each in (*healthy, *faulty))),
    }
    if count:
        worst = max(table["healthy"].items(), key=lambda item: item[1]["wrong"] / max(item[1]["draws"], 1))
        totals |= {"worst_family": worst[0], "worst_rate": worst[1]["wrong"] / max(worst[1]["draws"], 1)}
    print(totals)
    if journal is not None:
        save("calibration", {"totals": totals, **table})
        journal.unlink()


if __name__ == "__main__":
    main()
