"""From C++ to a loaded library, through a cache of what was compiled before."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from goodinit.comparing.engines.compiled.source import FUNCTIONS
from goodinit.comparing.engines.step import NotStackable
from goodinit.files import beside

__all__ = ["compiler", "lanes", "loaded"]

# Widest vectors of each capability that torch reports: bytes and the compiler's flags.
_MACHINES = {
    "AVX512": (
        64,
        ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"),
    ),
    "AVX2": (32, ("-mavx2", "-mfma")),
}
_FLAGS = ("-std=c++17", "-O2", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-w")

#: Seconds after which a compilation is given up.
PATIENCE = 300


def _machine() -> tuple[int, tuple[str, ...]]:
    return _MACHINES.get(torch.backends.cpu.get_cpu_capability(), (16, ()))


def lanes(dtype: torch.dtype) -> int:
    """Return how many numbers of a type one vector register of this machine holds."""
    return _machine()[0] // dtype.itemsize


@functools.cache
def compiler() -> str:
    """Return the path of a C++ compiler that works: ``$CXX``, ``c++``, ``g++`` or ``clang++``.

    Raises:
        NotStackable: if there is none.
    """
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    raise NotStackable("there is no C++ compiler (CXX, c++, g++ or clang++)")


@functools.cache
def _version(path: str) -> bytes:
    return subprocess.run([path, "--version"], capture_output=True, check=True).stdout


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "goodinit" / "compiled"


def loaded(text: str, dtype: torch.dtype) -> ctypes.CDLL:
    """Compile C++, unless the cache has it, and load it.

    Raises:
        NotStackable: if it does not compile.
    """
    command = [compiler(), *_FLAGS, *_machine()[1]]
    parts = (text.encode(), " ".join(command).encode(), _version(command[0]), platform.machine().encode())
    digest = hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()
    try:
        folder = _cache()
        folder.mkdir(parents=True, exist_ok=True)
        library = _compiled(text, command, folder / f"{digest}.so")
    except OSError:
        # No cache can be written, so the library lives as long as this process.
        library = _compiled(text, command, Path(tempfile.mkdtemp(prefix="goodinit-")) / f"{digest}.so")
    made = ctypes.CDLL(str(library))
    made.run.restype = None
    made.init.restype = None
    made.init(_functions(dtype))
    return made


def _compiled(text: str, command: list[str], library: Path) -> Path:
    if library.exists():
        return library
    with beside(library) as part, tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "step.cpp"
        code.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [*command, str(code), "-o", str(part)],
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise NotStackable(f"its C++ took more than {PATIENCE:g} s to compile") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise NotStackable(f"its C++ does not compile ({lines[0][:160] if lines else 'no message'})")
    return library


@functools.cache
def _torch_library() -> ctypes.CDLL | None:
    """Return torch's library, which holds vector forms of mathematical functions (SLEEF)."""
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def _functions(dtype: torch.dtype) -> ctypes.Array[ctypes.c_void_p]:
    """Return a pointer for each of `FUNCTIONS`, null where there is no vector form."""
    library = _torch_library()
    form = ("f" if dtype == torch.float32 else "d") + str(lanes(dtype))
    found = (ctypes.c_void_p * len(FUNCTIONS))()
    for index, name in enumerate(FUNCTIONS):
        for accuracy in ("_u10", "_u15", "_u05", ""):
            function = getattr(library, f"Sleef_{name}{form}{accuracy}", None)
            if function is not None:
                found[index] = ctypes.cast(function, ctypes.c_void_p).value
                break
    return found
