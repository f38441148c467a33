"""The raw random words through Debian's dieharder, where it is installed.

Two streams: the words of one key in the order of elements, as a tensor uses them; and the first four
words of the keys of "layers.0.weight", "layers.1.weight", …, as the beginnings of many tensors use them.
A test fails below p = 1e-6 (dieharder's own verdict); a counter, as a planted fault, must fail.

``python benchmarks/raw_words.py [seconds]`` runs as many tests as begin within that time (900 by
default) and writes ``results/raw_words.json``. Without dieharder it says so and ends well.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _machine import save

from goodinit.rng import ALGORITHM, derive_key, words
from goodinit.rng.philox import philox4x32

# dieharder's numbers: birthdays, ranks, runs, craps, minimum distances, counts of ones, spheres, and the
# monobit, runs and serial tests of NIST; those that need the fewest words first.
TESTS = (100, 101, 15, 0, 2, 16, 8, 11, 12, 3, 10, 102)
CHUNK = 1 << 18


def one_key() -> Iterator[bytes]:
    """The words of one key."""
    key, start = derive_key(6, "quality"), 0
    while True:
        yield words(key, np.arange(start, start + CHUNK, dtype=np.uint64)).tobytes()
        start += CHUNK


def many_keys() -> Iterator[bytes]:
    """The first words of neighbouring names."""
    number = 0
    while True:
        keys = np.array(
            [derive_key(0, f"layers.{n}.weight") for n in range(number, number + CHUNK // 16)], np.uint64
        )
        halves = np.stack([keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)], axis=-1).astype(np.uint32)
        yield philox4x32(np.zeros((len(keys), 4), np.uint32), halves).tobytes()
        number += CHUNK // 16


def counter() -> Iterator[bytes]:
    """No random words at all: the planted fault."""
    start = 0
    while True:
        yield np.arange(start, start + CHUNK, dtype=np.uint32).tobytes()
        start += CHUNK


def run(stream: Callable[[], Iterator[bytes]], test: int) -> list[dict[str, Any]]:
    """One test of dieharder on a stream; one row for each of its p-values."""
    command = ["dieharder", "-g", "200", "-d", str(test)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for piece in stream():
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:  # it has read enough
            pass
        text = process.stdout.read().decode()
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    return [
        {"test": row[0], "ntuple": int(row[1]), "p": float(row[4]), "verdict": row[5]}
        for row in rows
        if len(row) == 6 and row[5] in ("PASSED", "WEAK", "FAILED")
    ]


def main(seconds: float) -> int:
    """Run what there is time for; 1 where a test fails or the planted fault goes unseen."""
    if shutil.which("dieharder") is None:
        print("dieharder is not installed (Debian: apt install dieharder): the raw words are not tested here")
        return 0
    began, found, left = time.monotonic(), [], []
    planted = [row for row in run(counter, TESTS[0]) if row["verdict"] == "FAILED"]
    for test in TESTS:
        for name, stream in (("one key", one_key), ("many keys", many_keys)):
            if time.monotonic() - began > seconds:
                left.append(f"{test} ({name})")
                continue
            for row in run(stream, test):
                found.append({"stream": name, **row})
                print(
                    f"  {name:10} {row['test']:22} {row['ntuple']:3} p {row['p']:.6f} {row['verdict']}",
                    flush=True,
                )
    failed = [row for row in found if row["verdict"] == "FAILED"]
    weak = [row for row in found if row["verdict"] == "WEAK"]
    print(
        f"{len(found)} p-values: {len(failed)} failed, {len(weak)} weak (of 100 one or two are); "
        f"no time for: {left}"
    )
    print(f"planted fault, a counter: {'caught' if planted else 'NOT caught'}")
    save(
        "raw_words",
        {"algorithm": ALGORITHM, "rows": found, "left_out": left, "planted_caught": bool(planted)},
    )
    return int(bool(failed) or not planted)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 900.0))
