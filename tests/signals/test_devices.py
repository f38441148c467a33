"""What is measured on an accelerator is what is measured on the CPU.

On a GPU where there is one; else on a device without hardware whose tensors refuse to meet those of the CPU
(`elsewhere.py`). Registering a device changes a process for good, hence one of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("elsewhere.py")
DEVICE = "cuda" if torch.cuda.is_available() else "elsewhere"
# A card sums in another order, and convolutions in fewer digits.
CLOSE = 1e-2 if DEVICE == "cuda" else 1e-5


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    done = subprocess.run([sys.executable, SCRIPT, DEVICE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", ["perceptron", "fading", "convolutions", "attention", "recurrence"])
def test_a_report_from_another_device_is_that_of_the_cpu(told: dict[str, Any], case: str) -> None:
    one = told[case]
    assert one["numbers"][0] == one["numbers"][1] > 100
    assert one["difference"] < CLOSE
    assert one["codes"][0] == one["codes"][1]
    assert ("GI104" in one["codes"][0]) == (case == "fading")
    assert one["largest"][1] == pytest.approx(one["largest"][0], rel=CLOSE)
    assert bool(one["largest"][0]) == (case == "perceptron")


def test_a_monitor_on_another_device_measures_what_it_does_on_the_cpu(told: dict[str, Any]) -> None:
    here, there = told["watched"]
    assert len(here) == 3
    assert here[0] != here[2]
    for one, other in zip(here, there, strict=True):
        assert one == pytest.approx(other, rel=CLOSE)


def test_the_device_refuses_tensors_of_the_cpu(told: dict[str, Any]) -> None:
    assert "same device" in told["mixed"]
