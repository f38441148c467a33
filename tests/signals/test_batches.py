"""Batches that users pass, and batches that are made from the first layer."""

from __future__ import annotations

import warnings
from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.signals import probe


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class HeadFirst(nn.Module):
    """Registers its head before the trunk that its input meets first."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.trunk = nn.Linear(7, 2), nn.Conv2d(3, 7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(5, 2), "float32(64, 5)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), "float32(64, 5)"),
        (nn.Conv1d(4, 2, 3), "float32(32, 4, 64)"),
        (nn.Conv2d(3, 2, 3), "float32(32, 3, 32, 32)"),
        (nn.Conv3d(2, 2, 3), "float32(8, 2, 16, 16, 16)"),
        (nn.ConvTranspose2d(3, 2, 3), "float32(32, 3, 32, 32)"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 2)),
            "float32(32, 1, 28, 28)",
        ),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2)), "float32(32, 1, 8, 8)"),
        (nn.Embedding(9, 4), "int64(32, 32)"),
        (nn.EmbeddingBag(9, 4), "int64(64, 8)"),
        (nn.LSTM(5, 4), "float32(16, 32, 5)"),
        (nn.GRU(5, 4, batch_first=True), "float32(32, 16, 5)"),
        (nn.GRUCell(5, 4), "float32(64, 5)"),
        (nn.BatchNorm2d(3), "float32(32, 3, 32, 32)"),
        (nn.LayerNorm(6), "float32(64, 6)"),
        (nn.GroupNorm(2, 4), "float32(32, 4, 32, 32)"),
        (nn.Bilinear(3, 4, 2), "float32(64, 3), float32(64, 4)"),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "float32(16, 32, 8)"),
        (Raw(), "float32(64, 5)"),
        (HeadFirst(), "float32(32, 3, 32, 32)"),
        (nn.Linear(5, 2).double(), "float64(64, 5)"),
    ],
)
def test_a_batch_is_made_for_the_first_layer(model: nn.Module, shape: str) -> None:
    assert probe(model).batch.startswith(f"{shape}, made for ")


def test_roots_with_several_inputs_get_them() -> None:
    attention = probe(nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)).batch
    assert attention.startswith("float32(16, 32, 8), float32(16, 32, 6), float32(16, 32, 4)")
    transformer = probe(nn.TransformerDecoderLayer(8, 2, 16)).batch
    assert transformer.startswith("float32(24, 16, 8), float32(32, 16, 8)")


def test_made_pictures_have_second_moment_one_and_survive_pooling() -> None:
    seen = probe(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    # 32 images × 3 channels share 96 offsets of variance 1/3: the std of the second moment is below 0.1.
    assert seen.input.second_moment == pytest.approx(1.0, abs=0.5)
    pooled = seen.layers[-1]
    assert pooled.varying / pooled.output.second_moment > 0.3


def test_pretrained_models_are_known_by_their_attributes_alone() -> None:
    class Words(nn.Module):
        main_input_name = "input_ids"

        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(vocab_size=11, max_position_embeddings=6)
            self.table = nn.Embedding(11, 4)

        def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.table(input_ids)}

    assert probe(Words()).batch == "input_ids=int64(8, 6), made from the configuration of Words"


def test_no_batch_can_be_made_without_a_first_layer() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    with pytest.raises(ExampleError, match=r"could not make one for Two: found no first layer.*Pass one"):
        probe(Two())


def test_the_error_names_what_was_tried_and_the_models_own_reason() -> None:
    class Picky(nn.Linear):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + y

    with pytest.raises(ExampleError, match=r"tried float32\(64, 3\).*missing 1 required positional argument"):
        probe(Picky(3, 2))


def test_a_rejected_batch_shows_the_shapes_the_reason_and_the_cure() -> None:
    with pytest.raises(ExampleError) as caught:
        probe(nn.Linear(5, 2), torch.randn(3, 4))
    message = str(caught.value)
    assert "Linear rejected it (float32(3, 4))" in message
    assert "mat1 and mat2 shapes cannot be multiplied" in message
    assert "a dict of keyword arguments" in message


def test_inputs_and_targets_without_a_loss_get_a_hint() -> None:
    with pytest.raises(ExampleError, match=r"If this is \(inputs, targets\), pass a loss"):
        probe(nn.Linear(5, 2), [torch.randn(3, 5), torch.zeros(3)])
    with pytest.raises(ExampleError) as caught:
        probe(nn.Linear(5, 2), torch.randn(3, 4))
    assert "targets" not in str(caught.value)


def test_tuples_are_positional_arguments_and_mappings_keywords() -> None:
    model = nn.Bilinear(3, 4, 2)
    a, b = torch.randn(5, 3), torch.randn(5, 4)
    assert probe(model, (a, b)).layers == probe(model, [a, b]).layers
    assert probe(model, {"input1": a, "input2": b}).layers == probe(model, (a, b)).layers
    assert probe(model, UserDict(input1=a, input2=b)).layers == probe(model, (a, b)).layers


def test_a_loss_of_two_arguments_takes_its_target_from_the_pair() -> None:
    model, x, y = nn.Linear(4, 3), torch.randn(6, 4), torch.randint(3, (6,))
    wanted = functional.cross_entropy(model(x), y).item()
    assert probe(model, (x, y), loss=functional.cross_entropy).loss == pytest.approx(wanted)
    assert probe(model, (x, y), loss=nn.CrossEntropyLoss()).loss == pytest.approx(wanted)
    assert probe(model, [x, y], loss=lambda o, t: functional.cross_entropy(o, t)).loss == pytest.approx(
        wanted
    )
    assert probe(model, ((x,), y), loss=functional.cross_entropy).loss == pytest.approx(wanted)
    assert probe(model, ({"input": x}, y), loss=functional.cross_entropy).loss == pytest.approx(wanted)


def test_a_loss_of_one_argument_leaves_the_batch_to_the_model() -> None:
    model, a, b = nn.Bilinear(3, 4, 2), torch.randn(5, 3), torch.randn(5, 4)
    seen = probe(model, (a, b), loss=lambda output: output.square().mean())
    assert seen.loss == pytest.approx(model(a, b).square().mean().item())


def test_a_loss_with_a_target_needs_a_pair() -> None:
    with pytest.raises(ExampleError, match=r"must be the pair \(inputs, targets\); got float32\(3, 4\)"):
        probe(nn.Linear(4, 2), torch.randn(3, 4), loss=functional.mse_loss)
    with pytest.raises(ExampleError, match="got no batch"):
        probe(nn.Linear(4, 2), loss=functional.mse_loss)


def test_losses_that_return_no_scalar_are_refused() -> None:
    model, batch = nn.Linear(4, 2), torch.randn(3, 4)
    with pytest.raises(ArgumentError, match=r"returned shape \(3, 2\).*\.mean\(\)"):
        probe(model, batch, loss=lambda output: output)
    with pytest.raises(WrongTypeError, match="returned float"):
        probe(model, batch, loss=lambda output: 1.0)
    with pytest.raises(WrongTypeError, match="expected a callable"):
        probe(model, batch, loss="mse")
    with pytest.raises(ArgumentError, match="takes 3 positional arguments"):
        probe(model, batch, loss=lambda a, b, c: a)


def test_a_loss_that_does_not_fit_is_told_with_what_it_was_given() -> None:
    batch = (torch.randn(4, 3), torch.randn(4))
    with pytest.raises(ArgumentError, match=r"loss: it failed on \(float32\(4, 2\); float32\(4,\)\)"):
        probe(nn.Linear(3, 2), batch, loss=nn.functional.cross_entropy)


@pytest.mark.parametrize("empty", [torch.randn(0, 3), (torch.randn(0, 3),), {"input": torch.randn(0, 3)}])
def test_an_empty_batch_is_refused(empty: object) -> None:
    with pytest.raises(ExampleError, match=r"batch: it is empty, of shape \(0, 3\)"):
        probe(nn.Linear(3, 2), empty)


def test_torchscript_is_refused_with_what_to_check_instead() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.trace(nn.Linear(3, 2), torch.randn(4, 3))
    with pytest.raises(WrongTypeError, match="it is TorchScript"):
        probe(script, torch.randn(4, 3))
    with pytest.raises(WrongTypeError, match="its part '1' is TorchScript"):
        probe(nn.Sequential(nn.Linear(3, 3), script), torch.randn(4, 3))


def test_outputs_may_be_nested_and_carry_their_own_loss() -> None:
    @dataclass
    class Output:
        logits: torch.Tensor
        loss: torch.Tensor | None
        extras: tuple[dict[str, torch.Tensor], ...]

    class Model(nn.Module):
        def __init__(self, with_loss: bool) -> None:
            super().__init__()
            self.a, self.with_loss = nn.Linear(4, 4), with_loss

        def forward(self, x: torch.Tensor) -> Output:
            y = self.a(x)
            return Output(y, y.square().mean() if self.with_loss else None, ({"z": y * 2},))

    batch = torch.randn(16, 4)
    assert probe(Model(False), batch).loss is None
    # y receives v₁ + 2 v₂, of second moment 5; 64 elements, so ±4 is beyond 4 sigma on either side of 1.
    assert 1.5 < probe(Model(False), batch).layers[0].gradient.second_moment < 10
    assert probe(Model(True), batch).loss > 0


def test_a_model_that_sets_requires_grad_on_its_input_is_measured() -> None:
    class Sets(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.requires_grad = True
            return super().forward(x)

    batch = torch.randn(4, 3)
    assert probe(Sets(3, 2), batch).layers[0].gradient is not None
    assert not batch.requires_grad
