"""TensorBoard with the real package, W&B with a run that writes down what it is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.errors import WrongTypeError
from goodinit.integrations.scalars import scalars
from goodinit.integrations.tensorboard import TensorBoardWriter
from goodinit.integrations.wandb import WandbWriter
from goodinit.records import LayerStep, MonitorEvent, MonitorStep, ParameterStep
from goodinit.signals import Monitor

pytest.importorskip("tensorboard")


def train(writer: Any) -> Monitor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Monitor(model, every=2, writers=writer) as monitor:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.randn(16, 6)).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    return monitor


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_are_root_mean_squares_shares_and_ratios() -> None:
    layer = LayerStep("a", "ReLU", 1, 1, 4.0, 9.0, 8, 2, 0.25, False)
    parameter = ParameterStep("a.weight", (2, 2), 4.0, 1.0, 16.0, 0.5, 1.0)
    step = MonitorStep(3, math.nan, 0.1, (layer,), (parameter,), balance=2.0)
    found = scalars(step)
    assert math.isnan(found.pop("loss"))
    assert found == {
        "gradient_balance": 2.0,
        "output_rms/a.1": 2.0,
        "gradient_rms/a.1": 3.0,
        "dead/a.1": 0.25,
        "saturated/a.1": 0.25,
        "gradient_over_weight/a.weight": 0.5,
        "update_over_weight/a.weight": 2.0,
        "start_kept/a.weight": 0.5,
    }


def test_tensorboard_holds_every_number_of_every_step(tmp_path: Path) -> None:
    monitor = train(TensorBoardWriter(tmp_path))
    events = read(tmp_path)
    for name, value in scalars(monitor.history[1]).items():
        series = events.Scalars(f"goodinit/{name}")
        assert [point.step for point in series] == [0, 2, 4]
        assert series[1].value == pytest.approx(value, rel=1e-6)


def test_a_writer_of_the_user_stays_open(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    mine = SummaryWriter(str(tmp_path))
    train(TensorBoardWriter(mine, prefix="watch/"))
    mine.add_scalar("mine", 1.0, 0)
    mine.close()
    tags = read(tmp_path).Tags()["scalars"]
    assert "mine" in tags
    assert "watch/output_rms/0" in tags


def test_an_event_is_text_in_tensorboard(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.write(MonitorEvent(7, "layer_died", ("a",), None, "'a' died"))
    writer.close()
    events = read(tmp_path)
    (tag,) = events.Tags()["tensors"]
    assert tag.startswith("goodinit/events")
    assert events.Tensors(tag)[0].step == 7
    assert b"layer_died: 'a' died" in events.Tensors(tag)[0].tensor_proto.string_val[0]


class FakeRun:
    """Takes what a W&B run takes, and nothing else."""

    def __init__(self) -> None:
        self.metrics: dict[str, str | None] = {}
        self.logged: list[dict[str, Any]] = []
        self.alerts: list[tuple[str, str]] = []

    def define_metric(self, name: str, *, step_metric: str | None = None) -> None:
        self.metrics[name] = step_metric

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        assert step is None, "the run's own step belongs to the user"
        self.logged.append(data)

    def alert(self, title: str, text: str) -> None:
        self.alerts.append((title, text))


def test_wandb_gets_the_same_numbers_on_a_step_of_their_own() -> None:
    run = FakeRun()
    monitor = train(WandbWriter(run))
    assert run.metrics == {"goodinit/step": None, "goodinit/*": "goodinit/step"}
    assert [data["goodinit/step"] for data in run.logged] == [0, 2, 4]
    expected = {f"goodinit/{name}": value for name, value in scalars(monitor.history[2]).items()}
    assert run.logged[2] == {"goodinit/step": 4, **expected}
    assert monitor.log.notes == ()


def test_an_event_is_an_alert_in_wandb() -> None:
    run = FakeRun()
    WandbWriter(run).write(MonitorEvent(7, "layer_died", ("a",), None, "'a' died"))
    assert run.alerts == [("goodinit: layer_died", "step 7: 'a' died")]


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(WrongTypeError, match=r"run: expected what wandb\.init"):
        WandbWriter("project")
