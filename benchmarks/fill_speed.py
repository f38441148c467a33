"""How fast tensors are filled: goodinit against torch, as ratios of medians taken in turn in one run.

Times are CPU time of the calling thread for one thread (a busy machine then does not count) and wall time
where threads are compared. ``python benchmarks/fill_speed.py [elements]`` (1e8 by default; less where
memory is short) prints each floor with pass or FAIL and writes ``results/fill_speed.json``.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import cpu_name, save

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

    def on(threads: int) -> None:
        torch.set_num_threads(threads)
        fill_normal_(t, KEY, 0.0, 0.02)
        torch.set_num_threads(1)

    row(
        "normal float32, 2 threads / 1 (wall time)",
        elements,
        lambda: on(2),
        lambda: on(1),
        1.7,
        clock=time.perf_counter,
    )
    small = torch.zeros(1000)

    def many(call: Callable[[], Any]) -> Callable[[], None]:
        return lambda: [call() for _ in range(3000)] and None

    row(
        "normal, 1,000 elements / torch.nn.init.normal_",
        1000 * 3000,
        many(lambda: fill_normal_(small, KEY, 0.0, 0.02)),
        many(lambda: torch.nn.init.normal_(small, 0.0, 0.02)),
        1.0,
    )
    row(
        "uniform, 1,000 elements / torch.nn.init.uniform_",
        1000 * 3000,
        many(lambda: fill_uniform_(small, KEY, -1.0, 1.0)),
        many(lambda: torch.nn.init.uniform_(small, -1.0, 1.0)),
        1.0,
    )
    return out


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
