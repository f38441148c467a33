"""The transformers callback, with the real Trainer on a tiny language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from goodinit.integrations.transformers import MonitorCallback
from goodinit.records import MonitorLog


class Words(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __init__(self) -> None:
        self.rows = torch.randint(40, (24, 10), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=16))


def trained(folder: Path, callback: MonitorCallback | None, **options: Any) -> Any:
    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=4,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
        **{"max_steps": 5, **options},
    )
    trainer = Trainer(
        model=model(),
        args=arguments,
        train_dataset=Words(),
        eval_dataset=Words(),
        callbacks=[] if callback is None else [callback],
    )
    trainer.train()
    return trainer.model


def test_steps_are_measured_and_training_is_the_same(tmp_path: Path) -> None:
    callback = MonitorCallback(every=2)
    watched = trained(tmp_path, callback, eval_strategy="steps", eval_steps=2)
    plain = trained(tmp_path, None, eval_strategy="steps", eval_steps=2)
    for a, b in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
    log = callback.run
    assert [step.step for step in log.steps] == [0, 2, 4]
    assert log.notes == ()
    first = log.steps[0]
    assert first.loss == pytest.approx(torch.tensor(40.0).log().item(), abs=0.5)
    assert {"transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc"} <= {
        layer.name for layer in first.layers
    }
    assert all(layer.calls == 1 for step in log.steps for layer in step.layers)
    assert all(p.gradient is not None and p.update is not None for p in log.steps[1].parameters)


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    callback = MonitorCallback(every=1)
    trained(tmp_path, callback, max_steps=2, gradient_accumulation_steps=3)
    assert [step.step for step in callback.run.steps] == [0, 1]
    # Each batch's loss is divided by the tokens of all three.
    assert callback.run.steps[0].loss == pytest.approx(torch.tensor(40.0).log().item(), abs=0.5)
    assert all(layer.calls == 3 for layer in callback.run.steps[0].layers)


def test_the_file_can_be_read_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    callback = MonitorCallback(every=2, path=path)
    trained(tmp_path, callback, max_steps=3)
    assert MonitorLog.read(path).steps == callback.run.steps
    assert "GPT2LMHeadModel: nothing went wrong" in callback.run.to_text()
