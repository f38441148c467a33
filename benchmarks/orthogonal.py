"""Orthogonal matrices: seconds and peak memory against ``torch.nn.init.orthogonal_``, as ratios.

Times are medians of calls that take turns: processor time on one thread, wall time on two. Memory is the
peak of resident memory of a process of its own that fills one tensor, beyond what was there before and in
multiples of the matrix (the tensor counts as 1). Errors are the largest element of WᵀW − I.

    python benchmarks/orthogonal.py [SIDE]      (4096 by default)
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import cpu_name, peak_memory, save

from goodinit.initializers import Orthogonal

ROUNDS = 3
FLOOR, MOST_MEMORY = 3.0, 2.0


def ours(tensor: torch.Tensor) -> torch.Tensor:
    """Fill by goodinit."""
    return Orthogonal().fill_(tensor, key=7)


def torchs(tensor: torch.Tensor) -> torch.Tensor:
    """Fill by torch."""
    return torch.nn.init.orthogonal_(tensor)


def error(matrix: torch.Tensor) -> float:
    """The largest element of the Gram matrix's distance from the identity."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    return float((tall.mT @ tall).sub_(torch.eye(tall.shape[1], dtype=tall.dtype)).abs().max())


def timed(tensor: torch.Tensor, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for fill, found in zip((ours, torchs), times, strict=True):
            began = clock()
            fill(tensor)
            found.append(clock() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def memory(way: str, side: int) -> float:
    """Peak memory of one fill in multiples of the matrix, from a process of its own."""
    command = [sys.executable, __file__, "--memory", way, str(side)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def one_memory(way: str, side: int) -> float:
    """Fill one tensor in this process."""
    torch.set_num_threads(1)
    fill = {"ours": ours, "torch": torchs}[way]
    fill(torch.empty(256, 256))  # what the libraries keep for themselves
    before = peak_memory()
    fill(torch.empty(side, side))
    multiple = (peak_memory() - before) / (4 * side * side)
    assert multiple > 0.99, f"a fill cannot take less than the matrix itself; measured {multiple:.2f}"
    return multiple


def main(side: int) -> int:
    """Print the table and keep it; 1 where a floor is missed."""
    print(f"{cpu_name()}, torch {torch.__version__}, medians of {ROUNDS}")
    rows: list[dict[str, Any]] = []
    for shape in ((side, side), (side, side // 4), (side // 4, side), (side // 4, side // 4)):
        for dtype in (torch.float32, torch.float64):
            if dtype == torch.float64 and shape != (side // 4, side // 4):
                continue
            for threads, clock in ((1, time.thread_time), (2, time.perf_counter)):
                torch.set_num_threads(threads)
                tensor = torch.zeros(shape, dtype=dtype)
                mine, peer = timed(tensor, clock)
                mistakes = error(ours(tensor)), error(torchs(tensor))
                floor = FLOOR if shape == (side, side) and threads == 1 else None
                rows.append(
                    {
                        "shape": shape,
                        "dtype": str(dtype).removeprefix("torch."),
                        "threads": threads,
                        "clock": clock.__name__,
                        "ours_seconds": mine,
                        "torch_seconds": peer,
                        "ratio": peer / mine,
                        "ours_error": mistakes[0],
                        "torch_error": mistakes[1],
                        "floor": floor,
                        "passed": None if floor is None else peer / mine >= floor,
                    }
                )
                verdict = "pass" if peer / mine >= FLOOR else "FAIL"
                print(
                    f"  {shape!s:14} {rows[-1]['dtype']} {threads} thread{'s' * (threads > 1)} "
                    f"{mine:8.3f} s, torch {peer:8.3f} s: {peer / mine:4.1f}x  error {mistakes[0]:.1e}, "
                    f"torch {mistakes[1]:.1e}  {f'at least {floor}: {verdict}' if floor else ''}",
                    flush=True,
                )
    multiples = {way: memory(way, side) for way in ("ours", "torch")}
    enough = multiples["ours"] <= MOST_MEMORY
    print(
        f"  peak memory at {side} x {side} float32: {multiples['ours']:.2f} of the matrix, torch "
        f"{multiples['torch']:.2f}; at most {MOST_MEMORY}: {'pass' if enough else 'FAIL'}"
    )
    save("orthogonal", {"rows": rows, "peak_memory_in_matrices": multiples, "most": MOST_MEMORY})
    return int(any(row["passed"] is False for row in rows) or not enough)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(one_memory(sys.argv[2], int(sys.argv[3]))))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096))
