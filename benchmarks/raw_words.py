"""The raw random words through Debian's dieharder, where it is installed.

Two streams: the words of one key in the order of elements, as a tensor uses them; and the first four
words of the keys of "layers.0.weight", "layers.1.weight", …, as the beginnings of many tensors use them.
A test fails below p = 1e-6 (dieharder's own verdict); a counter, as a planted fault, must fail.

``python benchmarks/raw_words.py [seconds]`` runs as many tests as begin within that time (900 by
default), writes ``results/raw_words.json`` after each of them, and the next run goes on with those that
are left. Without dieharder it says so and ends well.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _machine import RESULTS, save

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
    """Run what is left and there is time for; 1 where a test has failed or the planted fault goes unseen."""
    if shutil.which("dieharder") is None:
        print("dieharder is not installed (Debian: apt install dieharder): the raw words are not tested here")
        return 0
    done: dict[str, Any] = {"algorithm": ALGORITHM, "planted_caught": None, "tests": {}}
    kept = RESULTS / "raw_words.json"
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))["figures"]
        if before["algorithm"] == ALGORITHM and "tests" in before:
            done |= before
    began = time.monotonic()
    if done["planted_caught"] is None:
        done["planted_caught"] = any(row["verdict"] == "FAILED" for row in run(counter, TESTS[0]))
    streams = {"one key": one_key, "many keys": many_keys}
    every = {f"{test} ({name})": (test, name) for test in TESTS for name in streams}
    for label, (test, name) in every.items():
        if label in done["tests"] or time.monotonic() - began > seconds:
            continue
        rows = run(streams[name], test)
        if not rows:
            print(f"{label}: dieharder gave no p-value")
            return 1
        for row in rows:
            print(
                f"  {name:10} {row['test']:22} {row['ntuple']:3} p {row['p']:.6f} {row['verdict']}",
                flush=True,
            )
        done["tests"][label] = rows
        done["left_out"] = [other for other in every if other not in done["tests"]]
        save("raw_words", done)
    left = [label for label in every if label not in done["tests"]]
    found = [row for rows in done["tests"].values() for row in rows]
    verdicts = Counter(row["verdict"] for row in found)
    print(
        f"{len(found)} p-values: {verdicts['FAILED']} failed, {verdicts['WEAK']} weak (of 100 one is); "
        f"no time yet for: {', '.join(left) or 'none'}"
    )
    print(f"planted fault, a counter: {'caught' if done['planted_caught'] else 'NOT caught'}")
    return int(verdicts["FAILED"] > 0 or not done["planted_caught"])


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 900.0))
