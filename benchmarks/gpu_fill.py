"""How fast a GPU's tensors are filled, as shares of what its memory takes.

Bytes written in a second, by CUDA events and as medians of rounds that take turns, stand beside the card's
own figure (twice the memory clock times the width of the bus) and beside ``zero_``, which only writes. The
peer is torch's filler. Each fill's bits are compared with the CPU's before it is timed.

``python benchmarks/gpu_fill.py [elements]`` (2.5e8 by default) writes ``results/gpu_fill.json``; without a
GPU it says so and measures nothing.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from _machine import save

from goodinit.rng import Region, fill_normal_, fill_truncated_normal_, fill_uniform_

KEY = 7
ROUNDS = 9
FLOOR = 0.7  # of the card's memory bandwidth, for normal float32
COMPARED = 100_000
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
Fill = Callable[..., Any]
FILLS: dict[str, tuple[Fill, Fill]] = {
    "normal": (
        lambda t, **where: fill_normal_(t, KEY, 0.0, 0.02, **where),
        lambda t: torch.nn.init.normal_(t, 0.0, 0.02),
    ),
    "uniform": (
        lambda t, **where: fill_uniform_(t, KEY, -1.0, 1.0, **where),
        lambda t: torch.nn.init.uniform_(t, -1.0, 1.0),
    ),
    "truncated [-2, 2] sigma": (
        lambda t, **where: fill_truncated_normal_(t, KEY, 0.0, 1.0, -2.0, 2.0, **where),
        lambda t: torch.nn.init.trunc_normal_(t),
    ),
    "truncated [2, 4] sigma": (
        lambda t, **where: fill_truncated_normal_(t, KEY, 0.0, 1.0, 2.0, 4.0, **where),
        lambda t: torch.nn.init.trunc_normal_(t, 0.0, 1.0, 2.0, 4.0),
    ),
}


def on_the_device(call: Callable[[], Any]) -> float:
    """Seconds that the device takes for a call."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def paired(calls: list[Callable[[], Any]], seconds: Callable[[Callable[[], Any]], float]) -> list[float]:
    """Median seconds of calls that take turns, after one round that counts nothing."""
    times: list[list[float]] = [[seconds(call) for call in calls] for _ in range(ROUNDS + 1)]
    return [statistics.median(column) for column in zip(*times[1:], strict=True)]


def card_bandwidth() -> float:
    """Bytes a second that the card's memory can take: two transfers a clock over the width of its bus."""
    card = torch.cuda.get_device_properties(torch.cuda.current_device())
    return 2e3 * card.memory_clock_rate * card.memory_bus_width / 8


def same_bits(fill: Fill, dtype: torch.dtype, device: str) -> bool:
    """Whether the last elements of a large tensor are the CPU's."""
    region = Region((2**40,), (2**40 - COMPARED,), (COMPARED,))
    here, there = (fill(torch.empty(COMPARED, dtype=dtype, device=d), region=region) for d in ("cpu", device))
    return torch.equal(here.view(torch.uint8), there.cpu().view(torch.uint8))


def rows(
    elements: int, device: str, bandwidth: float, seconds: Callable[[Callable[[], Any]], float]
) -> list[dict[str, Any]]:
    """One row for each law and dtype."""
    out = []
    for name, dtype in DTYPES.items():
        t = torch.empty(elements, dtype=dtype, device=device)
        size = t.numel() * t.element_size()
        for law, (ours, theirs) in FILLS.items():
            equal = same_bits(ours, dtype, device)
            mine, peer, zero = paired(
                [lambda: ours(t), lambda: theirs(t), lambda: t.zero_()],  # noqa: B023
                seconds,
            )
            share = size / mine / bandwidth
            floor = FLOOR if (law, name) == ("normal", "float32") else None
            row = {
                "law": law,
                "dtype": name,
                "elements": elements,
                "same_bits_as_the_cpu": equal,
                "gigabytes_per_second": size / mine / 1e9,
                "share_of_the_card": share,
                "share_of_zero": zero / mine,
                "ratio_to_torch": peer / mine,
                "floor": floor,
                "passed": equal and (floor is None or share >= floor),
            }
            out.append(row)
            shares = f"{share:5.0%} of the card {zero / mine:5.0%} of zero_ {peer / mine:8.1f}x torch"
            verdict = "pass" if row["passed"] else "FAIL"
            print(f"{law:24} {name:9} {size / mine / 1e9:7.0f} GB/s {shares}  {verdict}", flush=True)
    return out


def main(elements: int) -> int:
    """Print the table; 1 where a bit differs or the floor is missed."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return 0
    name, bandwidth = torch.cuda.get_device_name(), card_bandwidth()
    print(f"{name}, memory {bandwidth / 1e9:.0f} GB/s, torch {torch.__version__}")
    figures = rows(elements, "cuda", bandwidth, on_the_device)
    save("gpu_fill", {"gpu": name, "memory_gigabytes_per_second": bandwidth / 1e9, "rows": figures})
    return int(not all(row["passed"] for row in figures))


if __name__ == "__main__":
    sys.exit(main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 250_000_000))
