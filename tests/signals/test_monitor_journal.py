"""The file of a run: every line whole and at once, nothing lost when a run resumes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.errors import ArgumentError
from goodinit.records import MonitorLog
from goodinit.signals import Monitor


def net(width: int = 40) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(width, 50), nn.ReLU(), nn.Linear(50, 4))


def train(model: nn.Module, monitor: Monitor, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(16, 40, generator=generator)).square().mean()
        loss.backward()
        optimizer.step()
        monitor.step(loss)


def test_the_file_reads_back_as_what_was_measured(tmp_path: Path) -> None:
    path, model = tmp_path / "folder" / "run.jsonl", net()
    with Monitor(model, every=3, path=path) as monitor:
        train(model, monitor, 7)
    log = MonitorLog.read(path)
    assert log.steps == monitor.history
    assert log.events == monitor.events
    assert log.to_text() == monitor.summary()
    for line in path.read_text().splitlines():
        assert json.loads(line)["goodinit"].startswith("monitor")


def test_each_measured_step_is_on_disk_at_once(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        for count in range(1, 4):
            train(model, monitor, 1)
            assert len(MonitorLog.read(path).steps) == count


def test_nan_and_infinity_survive_the_file(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        model(torch.full((4, 40), float("inf"))).sum().backward()
        monitor.step(float("nan"))
    step = MonitorLog.read(path).steps[0]
    assert step.loss != step.loss
    assert [event.kind for event in MonitorLog.read(path).events] == ["non_finite"]


def test_a_resumed_run_goes_on_from_its_start_and_loses_nothing(tmp_path: Path) -> None:
    path, straight = tmp_path / "run.jsonl", net()
    with Monitor(straight, every=2) as whole:
        train(straight, whole, 4)
        train(straight, whole, 5)

    model = net()
    with Monitor(model, every=2, path=path) as first:
        train(model, first, 4)
    before = path.read_bytes()
    again = net()
    again.load_state_dict(model.state_dict())
    with Monitor(again, every=2, path=path) as second:
        train(again, second, 5)

    assert path.read_bytes().startswith(before)
    assert [step.step for step in second.history] == [0, 2, 4, 6, 8]
    for one, other in zip(whole.history, second.history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        # The start is that of the first run, not the restored weights.
        assert other.kept == pytest.approx(one.kept, abs=1e-6)
        assert other.drift == pytest.approx(one.drift, rel=1e-5)
    assert second.history[-1].kept is not None
    assert second.history[-1].kept < 0.9999


def test_of_a_run_resumed_from_an_earlier_step_the_later_course_stands(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=2, path=path) as monitor:
        train(model, monitor, 5)
        nn.init.constant_(model[0].weight, math.nan)
        train(model, monitor, 2)
    assert [event.step for event in monitor.events] == [6]
    before = path.read_bytes()
    model = net()
    with Monitor(model, every=2, path=path, first_step=2) as monitor:
        train(model, monitor, 3)
    assert [step.step for step in monitor.history] == [0, 2, 4]
    assert monitor.events == ()
    assert MonitorLog.read(path) == monitor.log
    assert monitor.history[-1].loss == monitor.history[-1].loss
    assert path.read_bytes().startswith(before)


def test_a_line_cut_short_stays_and_the_rest_is_read(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 2)
    with path.open("a") as file:
        file.write('{"goodinit": "monitor_step", "step": 2, "lo')
    with Monitor(model, every=1, path=path) as monitor:
        assert monitor.log.steps == monitor.history
        train(model, monitor, 1)
    log = MonitorLog.read(path)
    assert [step.step for step in log.steps] == [0, 1, 2]
    assert len(log.notes) == 1
    assert re.fullmatch(r"line \d+ is no JSON: a write was cut short", log.notes[0])
    assert '"lo\n' in path.read_text()


def test_a_file_of_another_model_is_refused_and_left_alone(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, path=path) as monitor:
        train(model, monitor, 1)
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"path: .* another model .*'0.weight' is not in this model"):
        Monitor(net(width=41), path=path)
    other = tmp_path / "other.jsonl"
    other.write_text('{"step": 1}\n')
    with pytest.raises(ArgumentError, match="holds no lines of a goodinit monitor"):
        Monitor(model, path=other)
    assert path.read_bytes() == before
    assert other.read_text() == '{"step": 1}\n'


def test_a_run_that_is_killed_leaves_every_measured_step(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    script = (
        "import os, sys, torch, goodinit\n"
        "model = torch.nn.Linear(3, 2)\n"
        "monitor = goodinit.Monitor(model, every=1, path=sys.argv[1])\n"
        "for _ in range(3):\n"
        "    model(torch.ones(2, 3)).sum().backward()\n"
        "    monitor.step()\n"
        "os._exit(9)\n"
    )
    outcome = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert outcome.returncode == 9
    assert len(MonitorLog.read(path).steps) == 3


def test_a_disk_that_fills_up_is_a_warning_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 1)

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("goodinit.signals.monitoring.journal.os.write", full)
            with pytest.warns(UserWarning, match="No space left"):
                train(model, monitor, 2)
    assert [step.step for step in monitor.history] == [0, 1, 2]
    assert any("No space left" in note for note in monitor.log.notes)
    assert [step.step for step in MonitorLog.read(path).steps] == [0]


def test_a_process_that_is_not_the_first_measures_but_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodinit.signals.monitoring.monitor._writes", lambda: False)
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 2)
    assert not path.exists()
    assert len(monitor.history) == 2


@pytest.mark.parametrize("line", ['{"goodinit": "monitor_step"}', '{"goodinit": "monitor_event", "step": 1}'])
def test_a_damaged_record_is_a_note_and_the_run_goes_on(tmp_path: Path, line: str) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 2)
    path.write_text(path.read_text() + line + "\n")
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 1)
    log = MonitorLog.read(path)
    assert [step.step for step in log.steps] == [0, 1, 2]
    assert any(re.fullmatch(r"line \d+ is damaged and was left out", note) for note in log.notes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"format": 1', '"format": 2', "has format 2; this goodinit reads 1"),
        ('"sketches"', '"sketched"', "a damaged line of kind monitor_start"),
        ('"0.weight": [[50, 40], "', '"0.weight": [[50, 40], "A', "a damaged line of kind monitor_start"),
    ],
)
def test_a_file_without_which_the_run_cannot_go_on_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path, model = tmp_path / "run.jsonl", net()
    with Monitor(model, every=1, path=path) as monitor:
        train(model, monitor, 1)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ArgumentError, match=f"path: .*{words}"):
        Monitor(model, path=path)
