"""Every kernel against the NumPy reference, bit for bit, on random cases.

A case is a law with parameters, a key, a stream, a dtype and a box of a global tensor in some memory
layout; the boxes crowd around the places where something changes: the ends of Philox blocks and of the
kernels' groups, the carry into the block number's high word, the end of the address space. What lies
between the elements of a strided tensor must stay as it was. Cases come in groups of 64 that share
law, parameters, key, stream and dtype, so that the reference draws all their blocks in one call.

``python benchmarks/kernel_agreement.py [cases] [seconds] [--triton] [--processes N]`` goes on where the last
run ended, for as many seconds (600 by default), until so many cases (a million) are done; figures so far are
in ``results/kernel_agreement.json``, written every half minute, so that a run that is cut off loses no more
than that. Kernels that were built anew begin anew. With ``--triton`` the cases go through the GPU's kernel
in Triton's interpreter (about 10 ms each) and to ``results/kernel_agreement_triton.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _machine import RESULTS, save

from goodinit.rng import (
    ALGORITHM,
    Region,
    fill_normal_,
    fill_truncated_normal_,
    fill_uniform_,
    gpu,
    native,
    writing,
)
from goodinit.rng.elementary import DOUBLE, SINGLE
from goodinit.rng.laws import normal_blocks, uniform_blocks
from goodinit.rng.truncated import truncated_blocks

GROUP = 64
KEEP_EVERY = 30.0  # seconds
TRITON = "triton interpreter"

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

    def tensor(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fresh memory, and the tensor in it."""
        memory = torch.zeros(self.memory, dtype=self.dtype)
        return memory, memory.permute(self.order)[..., :: self.step] if self.order else memory

    def run(self) -> torch.Tensor:
        """Fill, and return the bytes of the whole memory."""
        memory, tensor = self.tensor()
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


def random_group(source: random.Random) -> list[Case]:
    """Draw cases that differ in their boxes and layouts alone."""
    first = random_case(source)
    others = (random_case(source) for _ in range(GROUP - 1))
    return [
        first,
        *(replace(first, region=c.region, memory=c.memory, order=c.order, step=c.step) for c in others),
    ]


def references(group: list[Case]) -> list[torch.Tensor]:
    """The bytes that each case of a group must leave, from the specification of single elements."""
    one = group[0]
    precision = DOUBLE if one.dtype == torch.float64 else SINGLE
    indices = [case.region.indices() for case in group]
    joined = np.concatenate(indices)
    blocks, place = np.unique(joined >> np.uint64(2), return_inverse=True)
    if one.law == "uniform":
        low, high = one.parameters
        drawn = uniform_blocks(one.key, blocks, one.stream, precision, low, high - low, high)
    elif one.law == "normal":
        drawn = normal_blocks(one.key, blocks, one.stream, precision, *one.parameters)
    else:
        drawn = truncated_blocks(one.key, blocks, one.stream, precision, *one.parameters)
    with np.errstate(over="ignore"):
        flat = torch.from_numpy(drawn[(joined & np.uint64(3)).astype(np.intp), place]).to(one.dtype)
    out = []
    for case, values in zip(group, flat.split([len(i) for i in indices]), strict=True):
        memory, tensor = case.tensor()
        tensor.copy_(values.view(case.region.size))
        out.append(memory.reshape(-1).view(torch.uint8))
    return out


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


@contextmanager
def only(kernel: str) -> Iterator[None]:
    """Send fills to one kernel, and nowhere else."""
    interpreted = kernel == TRITON
    with (
        _interpreting() if interpreted else nullcontext(),
        mock.patch.object(native, "instruction_set", return_value=None if interpreted else kernel),
        mock.patch.object(gpu, "can_write", return_value=interpreted),
        mock.patch.object(writing, "_box_values", side_effect=AssertionError("the reference ran")),
    ):
        yield


@contextmanager
def _interpreting() -> Iterator[None]:
    """Put the interpreter in the place of Triton once instead of in every call: a quarter less time."""
    from triton.runtime import interpreter

    from goodinit.rng.gpu_kernel import fill_box

    scope = interpreter._patch_lang(fill_box.fn)
    try:
        with mock.patch.object(interpreter, "_patch_lang"):
            yield
    finally:
        scope.restore()


