"""The Lightning callback, with the real Trainer on a tiny model."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning")

from lightning.pytorch import LightningModule, Trainer

from goodinit.integrations.lightning import MonitorCallback
from goodinit.records import MonitorLog


class Tiny(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        self.fails = False

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        if self.fails:
            raise RuntimeError("planted")
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch: Any, index: int) -> None:
        # A pass whose outputs would be seen if evaluation were not ignored.
        self.net(100 * batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(48, 6, generator=generator), torch.randint(2, (48,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=8)


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trainer(callback: MonitorCallback | None, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[] if callback is None else [callback],
        **{"max_epochs": 2, **options},
    )


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_optimizer_steps_are_measured_and_training_is_the_same(tmp_path: Path) -> None:
    callback, watched, plain = MonitorCallback(every=5), Tiny(), Tiny()
    trainer(callback).fit(watched, data(), data())
    trainer(None).fit(plain, data(), data())
    for a, b in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
    log = callback.run
    assert [step.step for step in log.steps] == [0, 5, 10]
    assert [layer.name for layer in log.steps[1].layers] == ["net.0", "net.1", "net.2"]
    assert all(step.loss is not None for step in log.steps)
    # Evaluation in between used inputs a hundred times as large.
    assert max(step.layers[0].output for step in log.steps) < 5
    assert hooks(watched) == 0
    assert list(tmp_path.iterdir()) == []


def test_gradients_are_of_this_step_though_lightning_computes_them_inside_the_optimizer() -> None:
    callback, model = MonitorCallback(every=1), Tiny()
    seen: list[torch.Tensor] = []

    class Look(MonitorCallback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            seen.append(pl_module.net[0].weight.grad.clone())

    both = trainer(None, max_epochs=1, max_steps=3)
    both.callbacks += [callback, Look(every=1000)]
    both.fit(model, data())
    measured = [step.parameters[0].gradient for step in callback.run.steps]
    assert measured == pytest.approx([float(g.double().square().mean()) for g in seen], rel=1e-5)
    assert measured[0] != measured[1]


def test_accumulated_batches_are_one_step() -> None:
    callback = MonitorCallback(every=1)
    trainer(callback, max_epochs=1, accumulate_grad_batches=3).fit(Tiny(), data())
    assert [step.step for step in callback.run.steps] == [0, 1]
    assert [step.layers[0].calls for step in callback.run.steps] == [3, 3]


def test_a_second_fit_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path, model = tmp_path / "run.jsonl", Tiny()
    trainer(MonitorCallback(every=2, path=path), max_epochs=1).fit(model, data())
    trainer(MonitorCallback(every=2, path=path), max_epochs=1).fit(model, data())
    log = MonitorLog.read(path)
    # A new trainer counts from 0 again, so that its course stands; the start is still that of the first fit.
    assert path.read_text().count('"goodinit": "monitor_step"') == 6
    assert [step.step for step in log.steps] == [0, 2, 4]
    before = json.loads(path.read_text().splitlines()[2])
    assert log.steps[0].kept is not None
    assert log.steps[0].kept < before["kept"]


def test_a_failing_training_leaves_no_hooks() -> None:
    callback, model = MonitorCallback(every=1), Tiny()
    model.fails = True
    with pytest.raises(RuntimeError, match="planted"):
        trainer(callback).fit(model, data())
    assert callback.monitor is not None
    assert hooks(model) == 0


def test_the_loss_of_accumulated_batches_is_the_models(tmp_path: Path) -> None:
    callback = MonitorCallback(every=1)
    trainer(callback, accumulate_grad_batches=3, max_epochs=1).fit(Tiny(), data())
    x, y = list(data())[2]
    torch.manual_seed(0)
    expected = nn.functional.cross_entropy(Tiny().net(x), y)
    assert callback.run.steps[0].loss == pytest.approx(float(expected), rel=1e-5)
