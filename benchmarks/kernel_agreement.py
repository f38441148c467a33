"""Every kernel against the NumPy reference, bit for bit, on random cases.

A case is a law with parameters, a key, a stream, a dtype and a box of a global tensor in some memory
layout; the boxes crowd around the places where something changes: the ends of Philox blocks and of the
kernels' groups, the carry into the block number's high word, the end of the address space. What lies
between the elements of a strided tensor must stay as it was.

``python benchmarks/kernel_agreement.py [cases]`` (a million by default) writes
``results/kernel_agreement.json``.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from _machine import save

from goodinit.rng import Region, fill_normal_, fill_truncated_normal_, fill_uniform_, native

FILLS = {"uniform": fill_uniform_, "normal": fill_normal_, "truncated_normal": fill_truncated_normal_}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Constants of a truncation take a millisecond to work out and are kept for 256 of them.
INTERVALS = (
    (-2.0, 2.0),
    (-1.0, 3.0),
    (2.0, 4.0),
    (-4.0, -2.0),
    (-math.inf, 0.5),
    (30.0, math.inf),
    (-math.inf, math.inf),
    (-5.0, 1e-3),
    (-1e-6, 1e-6),
    (0.0, 1.0),
)


@dataclass(frozen=True)
class Case:
    """One fill: what is drawn, and which elements of which memory it goes to."""

    law: str
    parameters: tuple[float, ...]
    key: int
    stream: int
    dtype: torch.dtype
    region: Region
    memory: tuple[int, ...]  # the shape of the memory, permuted by `order`, then sliced
    order: tuple[int, ...]
    step: int

    def run(self) -> torch.Tensor:
        """Fill, and return the bytes of the whole memory."""
        memory = torch.zeros(self.memory, dtype=self.dtype)
        tensor = memory.permute(self.order)[..., :: self.step] if self.order else memory
        FILLS[self.law](tensor, self.key, *self.parameters, region=self.region, stream=self.stream)
        return memory.reshape(-1).view(torch.uint8)


def random_case(source: random.Random) -> Case:
    """Draw a case."""
    law = source.choice(tuple(FILLS))
    key, stream = source.getrandbits(64), source.choice((0, 0, 1, 2**32 - 1, source.getrandbits(32)))
    dtype, step = source.choice(DTYPES), source.choice((1, 1, 1, 2, 3))
    if source.random() < 0.6:
        count = source.choice((0, 1, source.randrange(12), source.randrange(70), source.randrange(600)))
        anchor = source.choice(
            (0, 2**34, 2**64 - count, 4 * source.getrandbits(62), 2**34 * source.getrandbits(30))
        )
        start = min(max(anchor + source.randrange(-300, 300), 0), 2**64 - count)
        region, order = Region((2**64,), (start,), (count,)), (0,)
    else:
        shape = tuple(source.randrange(1, 14) for _ in range(source.randrange(1, 5)))
        first = tuple(source.randrange(extent) for extent in shape)
        size = tuple(source.randrange(extent - low + 1) for extent, low in zip(shape, first, strict=True))
        region = Region(shape, first, size)
        order = tuple(source.sample(range(len(shape)), len(shape)))
    memory = [0] * len(order)
    for dim, place in enumerate(order):
        memory[place] = region.size[dim] * (step if dim == len(order) - 1 else 1)
    return Case(law, _parameters(law, source), key, stream, dtype, region, tuple(memory), order, step)


def _parameters(law: str, source: random.Random) -> tuple[float, ...]:
    if law == "normal":
        return source.choice(
            ((0.0, 1.0), (0.1, 0.02), (source.uniform(-3, 3), source.uniform(0, 3)), (0.0, 1e30))
        )
    if law == "uniform":
        low = source.uniform(-2, 2)
        return source.choice(((0.0, 1.0), (-1.0, 1.0), (low, low + source.random()), (-1e38, 1e38)))
    mean, std = source.choice(((0.0, 1.0), (0.0, 0.02), (0.5, 2.0)))
    low, high = source.choice(INTERVALS)
    return mean, std, mean + std * low, mean + std * high


def values(case: Case, name: str | None) -> torch.Tensor:
    """Run a case on a kernel, or on the reference (None)."""
    with mock.patch.object(native, "instruction_set", return_value=name):
        return case.run()


def main(cases: int) -> dict[str, Any]:
    """Run the cases; the exit status is 1 where a bit differs."""
    from goodinit import _kernels

    names = _kernels.instruction_sets()
    source, wrong, laws = random.Random(6), Counter[str](), Counter[str]()
    elements, began = 0, time.process_time()
    for _ in range(cases):
        case = random_case(source)
        laws[f"{case.law} {str(case.dtype).removeprefix('torch.')}"] += 1
        elements += case.region.numel
        expected = values(case, None)
        for name in names:
            if not torch.equal(values(case, name), expected):
                wrong[name] += 1
                print(f"{name}: {case}")
    return {
        "cases": cases,
        "elements": elements,
        "instruction_sets": names,
        "cases_that_differ": {name: wrong[name] for name in names},
        "cases_by_law": dict(sorted(laws.items())),
        "cpu_seconds": round(time.process_time() - began),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    print(json.dumps(outcome, indent=1))
    save("kernel_agreement", outcome)
    sys.exit(any(outcome["cases_that_differ"].values()))
