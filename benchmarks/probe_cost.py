"""What probing GPT-2 small costs next to one plain forward and backward pass: time and peak memory.

Both sides run `GPT2LMHeadModel` with its default configuration (124M parameters, drawn, not
loaded) in train mode on the same 4 × 128 token ids with labels, and differentiate the model's
own loss by all parameters. Times are medians of paired runs in one process; peaks of resident
memory come from fresh processes, one side each. Where other programs share the machine, the
processor's time says more than the clock's.

Run: python benchmarks/probe_cost.py [--repeats 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _machine import machine, peak_memory, save
from torch import nn

BATCH, TOKENS, SEED = 4, 128, 0
TIME_LIMIT, MEMORY_LIMIT = 1.3, 1.15


def build() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model in train mode and its batch with labels."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(SEED)
    model = GPT2LMHeadModel(GPT2Config()).train()
    ids = torch.randint(0, model.config.vocab_size, (BATCH, TOKENS))
    return model, {"input_ids": ids, "labels": ids}


def plain(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """One forward and one backward pass, gradients dropped afterwards."""
    # Only the loss is kept, so that the logits are freed as early as they can be.
    loss = model(**batch).loss
    torch.autograd.grad(loss, list(model.parameters()))


def probed(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """The same, measured."""
    from goodinit.signals import probe

    probe(model, batch)


SIDES: dict[str, Callable[[nn.Module, dict[str, torch.Tensor]], None]] = {"plain": plain, "probe": probed}


def peak(side: str) -> int:
    """Peak resident bytes of this process after one run of a side."""
    model, batch = build()
    SIDES[side](model, batch)
    return peak_memory()


def peak_afresh(side: str, threads: int) -> int:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--peak", side, "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def times(repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(clock, processor) seconds of each run, sides in turns; the first pair warms up and does not count."""
    model, batch = build()
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for turn in range(repeats + 1):
        for side, run in SIDES.items():
            clock, processor = time.perf_counter(), time.process_time()
            run(model, batch)
            if turn:
                taken[side].append((time.perf_counter() - clock, time.process_time() - processor))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(options.peak))
        return
    about = machine()
    print(
        f"{about['cpu']}, {about['cores']} cores, {options.threads} threads; torch {torch.__version__}, "
        f"transformers {importlib.metadata.version('transformers')}"
    )
    taken = times(options.repeats)
    figures: dict[str, Any] = {
        "model": "GPT2LMHeadModel(GPT2Config()), train mode",
        "batch": [BATCH, TOKENS],
        "repeats": options.repeats,
        "transformers": importlib.metadata.version("transformers"),
        "runs_clock_processor_s": taken,
    }
    print(f"{'':18}{'plain':>10}{'probe':>10}{'ratio':>10}")
    for place, name in enumerate(("clock s", "processor s")):
        middle = {side: statistics.median(run[place] for run in runs) for side, runs in taken.items()}
        pairs = zip(taken["plain"], taken["probe"], strict=True)
        ratio = statistics.median(after[place] / before[place] for before, after in pairs)
        figures[name] = {**middle, "ratio": ratio}
        print(f"{name:18}{middle['plain']:10.2f}{middle['probe']:10.2f}{ratio:10.2f}")
    peaks = {side: peak_afresh(side, options.threads) for side in SIDES}
    ratio = peaks["probe"] / peaks["plain"]
    figures["peak MiB"] = {**{side: value / 2**20 for side, value in peaks.items()}, "ratio": ratio}
    print(f"{'peak MiB':18}{peaks['plain'] / 2**20:10.0f}{peaks['probe'] / 2**20:10.0f}{ratio:10.2f}")
    kept = save("probe_cost", json.loads(json.dumps(figures)))
    print(
        f"claim: at most {TIME_LIMIT} of the time and {MEMORY_LIMIT} of the memory. "
        f"Written: results/{kept.name}"
    )


if __name__ == "__main__":
    main()
