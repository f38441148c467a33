"""How fast tensors are filled: goodinit against torch, as ratios of medians taken in turn in one run.

Times are CPU time of the calling thread for one thread (a busy machine then does not count) and wall time
where threads are compared, on memory that is there already, as in every fill in place. Beside the wall
ratio of two threads stand torch's own `fill_` with two (what the machine gives just then) and twice one
thread's CPU time over that of two: what the split itself costs, whatever the neighbours do; 2 is none.
Small tensors are compared call by call: each of ours beside the torch call that it takes the place of,
quickest of many short runs in turns. ``python benchmarks/fill_speed.py [elements]`` (1e8 by default; less
where memory is short) prints each floor with pass or FAIL and writes ``results/fill_speed.json``.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import cpu_name, save

import goodinit
import goodinit.init
from goodinit.initializers import Normal, Uniform
from goodinit.rng import fill_normal_, fill_truncated_normal_, fill_uniform_, native

KEY = 7
ROUNDS = 3


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], clock: Callable[[], float]
) -> tuple[float, float]:
    """Median seconds of two calls that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    for _ in range(ROUNDS):
        for call, found in zip((ours, theirs), times, strict=True):
            began = clock()
            call()
            found.append(clock() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def rows(elements: int) -> list[dict[str, Any]]:
    """One row for each claim."""
    out: list[dict[str, Any]] = []

    def row(
        claim: str,
        size: int,
        ours: Callable[[], Any],
        theirs: Callable[[], Any],
        floor: float | None,
        per: int | None = None,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        mine, peer = paired(ours, theirs, clock)
        ratio = peer / (per or size) / (mine / size)
        out.append(
            {
                "claim": claim,
                "elements": size,
                "ours_millions_per_second": size / mine / 1e6,
                "peer_millions_per_second": (per or size) / peer / 1e6,
                "ratio": ratio,
                "floor": floor,
                "passed": None if floor is None else ratio >= floor,
            }
        )
        verdict = "" if floor is None else ("pass" if ratio >= floor else "FAIL")
        print(
            f"{claim:48} {size:>11,} {size / mine / 1e6:8.0f} M/s {(per or size) / peer / 1e6:8.1f} M/s "
            f"{ratio:7.1f}x  {'at least ' + str(floor) if floor else '':14} {verdict}",
            flush=True,
        )

    torch.set_num_threads(1)
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16"), (torch.float64, "float64")):
        against_torch(row, torch.zeros(elements, dtype=dtype), name)
    t = torch.zeros(elements)
    for low, high, floor, share in ((-2.0, 2.0, 40.0, 1), (2.0, 4.0, 200.0, 10)):
        truncated(row, t, low, high, floor, share)

    threads(out, t)
    small(out)
    return out


def keep(out: list[dict[str, Any]], claim: str, ratio: float, floor: float | None, **more: float) -> None:
    """Add and print a row whose ratio is known."""
    passed = None if floor is None else ratio >= floor
    out.append({"claim": claim, "ratio": ratio, "floor": floor, "passed": passed, **more})
    verdict = "" if floor is None else f"at least {floor}: {'pass' if passed else 'FAIL'}"
    details = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in more.items())
    print(f"{claim:56} {ratio:6.2f}x  {verdict:20} {details}", flush=True)


def threads(out: list[dict[str, Any]], t: torch.Tensor) -> None:
    """Two threads against one, in turns."""

    def ratio(call: Callable[[], Any]) -> tuple[float, float]:
        wall: dict[int, list[float]] = {1: [], 2: []}
        cpu: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(3 * ROUNDS):
            for count in (1, 2):
                torch.set_num_threads(count)
                began, clock = time.perf_counter(), time.process_time()
                call()
                wall[count].append(time.perf_counter() - began)
                cpu[count].append(time.process_time() - clock)
        torch.set_num_threads(1)
        middle = statistics.median
        return middle(wall[1]) / middle(wall[2]), 2 * middle(cpu[1]) / middle(cpu[2])

    fills: dict[str, Callable[[], Any]] = {
        "normal": lambda: fill_normal_(t, KEY, 0.0, 0.02),
        "uniform": lambda: fill_uniform_(t, KEY, -1.0, 1.0),
        "truncated [-2, 2] sigma": lambda: fill_truncated_normal_(t, KEY, 0.0, 1.0, -2.0, 2.0),
    }
    machine, _ = ratio(lambda: t.fill_(1.0))
    for name, call in fills.items():
        wall, split = ratio(call)
        keep(out, f"{name} float32, 2 threads / 1 (wall)", wall, 1.7, by_cpu_time=split, torch_fill_=machine)


def small(out: list[dict[str, Any]]) -> None:
    """Public calls on 1,000 elements, each beside the torch call that it replaces."""
    t, weight = torch.zeros(1000), torch.nn.Parameter(torch.zeros(40, 25))
    normal, uniform = Normal(0.0, 0.02), Uniform(-1.0, 1.0)
    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "goodinit.init.normal_ / torch.nn.init.normal_": (
            lambda: goodinit.init.normal_(t, 0.0, 0.02),
            lambda: torch.nn.init.normal_(t, 0.0, 0.02),
        ),
        "goodinit.init.uniform_ / torch.nn.init.uniform_": (
            lambda: goodinit.init.uniform_(t, -1.0, 1.0),
            lambda: torch.nn.init.uniform_(t, -1.0, 1.0),
        ),
        "goodinit.fill_(Normal) / torch.nn.init.normal_": (
            lambda: goodinit.fill_(t, normal, seed=0, name="layer.weight"),
            lambda: torch.nn.init.normal_(t, 0.0, 0.02),
        ),
        "goodinit.fill_(Uniform) / torch.nn.init.uniform_": (
            lambda: goodinit.fill_(t, uniform, seed=0, name="layer.weight"),
            lambda: torch.nn.init.uniform_(t, -1.0, 1.0),
        ),
        "the same of a Parameter (40, 25), goodinit.init.normal_": (
            lambda: goodinit.init.normal_(weight, 0.0, 0.02),
            lambda: torch.nn.init.normal_(weight, 0.0, 0.02),
        ),
        "rng.fill_normal_ / Tensor.normal_": (
            lambda: fill_normal_(t, KEY, 0.0, 0.02),
            lambda: t.normal_(0.0, 0.02),
        ),
    }
    for claim, pair in calls.items():
        best = [math.inf, math.inf]
        for _ in range(150):
            for place, call in enumerate(pair):
                began = time.thread_time()
                for _ in range(200):
                    call()
                best[place] = min(best[place], (time.thread_time() - began) / 200 * 1e6)
        keep(out, claim, best[1] / best[0], 1.0, our_microseconds=best[0], torch_microseconds=best[1])


