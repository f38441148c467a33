"""An output file is the old one or the new one, however and whenever a run ends.

Each run is a process of its own in which one step of the writing is replaced by the
accident, so that it strikes at the same place every time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are those of POSIX")

MODEL = "from torch import nn\ndef build(): return nn.Linear(64, 256)\n"

RUN = """
import os, resource, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell may have it ignored
from pathlib import Path
import safetensors.torch
from goodinit.cli import main

def half_then(strike):
    def save_file(tensors, path, metadata=None):
        whole = safetensors.torch.save(tensors, metadata)
        Path(path).write_bytes(whole[: len(whole) // 2])
        strike()
    return save_file

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def interrupt(*_):
    signal.raise_signal(signal.SIGINT)

def written_then(strike):
    def fsync(descriptor):
        strike()
    return fsync

accident = sys.argv[1]
if accident.endswith(" in place"):
    import contextlib
    import goodinit.plans.weights
    goodinit.plans.weights.beside = contextlib.nullcontext
    accident = accident.removesuffix(" in place")
if accident == "killed halfway":
    safetensors.torch.save_file = half_then(kill)
elif accident == "killed before renaming":
    os.fsync = written_then(kill)
elif accident == "interrupted halfway":
    safetensors.torch.save_file = half_then(interrupt)
elif accident == "interrupted before renaming":
    os.fsync = written_then(interrupt)
elif accident == "disk full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(main(sys.argv[2:]))
"""


def apply(folder: Path, accident: str, seed: int) -> subprocess.CompletedProcess[str]:
    (folder / "model.py").write_text(MODEL)
    command = ["apply", "model.py:build", "--out", "w.safetensors", "--seed", str(seed), "--quiet"]
    return subprocess.run(
        [sys.executable, "-c", RUN, accident, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"model.py"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole file of seed 1, and so the proof that without an accident the file is replaced."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "w.safetensors").write_bytes(b"older still")
    outcome = apply(folder, "none", 1)
    assert outcome.returncode == 0, outcome.stderr
    assert files(folder) == {"w.safetensors"}
    assert load_file(folder / "w.safetensors")["weight"].shape == (256, 64)
    return (folder / "w.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("accident", "code", "said"),
    [
        ("killed halfway", -9, ""),
        ("killed before renaming", -9, ""),
        ("interrupted halfway", 130, "goodinit: interrupted"),
        ("interrupted before renaming", 130, "goodinit: interrupted"),
        ("disk full", 2, "w.safetensors: "),
    ],
)
def test_the_old_file_stays_whole(tmp_path: Path, old: bytes, accident: str, code: int, said: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(old)
    outcome = apply(tmp_path, accident, 2)
    assert outcome.returncode == code, outcome.stderr
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert (tmp_path / "w.safetensors").read_bytes() == old
    # What is left beside it after a kill is half a file, never under the name of the whole one.
    left = files(tmp_path) - {"w.safetensors"}
    assert all(name.endswith(".part") for name in left)
    assert len(left) == (1 if code == -9 else 0)


@pytest.mark.parametrize("accident", ["killed halfway in place", "interrupted halfway in place"])
def test_a_planted_writer_that_writes_in_place_is_caught(tmp_path: Path, old: bytes, accident: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(old)
    apply(tmp_path, accident, 2)
    assert (tmp_path / "w.safetensors").read_bytes() != old
