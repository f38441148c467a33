"""Write what kernels are asked and what NumPy answers: ``python tools/neon_cases.py FILE [CASES]``.

`tools/neon_check.cpp` replays the file on another processor, with no Python there. It holds the known
answers of ``tests/vectors`` and random cases of ``benchmarks/kernel_agreement.py``: every call of the
bindings with its arguments, and the bytes that the memory must hold afterwards.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from kernel_agreement import FILLS, Case, random_group, references  # noqa: E402

from goodinit.rng import Region, native  # noqa: E402

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}
# The arguments of goodinit._kernels.fill_box.
BOX = ("data", "type", "size", "stride", "global_stride", "start", "first", "last")
DRAW = ("law", "numbers", "left_count", "left", "right", "key", "stream", "instruction_set", "threads")
SCALARS = ("start", "first", "last", "key", "stream", "law", "left_count")


def recorded(case: Case) -> list[dict[str, Any]]:
    """The calls of `goodinit._kernels` that a case makes, with addresses from its memory's beginning."""
    calls: list[dict[str, Any]] = []
    memory, tensor = case.tensor()

    def fill_box(*arguments: Any) -> None:
        call = dict(zip(BOX + DRAW, arguments, strict=True))
        calls.append(call | {"data": call["data"] - memory.data_ptr()})

    fake = SimpleNamespace(fill_box=fill_box, ReadOnlyError=ValueError)
    with mock.patch.multiple(
        native, instruction_set=lambda: "baseline", _module=lambda: fake, common=lambda *_: False
    ):
        FILLS[case.law](tensor, case.key, *case.parameters, region=case.region, stream=case.stream)
    return calls


def known() -> Iterator[tuple[Case, bytes]]:
    """The cases of tests/vectors/fills.json."""
    content = json.loads((ROOT / "tests" / "vectors" / "fills.json").read_text(encoding="ascii"))["content"]
    for entry in content:
        values, dtype = entry["values"], DTYPES[entry["dtype"]]
        region = Region((2**64,), (int(entry["start"], 16),), (len(values),))
        parameters = tuple(float(number) for number in entry["parameters"])
        case = Case(
            entry["law"],
            parameters,
            int(entry["key"], 16),
            entry["stream"],
            dtype,
            region,
            region.size,
            (0,),
            1,
        )
        yield case, b"".join(int(v, 16).to_bytes(len(v) // 2, "little") for v in values)


def drawn(count: int) -> Iterator[tuple[Case, bytes]]:
    """Random cases, other ones than those that start at seed 0 in the benchmark."""
    number = 0
    while number < count:
        group = random_group(random.Random(f"other processors {number}"))
        for case, expected in zip(group, references(group), strict=True):
            yield case, expected.numpy().tobytes()
        number += len(group)


def write(case: Case, expected: bytes, out: TextIO) -> None:
    """One case: its memory's size and expected bytes, then each call in words."""
    calls = recorded(case)
    print("case", len(calls), len(expected), expected.hex() or "-", file=out)
    for call in calls:
        words: list[str] = [str(call["data"]), call["type"], str(len(call["size"]))]
        for name in ("size", "stride", "global_stride"):
            words += map(str, call[name])
        words += [
            str(call[name]) for name in ("start", "first", "last", "key", "stream", "law", "left_count")
        ]
        for name in ("numbers", "left", "right"):
            words += [str(len(call[name])), *(float(number).hex() for number in call[name])]
        print(*words, file=out)


def main(target: Path, count: int) -> None:
    """Write the known answers and the random cases."""
    with target.open("w", encoding="ascii") as out:
        for source in (known(), drawn(count)):
            for case, expected in source:
                write(case, expected, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
