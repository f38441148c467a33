"""What a figure was measured on, and the one form in which benchmarks keep figures."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("goodinit", "torch", "numpy", "scipy")


def cpu_name() -> str:
    """The processor's own name, or the architecture where the system does not tell."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model"}:
                return value.strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """CPU, threads, instruction set and versions: what a reader needs to judge a figure."""
    return {
        "cpu": cpu_name(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: on Linux a process starts with the peak of the one that started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def save(name: str, figures: Any) -> Path:
    """Write the figures of one benchmark, with the machine, to ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{name}.json"
    target.write_text(
        json.dumps({"machine": machine(), "figures": figures}, indent=2) + "\n", encoding="utf-8"
    )
    return target