def about_kernels(triton: bool) -> dict[str, Any]:
    """What is compared: the kernels' names, and a digest of what they are made of."""
    if triton:
        import triton as interpreter

        os.environ["TRITON_INTERPRET"] = "1"  # read where a kernel is imported
        from goodinit.rng import gpu_arithmetic, gpu_kernel

        modules, names = (gpu_arithmetic, gpu_kernel, gpu), [TRITON]
        made_of = b"".join(Path(module.__file__ or "").read_bytes() for module in modules)
        made_of += interpreter.__version__.encode()
    else:
        from goodinit import _kernels

        names, made_of = _kernels.instruction_sets(), Path(_kernels.__file__).read_bytes()
    digest = hashlib.blake2b(made_of, digest_size=8).hexdigest()
    return {"algorithm": ALGORITHM, "instruction_sets": names, "kernels": digest}


@dataclass(frozen=True)
class Compared:
    """What one group of cases gave."""

    law: str  # and dtype, which all its cases share
    elements: int
    wrong: dict[str, list[Case]]  # by kernel
    cpu_seconds: float


def compare_group(seed: int, names: Sequence[str]) -> Compared:
    """Run the group of a seed on each kernel and on the reference."""
    clock = time.process_time()
    group = random_group(random.Random(seed))
    expected, wrong = references(group), {}
    for name in names:
        with only(name):
            wrong[name] = [c for c, e in zip(group, expected, strict=True) if not torch.equal(c.run(), e)]
    law = f"{group[0].law} {str(group[0].dtype).removeprefix('torch.')}"
    elements = sum(case.region.numel for case in group)
    return Compared(law, elements, wrong, time.process_time() - clock)


@contextmanager
def workers(processes: int, triton: bool) -> Iterator[Callable[..., Iterator[Compared]]]:
    """An ordered `map`: in this process, or in several."""
    if processes == 1:
        yield map
        return
    with get_context("spawn").Pool(processes, initializer=_begin, initargs=(triton,)) as pool:
        yield pool.imap


def _begin(triton: bool) -> None:
    torch.set_num_threads(1)
    about_kernels(triton)


def main(
    cases: int,
    seconds: float,
    keep: Callable[[dict[str, Any]], Any],
    kept: Path,
    triton: bool = False,
    processes: int = 1,
) -> dict[str, Any]:
    """Run groups until so many cases or seconds are done; each group has a seed of its own."""
    about = about_kernels(triton)
    names = about["instruction_sets"]
    done: dict[str, Any] = {"cases": 0, "elements": 0, "cpu_seconds": 0.0, "differ": {}, "by_law": {}}
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))["figures"]
        if {key: before.get(key) for key in about} == about:
            done |= before
    done |= about
    differ, laws = Counter[str](done["differ"]), Counter[str](done["by_law"])
    began = last = time.monotonic()

    def figures() -> dict[str, Any]:
        found = {"differ": {name: differ[name] for name in names}, "by_law": dict(sorted(laws.items()))}
        return done | found | {"cpu_seconds": round(done["cpu_seconds"], 1)}

    with workers(processes, triton) as each:
        for compared in each(partial(compare_group, names=names), range(done["cases"], cases, GROUP)):
            done["cases"] += GROUP
            done["elements"] += compared.elements
            done["cpu_seconds"] += compared.cpu_seconds
            laws[compared.law] += GROUP
            for name, wrong in compared.wrong.items():
                differ[name] += len(wrong)
                for case in wrong:
                    print(f"{name}: {case}")
            if time.monotonic() - began > seconds:
                break
            if time.monotonic() - last > KEEP_EVERY:
                last = time.monotonic()
                keep(figures())
    return figures()


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="?", type=float, default=1e6)
    parser.add_argument("seconds", nargs="?", type=float, default=600.0)
    parser.add_argument("--triton", action="store_true", help="the GPU's kernel in Triton's interpreter")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    result = "kernel_agreement_triton" if given.triton else "kernel_agreement"
    outcome = main(
        int(given.cases),
        given.seconds,
        lambda figures: save(result, figures),
        RESULTS / f"{result}.json",
        given.triton,
        given.processes,
    )
    print(json.dumps(outcome, indent=1))
    if outcome["cases"] < given.cases:
        print(f"{outcome['cases']:,} of {int(given.cases):,} cases so far: run it again to go on")
    save(result, outcome)
    sys.exit(any(outcome["differ"].values()))
