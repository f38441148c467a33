"""Run pytest with another build of the kernels: ``python tools/with_kernels.py BUILD PYTEST_ARGUMENTS``.

Where AddressSanitizer is loaded, each instruction set must first be seen to write to forbidden memory: a
build without its instruments would pass every test.
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


def is_watched(kernels: ModuleType, name: str) -> bool:
    """Whether an instruction set that writes to poisoned memory ends its process."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the report is expected
        tensor = torch.zeros(1000)
        # Inside the tensor: its ends are tried by a system call, which the sanitizer watches by other means.
        ctypes.CDLL(None).__asan_poison_memory_region(ctypes.c_void_p(tensor.data_ptr() + 2000), 8)
        kernels.fill_whole(tensor.data_ptr(), 0, 1000, 1, 0.0, 1.0, 0.0, 5, 0, name, 1)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


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
        blind = [name for name in module.instruction_sets() if not is_watched(module, name)]
        if blind:
            print(f"AddressSanitizer does not see what {', '.join(blind)} write(s)")
            return 1
        print(f"AddressSanitizer stops {', '.join(module.instruction_sets())} at a planted fault")
    return int(pytest.main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