def against_torch(row: Callable[..., None], t: torch.Tensor, name: str) -> None:
    """Normal and uniform of one dtype."""
    normal, uniform = {"float32": (3.5, 5.0), "bfloat16": (3.5, 3.5), "float64": (None, None)}[name]
    row(
        f"normal {name} / torch",
        t.numel(),
        lambda: fill_normal_(t, KEY, 0.0, 0.02),
        lambda: t.normal_(0, 0.02),
        normal,
    )
    row(
        f"uniform {name} / torch",
        t.numel(),
        lambda: fill_uniform_(t, KEY, -1.0, 1.0),
        lambda: t.uniform_(-1, 1),
        uniform,
    )


def truncated(
    row: Callable[..., None], t: torch.Tensor, low: float, high: float, floor: float, share: int
) -> None:
    """A truncated normal; torch, which is slow here, may fill a share of the tensor."""
    few = t[: t.numel() // share]
    row(
        f"truncated [{low:g}, {high:g}] sigma float32 / torch",
        t.numel(),
        lambda: fill_truncated_normal_(t, KEY, 0.0, 1.0, low, high),
        lambda: torch.nn.init.trunc_normal_(few, 0.0, 1.0, low, high),
        floor,
        per=few.numel(),
    )


def main(elements: int) -> int:
    """Print the table; 1 where a floor is missed."""
    print(f"{cpu_name()}, kernels {native.instruction_set()}, torch {torch.__version__}")
    figures = rows(elements)
    save("fill_speed", {"cpu": cpu_name(), "kernels": native.instruction_set(), "rows": figures})
    return int(any(row["passed"] is False for row in figures))


if __name__ == "__main__":
    sys.exit(main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000_000))
