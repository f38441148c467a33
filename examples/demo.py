"""Check, plan, initialise, check again and train a real network on real data.

A network of 30 plain ReLU convolutions on scikit-learn's handwritten digits, once as
PyTorch initialises it and once by the plan that goodinit makes for it: the same images in
the same batches, the same optimizer and schedule, and for each the learning rate that suits
it best on validation images. Run it with ``make demo`` or ``python examples/demo.py``;
it writes ``out/demo.json`` (every figure) and ``out/demo.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from demo_task import (
    AFTER,
    BEFORE,
    INITS,
    RECIPE,
    Digits,
    Run,
    Settings,
    build,
    check,
    load_digits,
    mean_accuracy,
    steps_in_all,
    tune_and_train,
)
from demo_view import conclusion, depth_table, draw, findings, training_table
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

import goodinit
from goodinit.files import write_beside
from goodinit.records import to_jsonable

# Small enough for a test, deep enough for the default to fail.
QUICK = Settings(depth=20, steps=50, batch=32, rates=(2e-3,), seeds=(0,), checked=128)
_WIDTH = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smaller network and fewer steps, for tests")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of demo.json and demo.png")
    arguments = parser.parse_args(argv)
    threads = torch.get_num_threads()
    # Layers this small gain little from a second thread, and one thread repeats bit for bit.
    torch.set_num_threads(1)
    try:
        tell(QUICK if arguments.quick else Settings(), arguments.out)
    finally:
        torch.set_num_threads(threads)
    return 0


def tell(settings: Settings, out: Path) -> None:
    """Take every step, print it, and write the figures and the picture."""
    start = time.perf_counter()
    console = Console(highlight=False)
    console = Console(highlight=False, width=min(console.width, _WIDTH) if console.is_terminal else _WIDTH)
    digits = load_digits(settings.split_seed)
    images = {name: len(labels) for name, (_, labels) in vars(digits).items()}
    here, seed = machine(), settings.seeds[0]

    heading(
        console, f"1. The task: {sum(images.values()):,} handwritten digits, {settings.depth} convolutions"
    )
    net = build(settings, BEFORE, seed)
    console.print(
        f"3×3 convolutions of {settings.channels} channels, each followed by ReLU and nothing else; "
        "one linear layer.\n"
        f"{images['train']} images to train on, {images['validation']} to choose the learning rate, "
        f"{images['test']} to test."
    )
    console.print(
        f"{here['cpu']}, {here['threads']} thread, torch {here['torch']}, Python {here['python']}",
        style="dim",
        soft_wrap=True,  # a path or a processor's name is not broken
    )

    heading(console, "2. Check the network as PyTorch initialises it")
    reports = {BEFORE: [check(settings, digits, BEFORE, each) for each in settings.seeds]}
    console.print(findings(reports[BEFORE]))

    heading(console, f"3. Plan {RECIPE}: one row for every parameter, and the reason")
    plan = goodinit.plan(net, RECIPE)
    console.print(plan)

    heading(console, "4. Apply the plan, verify it, check again")
    plan.apply_(net, seed=seed)
    verified = plan.verify(net, seed=seed)
    passed = sum(row.passed for row in verified.checks)
    console.print(
        f"{passed} of {len(plan)} parameters are, bit for bit, what the plan says under seed {seed}."
    )
    reports[AFTER] = [check(settings, digits, AFTER, each) for each in settings.seeds]
    console.print(findings(reports[AFTER]))

    heading(
        console,
        f"5. Train both on the same batches: {settings.steps} steps of Adam, {settings.batch} images each",
    )
    tuning, final = with_progress(console, settings, digits)
    console.print(training_table(tuning, final))

    heading(console, f"6. Before ({BEFORE}) and after ({AFTER}), seed {seed}")
    console.print(depth_table(reports))

    heading(console, "7. What the figures say")
    said = conclusion(reports, final, digits.most_frequent())
    console.print(said)

    figures = {
        "goodinit": "demo",
        "machine": here,
        "settings": settings,
        "images": images,
        "most_frequent_digit": digits.most_frequent(),
        "checks": reports,
        "plan": json.loads(plan.to_json()),
        "verified": verified.passed,
        "tuning": tuning,
        "final": final,
        "test_accuracy": {init: mean_accuracy(final, init) for init in INITS},
        "conclusion": said,
        "seconds": time.perf_counter() - start,
    }
    text = json.dumps(to_jsonable(figures), indent=1, allow_nan=False)
    write_beside(out / "demo.json", text.encode() + b"\n")
    draw(reports, out / "demo.png")
    wrote = f"\nWrote {out / 'demo.json'} (every figure) and {out / 'demo.png'}."
    console.print(wrote, style="dim", soft_wrap=True, markup=False)


def heading(console: Console, text: str) -> None:
    """Print the heading of a step."""
    console.print()
    console.rule(Text(text, style="bold"), align="left", style="dim")


def with_progress(console: Console, settings: Settings, digits: Digits) -> tuple[list[Run], list[Run]]:
    """Tune and train under a progress bar, which only a terminal shows."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=steps_in_all(settings))
        return tune_and_train(settings, digits, lambda: progress.advance(task))


def machine() -> dict[str, str | int]:
    """Return the processor, the threads and the versions that the figures come from."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("goodinit", "torch", "numpy", "scikit-learn", "matplotlib")},
    }


if __name__ == "__main__":
    raise SystemExit(main())
