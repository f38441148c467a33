"""Chunks as tasks of any executor: same members, in the same order."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.records.comparisons import Comparison


def run(executor: Executor | None, journal: Path | None = None, build: object = None) -> Comparison:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    return compare(
        build or small, ["torch"], (x, x[:, :1] * x[:, 1:]), seeds=70, steps=4, lr=0.1, evaluations=2,
        executor=executor, journal=journal,
    )  # fmt: skip


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


@pytest.fixture(scope="module")
def expected() -> Comparison:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(None)
    finally:
        torch.set_num_threads(before)


def test_threads_give_the_same_members(expected: Comparison) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert run(executor) == expected


def test_spawned_processes_give_the_same_members_and_a_journal(
    expected: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = importable(tmp_path, monkeypatch)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert run(executor, tmp_path / "journal", build) == expected
    assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == [
        "chunk-00000.json",
        "chunk-00001.json",
        "header.json",
    ]
    assert run(None, tmp_path / "journal", build) == expected


def test_two_workers_of_dasks_local_cluster_give_the_same_members(
    expected: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    build = importable(tmp_path, monkeypatch)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=tmp_path,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert run(client.get_executor(), tmp_path / "journal", build) == expected
        # Two chunks: either worker made its own model ready.
        assert list(client.run(made_ready).values()) == [1, 1]


def made_ready() -> int:
    from goodinit.comparing import preparing

    return len(preparing._latest)


def importable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return `small` from a module that spawned processes can import too."""
    (folder / "a_small_model.py").write_text(
        "from torch import nn\n\ndef small():\n"
        "    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    return __import__("a_small_model").small


def test_a_build_that_cannot_travel_is_refused_with_the_cure() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor,
        pytest.raises(ArgumentError, match="def in a module"),
    ):
        run(executor, build=lambda: nn.Linear(2, 1))


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(WrongTypeError, match="executor"):
        run(4)  # type: ignore[arg-type]
