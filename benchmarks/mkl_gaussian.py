"""Normal float32 draws on one thread: goodinit against every Gaussian of Intel's oneMKL.

oneMKL's two fastest generators, Philox4x32-10 (goodinit's own) and SFMT19937, each with all three of its
methods (Box-Muller for one value or for two at a time, and the inverse distribution function), each asked
for the whole tensor in one call and in calls of 64 Ki elements, of which the quicker counts. All fill the
same memory, in turns; a time is the median of the calling thread's CPU time. oneMKL runs sequentially.

``python benchmarks/mkl_gaussian.py [--mkl FOLDER] [--elements 1e8] [--rounds 5]`` prints the table and writes
``results/mkl_gaussian.json``. FOLDER is where ``libmkl_rt`` lies, such as the lib folder of a virtual
environment with the package ``mkl`` in it; by default this environment's own, or that in MKL_LIBRARY.
Without oneMKL it says what to install and ends well.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _machine import cpu_name, save

from goodinit.rng import fill_normal_, native

# mkl_vsl_defines.h: VSL_BRNG_*, VSL_RNG_METHOD_GAUSSIAN_*.
GENERATORS = {"SFMT19937": 13 << 20, "Philox4x32-10": 16 << 20}
METHODS = {"BOXMULLER": 0, "BOXMULLER2": 1, "ICDF": 2}
PIECE = 1 << 16
MEAN, STD = 0.0, 0.02
SEED = 7


def find(folder: str | None) -> Path | None:
    """The library libmkl_rt, in the folder that was named or in this environment."""
    named = folder or os.environ.get("MKL_LIBRARY")
    places = [Path(named)] if named else [Path(sys.prefix, "lib"), Path(sys.prefix, "Library", "bin")]
    found = [path for place in places for path in sorted(place.glob("*mkl_rt*")) if path.is_file()]
    if named and not found:
        sys.exit(f"no libmkl_rt in {named}")
    return found[0] if found else None


def version(library: ctypes.CDLL) -> str:
    """What the library says of itself, the processor it chose its code for included."""
    text = ctypes.create_string_buffer(300)
    library.MKL_Get_Version_String(text, len(text))
    return " ".join(text.value.decode().split())


def gaussian(library: ctypes.CDLL, generator: int, method: int, piece: int) -> Callable[[torch.Tensor], None]:
    """A function that fills a tensor by one generator and method, in calls of at most so many elements."""
    stream = ctypes.c_void_p()
    if library.vslNewStream(ctypes.byref(stream), generator, ctypes.c_uint(SEED)) != 0:
        raise RuntimeError(f"oneMKL has no generator {generator:#x}")
    draw = library.vsRngGaussian
    draw.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_float,
        ctypes.c_float,
    ]

    def fill(t: torch.Tensor) -> None:
        address, count = t.data_ptr(), t.numel()
        for first in range(0, count, piece):
            status = draw(method, stream, min(piece, count - first), address + 4 * first, MEAN, STD)
            assert status == 0, status

    return fill


def ours(t: torch.Tensor) -> None:
    """Fill by goodinit."""
    fill_normal_(t, SEED, MEAN, STD)


def check(name: str, fill: Callable[[torch.Tensor], None], t: torch.Tensor) -> None:
    """Stop unless the call writes normal values into the whole tensor: no time is that of no work."""
    t.fill_(torch.nan)
    fill(t)
    part = t[:: max(1, t.numel() // 1_000_000)].double()
    mean, std = part.mean().item() / STD, part.std().item() / STD
    # Six standard errors.
    bound = 6 * part.numel() ** -0.5
    if not (abs(mean) < bound and abs(std - 1) < bound and t[-1].isfinite()):
        raise RuntimeError(f"{name} gave mean {mean} and deviation {std} instead of 0 and 1")


def main(folder: str | None, elements: int, rounds: int) -> int:
    """Print the table; 1 where goodinit is not ahead of both generators."""
    found = find(folder)
    if found is None:
        print(
            "oneMKL is not installed here: nothing is compared. To compare, make an environment for it and "
            "name its lib folder:\n  python -m venv ENV; ENV/bin/pip install mkl; "
            f"python benchmarks/{Path(__file__).name} --mkl ENV/lib"
        )
        return 0
    os.environ["MKL_THREADING_LAYER"] = "SEQUENTIAL"
    library = ctypes.CDLL(str(found))
    library.MKL_Set_Num_Threads(1)
    torch.set_num_threads(1)
    about = version(library)
    print(f"{cpu_name()}; goodinit's kernels {native.instruction_set()}; {about}; {elements:,} elements")
    fills: dict[tuple[str, str, str], Callable[[torch.Tensor], None]] = {("goodinit", "", ""): ours}
    for generator, number in GENERATORS.items():
        for method, which in METHODS.items():
            for piece, size in (("one call", 2**31 - 1), ("pieces", PIECE)):
                fills[generator, method, piece] = gaussian(library, number, which, size)
    t = torch.zeros(elements)
    times: dict[tuple[str, str, str], list[float]] = {name: [] for name in fills}
    for name, fill in fills.items():
        check(" ".join(name), fill, t)
    for _ in range(rounds):
        for name, fill in fills.items():
            began = time.thread_time()
            fill(t)
            times[name].append(time.thread_time() - began)
    speed = {name: elements / statistics.median(taken) / 1e6 for name, taken in times.items()}
    quickest = {name: elements / min(taken) / 1e6 for name, taken in times.items()}
    mine = speed["goodinit", "", ""]
    rows = []
    for name, rate in speed.items():
        label = " ".join(name).strip()
        print(f"{label:34} {rate:7.0f} M/s {mine / rate:6.2f}x   quickest {quickest[name]:7.0f} M/s")
        figures = {"millions_per_second": rate, "quickest": quickest[name], "ratio": mine / rate}
        rows.append({"name": label, **figures})
    verdicts = []
    for generator in GENERATORS:
        best = max((name for name in speed if name[0] == generator), key=lambda name: speed[name])
        ratio = mine / speed[best]
        what, passed = " ".join(best[1:]), ratio > 1
        verdicts.append({"against": generator, "best": what, "ratio": ratio, "passed": passed})
        print(f"{generator}'s best ({what}): goodinit {ratio:.2f}x  {'pass' if passed else 'FAIL'}")
    run = {"kernels": native.instruction_set(), "mkl": about, "elements": elements, "rounds": rounds}
    save("mkl_gaussian", run | {"rows": rows, "verdicts": verdicts})
    return int(not all(verdict["passed"] for verdict in verdicts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mkl", metavar="FOLDER")
    parser.add_argument("--elements", type=float, default=1e8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sys.exit(main(options.mkl, int(options.elements), options.rounds))
