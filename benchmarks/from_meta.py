"""How long a 220M-parameter llama-like model takes from nothing to initialised weights, and its memory.

Each way runs in processes of its own, in turn: torch's (construct with torch's default init, then
``torch.nn.init.normal_`` over every matrix, as a re-init does), the same from the meta device
(``to_empty``, then normal), and `goodinit.initialize` from the meta device, planning and trace included.
A two-layer model of the same class is done first, so that imports count for nobody (``--cold`` leaves
that out). The floor is judged by wall time with as many threads as torch takes by itself; processor time
on one thread stands beside it, which does not tell of the neighbours on a busy machine. Memory is the peak
of resident memory beyond what was there before and beyond the weights themselves. Just before, another
process touches as much memory and leaves: a virtual machine that must first fetch it from its host takes
up to a second longer for either way, which is told by chance.

    python benchmarks/from_meta.py [ROUNDS] [--cold]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

WAYS = ("torch", "torch from meta", "goodinit from meta")
FLOOR, EXTRA_MEGABYTES = 3.0, 64.0


def build(layers: int, hidden: int) -> Any:
    """Return a llama of this size on the default device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": hidden, "intermediate_size": hidden * 11 // 4, "num_hidden_layers": layers}
    heads = {"num_attention_heads": hidden // 64, "num_key_value_heads": hidden // 64}
    return LlamaForCausalLM(LlamaConfig(vocab_size=31 * hidden, tie_word_embeddings=False, **size, **heads))


def make(way: str, layers: int, hidden: int) -> Any:
    """Return an initialised model, made in one of the `WAYS`."""
    import torch

    import goodinit

    if way == "torch":
        model = build(layers, hidden)
    else:
        with torch.device("meta"):
            model = build(layers, hidden)
    if way == "goodinit from meta":
        goodinit.initialize(model, seed=0)
        return model
    if way == "torch from meta":
        model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, 0.0, 0.02)
        elif "Norm" in type(module).__name__:
            torch.nn.init.ones_(module.weight)
    return model


def one(way: str, threads: int, cold: bool) -> dict[str, float]:
    """Make the model in this process and measure it; 0 threads are torch's own choice."""
    import torch
    from _machine import peak_memory

    import goodinit  # noqa: F401
    from goodinit.rng import native

    if threads:
        torch.set_num_threads(threads)
    native.instruction_set()
    if not cold:
        make(way, 2, 64)
    subprocess.run([sys.executable, "-c", "b'1' * (1 << 30)"], check=True)
    before, began, clock = peak_memory(), time.perf_counter(), time.process_time()
    model = make(way, 12, 1024)
    seconds, wall = time.process_time() - clock, time.perf_counter() - began
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert not any(p.is_meta for p in model.parameters())
    return {
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "wall": wall,
        "extra_megabytes": (peak_memory() - before - weights) / 2**20,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main(rounds: int, cold: bool) -> int:
    """Print the table and keep it; 1 where a floor is missed."""
    from _machine import cpu_name, save

    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for threads in (0, 1):
            for way in WAYS:
                command = [
                    sys.executable,
                    __file__,
                    "--one",
                    way,
                    str(threads),
                    *(["--cold"] if cold else []),
                ]
                outcome = subprocess.run(command, capture_output=True, text=True, check=True)
                found.setdefault((way, threads), []).append(json.loads(outcome.stdout.splitlines()[-1]))
    figures = {
        asked: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for asked, rows in found.items()
    }
    ours = figures["goodinit from meta", 0]
    print(f"{cpu_name()}, {ours['parameters'] / 1e6:.0f}M parameters, medians of {rounds}")
    for (way, _), row in sorted(figures.items(), key=lambda item: item[0][1]):
        print(
            f"  {way:20} {row['threads']:.0f} threads {row['wall']:6.2f} s wall, {row['seconds']:5.2f} s of "
            f"processor time, {row['extra_megabytes']:4.0f} MB beyond the weights"
        )
    ratio = figures["torch", 0]["wall"] / ours["wall"]
    alone = figures["torch", 1]["seconds"] / figures["goodinit from meta", 1]["seconds"]
    extra = max(row["extra_megabytes"] for (way, _), row in figures.items() if way == "goodinit from meta")
    passed = ratio >= FLOOR and extra <= EXTRA_MEGABYTES
    print(
        f"  construction and re-init by torch / goodinit: {ratio:.2f}x, floor {FLOOR}: "
        f"{'pass' if ratio >= FLOOR else 'FAIL'} (processor time on one thread: {alone:.2f}x); memory: "
        f"{extra:.0f} MB, at most {EXTRA_MEGABYTES:.0f}: {'pass' if extra <= EXTRA_MEGABYTES else 'FAIL'}"
    )
    ways = [{"way": way, **row} for (way, _), row in figures.items()]
    kept = {"rounds": rounds, "cold": cold, "ways": ways, "ratio": ratio, "alone": alone, "passed": passed}
    save("from_meta" + ("_cold" if cold else ""), kept)
    return int(not passed)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    arguments = [a for a in sys.argv[1:] if a != "--cold"]
    if arguments[:1] == ["--one"]:
        print(json.dumps(one(arguments[1], int(arguments[2]), "--cold" in sys.argv)))
    else:
        sys.exit(main(int(arguments[0]) if arguments else 3, "--cold" in sys.argv))
