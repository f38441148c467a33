"""The corpus of small tasks, reduced: what is called healthy trains, and what does not train is found."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

pytest.importorskip("sklearn", reason="the digits need goodinit[demo]")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script as a module, with what lies beside it, as when it runs by itself."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("corpus", BENCHMARKS / "corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("corpus", "_families", "_machine"):
            sys.modules.pop(name, None)


def recorded() -> list[dict[str, object]]:
    figures = json.loads((BENCHMARKS / "results" / "corpus.json").read_text(encoding="utf-8"))["figures"]
    return list(figures["rows"])


def test_nothing_that_failed_to_train_was_called_healthy() -> None:
    rows = recorded()
    assert len(rows) >= 40
    assert sum(not row["trains"] for row in rows) >= 15
    assert [row["model"] for row in rows if row["healthy"] and not row["trains"]] == []


def test_the_verdicts_on_record_are_those_of_today(bench: ModuleType) -> None:
    """Every recorded network is judged again; training it again is the benchmark's work."""
    torch.set_num_threads(1)
    tasks: dict[str, object] = {}
    changed = []
    for row in recorded():
        task_name, build = bench.MODELS[row["model"]]
        task = tasks.setdefault(task_name, bench.TASKS[task_name]())
        if row["trains"] and not row["healthy"]:
            continue  # only of those that no task accuses or excuses
        torch.manual_seed(0)
        if bench.judged(build(), task).healthy is not row["healthy"]:
            changed.append(row["model"])
    assert changed == []


@pytest.mark.parametrize(
    ("name", "trains"),
    [("ReLU, He, depth 5", True), ("ReLU, torch's default, depth 40", False), ("ReLU, biases −8", False)],
)
def test_a_few_of_them_trained_again(bench: ModuleType, name: str, trains: bool) -> None:
    torch.set_num_threads(1)
    task_name, build = bench.MODELS[name]
    task = bench.TASKS[task_name]()
    torch.manual_seed(0)
    model = build()
    assert bench.judged(model, task).healthy is trains
    assert (bench.trained(model, task, steps=120)[0] < task.bar) is trains
