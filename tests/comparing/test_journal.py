"""A run that is killed at any moment goes on from its journal, to the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from goodinit.comparing import chunk, compare
from goodinit.comparing.journal import Journal, Snapshot
from goodinit.errors import ArgumentError
from goodinit.records.comparisons import Comparison


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    return x, x[:, :1] * x[:, 1:]


def run(journal: Path | None = None, **changed: object) -> Comparison:
    settings: dict[str, object] = {"seeds": 2, "steps": 6, "lr": 0.1, "momentum": 0.9, "evaluations": 3}
    settings["engine"] = "sequential"
    plans = changed.pop("plans", ["torch", "xavier_normal"])
    given = changed.pop("data", None) or data()
    return compare(build, plans, given, journal=journal, **(settings | changed))  # type: ignore[arg-type]


# One process that imports torch once, and forks what is to be killed.
SCRIPT = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from torch import nn
torch.set_num_threads(1)
from goodinit.comparing import chunk, compare
chunk.BETWEEN_SNAPSHOTS = 0.01

def build():
    drop = 0.0 if sys.argv[2] == "compiled" else 0.1
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Dropout(drop), nn.Linear(6, 1))

x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
seeds = {"sequential": 3, "stacked": 70, "compiled": 70}[sys.argv[2]]
steps = {"sequential": 150, "stacked": 300, "compiled": 30_000}[sys.argv[2]]

def run(journal):
    return compare(build, ["torch"], (x, x[:, :1] * x[:, 1:]), seeds=seeds, steps=steps, lr=0.05,
                   optimizer="adam", batch_size=4, evaluations=4, engine=sys.argv[2],
                   journal=journal).to_json()

expected = run(None)
# The first run imports and traces; those that are killed do so no more.
began = time.monotonic()
assert run(None) == expected
took = time.monotonic() - began
random.seed(int(sys.argv[3]))
folder, kills, resumed = Path(sys.argv[1]), 0, 0
for attempt in range(40):
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if run(folder).encode() == expected.encode() else 3
        finally:
            os._exit(status)
    if attempt < 4:
        time.sleep(random.uniform(0.3, 1.0) * took)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kills += 1
        resumed += bool(list(folder.glob("chunk-*.safetensors")) or list(folder.glob("chunk-*.json")))
        continue
    sys.exit(0 if os.WEXITSTATUS(status) == 0 and kills and resumed else 10 + os.WEXITSTATUS(status))
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="forks and signals as POSIX has them")
@pytest.mark.parametrize("engine", ["sequential", "stacked", "compiled"])
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path: Path, engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "journal"), engine, "5"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_snapshot_is_used_and_a_wrong_one_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk, "BETWEEN_SNAPSHOTS", -1.0)
    kept: list[Snapshot] = []
    keep = Journal.keep
    monkeypatch.setattr(Journal, "keep", lambda self, index, it: (kept.append(it), keep(self, index, it))[1])
    expected = run(tmp_path / "a")
    middle = next(each for each in kept if each.step == 3)
    for name, shift in (("same", 0.0), ("spoiled", 0.5)):
        run(tmp_path / name)
        journal = Journal(tmp_path / name)
        (tmp_path / name / "chunk-00000.json").unlink()
        keep(journal, 0, Snapshot(middle.step, [tensor + shift for tensor in middle.state], middle.scores))
        assert (run(tmp_path / name) == expected) is (name == "same")


def test_a_finished_journal_gives_the_result_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tmp_path)
    monkeypatch.setattr("goodinit.comparing.running.run_chunk", None)
    assert run(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("lr", {"lr": 0.2}),
        ("steps", {"steps": 7}),
        ("seeds", {"seeds": [0, 2]}),
        ("optimizer", {"momentum": 0.8}),
        ("batch_size", {"batch_size": 7}),
        ("schedule", {"schedule": "cosine"}),
        ("evaluations", {"evaluations": 2}),
        ("loss", {"loss": "l1"}),
        ("data", {"data": (data()[0] + 1, data()[1])}),
        ("plans['torch']", {"plans": ["torch", "kaiming_normal"]}),
        ("engine", {"engine": "stacked"}),
    ],
)
def test_a_journal_of_other_settings_is_refused_by_the_settings_name(
    tmp_path: Path, name: str, changed: dict[str, object]
) -> None:
    if name.startswith("plans"):
        name = "plans['xavier_normal']"
    run(tmp_path)
    with pytest.raises(ArgumentError) as caught:
        run(tmp_path, **changed)
    assert name in str(caught.value)
    run(tmp_path)


def test_a_folder_with_other_things_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArgumentError, match="no journal"):
        run(tmp_path)
    (tmp_path / "header.json").write_text(json.dumps([1]))
    with pytest.raises(ArgumentError, match="journal"):
        run(tmp_path)
