"""Samples that are mixed although each has a target of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from goodinit.signals import check

BATCH = 12


class Last(nn.Module):
    """A sequence layer, read at its last step."""

    def __init__(self, kind: str, width: int, batch_first: bool) -> None:
        super().__init__()
        self.first = nn.Linear(5, width)
        if kind == "attention":
            self.core: nn.Module = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=batch_first)
        else:
            self.core = getattr(nn, kind)(width, width, batch_first=batch_first)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.core(self.first(x))
        return self.head((out[0] if isinstance(out, tuple) else out)[:, -1])


class Reshaped(nn.Module):
    """A convolution whose channels go last by a view, which may take samples apart."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.conv, self.head, self.apart = nn.Conv2d(1, 4, 3), nn.Linear(4, 3), apart

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = y.permute(2, 3, 0, 1).reshape(len(x), -1, 4) if self.apart else y.flatten(2).transpose(1, 2)
        return self.head(y.mean(1))


def first_label(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target.reshape(len(target), -1)[:, 0])


def codes(model: nn.Module, x: Tensor, target: Tensor | None = None) -> list[tuple[str, str]]:
    target = torch.randint(0, 3, x.shape[:1]) if target is None else target
    found = check(model, (x, target), loss=first_label, predict=False).findings
    return [(finding.code, finding.severity) for finding in found if finding.code == "GI128"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "attention"])
@pytest.mark.parametrize("width", [4, 16])
def test_a_layer_that_takes_the_batch_for_time_is_found(kind: str, width: int) -> None:
    x = torch.randn(BATCH, 7, 5)
    assert codes(Last(kind, width, batch_first=False), x) == [("GI128", "warning")]
    assert codes(Last(kind, width, batch_first=True), x) == []


def test_a_view_that_takes_samples_apart_is_found() -> None:
    x = torch.randn(BATCH, 1, 6, 6)
    assert codes(Reshaped(apart=True), x) == [("GI128", "warning")]
    assert codes(Reshaped(apart=False), x) == []


def test_the_statistics_of_batch_norm_and_dropout_mix_nothing_in_eval_mode() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )
    assert codes(model, torch.randn(BATCH, 1, 6, 6)) == []
    assert model.training
    assert int(model[1].num_batches_tracked) == 0


def test_nodes_and_steps_may_depend_on_each_other() -> None:
    class Averaged(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mean(0, keepdim=True) + x)

    # Rows of numbers may be nodes of a graph; of a target for each step nobody knows which dimension is time.
    assert codes(Averaged(5, 3), torch.randn(BATCH, 5)) == []
    steps = torch.randint(0, 3, (BATCH, 7))
    assert codes(Last("LSTM", 4, batch_first=False), torch.randn(BATCH, 7, 5), steps) == []


def test_targets_that_number_the_samples_pair_them_on_purpose() -> None:
    class Contrast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(30, 16), nn.Linear(30, 16)

        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            return self.one(flat) @ self.other(flat).T

    x = torch.randn(BATCH, 6, 5)
    assert codes(Contrast(), x, torch.arange(BATCH)) == []
    assert codes(Contrast(), x, torch.arange(BATCH).flip(0)) == [("GI128", "warning")]
