"""What all tests share: deterministic examples, one thread a process, two processes that communicate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

# Before torch is imported: the pytest workers share the cores, and a test that needs
# more threads asks for them itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples everywhere, so that a red run can be repeated; a stopwatch on a busy
# machine says nothing. `pytest --hypothesis-profile=explore` looks for new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("repeatable")

# Before a script for two ranks: `rank`, `mesh`, and `answer(value)`, which rank 0 prints.
_TWO_RANKS = """
import json, sys, warnings
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

warnings.simplefilter("ignore")
torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))


def answer(value):
    if rank == 0:
        print(json.dumps(value))
    dist.destroy_process_group()
"""


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Run a script on two processes that really communicate, and return what it answered."""
    import torch

    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")

    def run(text: str) -> Any:
        folder = tmp_path_factory.mktemp("ranks")
        script = folder / "ranks.py"
        script.write_text(_TWO_RANKS + text, encoding="utf-8")
        both = [
            subprocess.Popen(
                [sys.executable, str(script), str(rank), str(folder / "store")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            texts = [process.communicate(timeout=240) for process in both]
        finally:
            for process in both:
                process.kill()
        assert all(process.returncode == 0 for process in both), texts[0][1][-3000:]
        return json.loads(texts[0][0].splitlines()[-1])

    return run
