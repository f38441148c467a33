"""What the tests of the command line share: running it in this process, and a file of models to run it on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from goodinit.cli import main

MODELS = '''
"""Models, good and bad, for the tests of the command line."""
import torch
from torch import nn

print("words of the user's own code")

def mlp():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

def deep():
    layers = [nn.Linear(16, 64), nn.ReLU()]
    for _ in range(28):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 4))

def tokens():
    return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 8))

def conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x) * self.scale

class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, left, right):
        return self.linear(left) + right

class Makers:
    @staticmethod
    def mlp():
        return mlp()

def needs(width, depth=2):
    return nn.Linear(width, depth)

def returns_dict():
    return {"model": mlp()}

def fails():
    raise ValueError("sizes\\ndo [not] match")

ready = nn.Linear(3, 3)
number = 3
'''


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error, without what the user's own code printed."""
        lines = [line for line in self.err.splitlines() if line != "words of the user's own code"]
        assert len(lines) == 1, self.err
        return lines[0]


Run = Callable[..., Outcome]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Outcome]]:
    """Run `goodinit` on arguments, in a folder with the file `models.py`."""
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    path, modules = list(sys.path), set(sys.modules)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield call
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("goodinit_source_") or getattr(sys.modules[name], "__file__", None) in {
            str(file) for file in tmp_path.rglob("*.py")
        }:
            del sys.modules[name]
