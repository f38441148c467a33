"""Run pytest with another build of the kernels: ``python tools/with_kernels.py BUILD PYTEST_ARGUMENTS``.

Where the sanitizers are loaded, each instruction set must first be seen to stop at a planted fault of either
kind: a build without its instruments would pass every test.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import goodinit

PLANTED_KEY = 0xFA017  # csrc/kernel.cpp: a sanitized kernel overflows an int with it


def stops(kernels: ModuleType, name: str, key: int, poison: bool, message: str) -> bool:
    """Whether a fill by one instruction set ends its process with such a message."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)
        tensor = torch.zeros(1000)
        if poison:
            # Inside the tensor: its ends are tried by a system call, which is watched by other means.
            ctypes.CDLL(None).__asan_poison_memory_region(ctypes.c_void_p(tensor.data_ptr() + 2000), 8)
        kernels.fill_whole(tensor.data_ptr(), 0, 1000, 1, 0.0, 1.0, 0.0, key, 0, name, 1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, errors="replace") as report:
        said = report.read()
    return os.waitpid(child, 0)[1] != 0 and message in said


def blind_spots(kernels: ModuleType) -> list[str]:
    """The instruction sets in which a planted fault goes unseen, or which end without one, and how."""
    found = []
    for name in kernels.instruction_sets():
        if stops(kernels, name, 5, False, ""):
            found.append(f"{name} stops without a fault")
        if not stops(kernels, name, 5, True, "AddressSanitizer: "):
            found.append(f"AddressSanitizer does not see what {name} writes")
        if not stops(kernels, name, PLANTED_KEY, False, "signed integer overflow"):
            found.append(f"UBSan does not see what {name} adds")
    return found


def main(build: str, arguments: list[str]) -> int:
    """Put the module in the build folder in the place of the installed one, then test."""
    (path,) = Path(build).glob("_kernels*.so")
    spec = importlib.util.spec_from_file_location("goodinit._kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["goodinit._kernels"] = module
    setattr(goodinit, "_kernels", module)  # noqa: B010  (an attribute that the package does not declare)
    print(f"kernels: {path}")
    if hasattr(ctypes.CDLL(None), "__asan_poison_memory_region"):
        if blind := blind_spots(module):
            print("\n".join(blind))
            return 1
        print(f"AddressSanitizer and UBSan stop {', '.join(module.instruction_sets())} at planted faults")
    return int(pytest.main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
