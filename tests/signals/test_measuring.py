"""On an accelerator nothing waits for the device, and all that was measured comes over at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.signals.probing import measuring as room
from goodinit.signals.probing.attention import from_projections, from_weights
from goodinit.signals.probing.measuring import Vectors, fetch, measure_gradient, measure_output, merge
from goodinit.signals.probing.moments import sums
from goodinit.signals.probing.recorder import _bad_inputs


def _far(*shape: int) -> torch.Tensor:
    """A tensor that has no values to wait for: whoever asks for one gets an error."""
    return torch.empty(*shape, device="meta")


def test_a_meta_tensor_shows_who_waits() -> None:
    with pytest.raises(RuntimeError):
        _far(3).sum().item()
    with pytest.raises(RuntimeError):
        bool((_far(3) == 0).any())


@pytest.mark.parametrize(
    ("kind", "shape", "axis"),
    [("Linear", (5, 7), 1), ("Linear", (5, 9, 7), 2), ("Conv2d", (5, 7, 4, 4), 1), ("relu", (5, 7), 1)],
)
def test_outputs_and_gradients_are_measured_without_waiting(
    kind: str, shape: tuple[int, ...], axis: int
) -> None:
    found = {**measure_output(_far(*shape), kind, None, axis), **measure_gradient(_far(*shape), axis)}
    assert set(found) >= {"sums", "sample", "units", "varying", "correlation", "rank"}
    assert all(vector.device.type == "meta" for vector in found.values())
    assert all(vector.dtype == torch.float64 for vector in found.values())


def test_steps_saturation_and_whole_parameters_are_measured_without_waiting() -> None:
    assert "steps" in measure_output(_far(9, 5, 7), "LSTM", None, 2, samples=1, steps=0)
    assert "saturated" in measure_output(_far(5, 7), "sigmoid", nn.Sigmoid(), 1)
    assert sums(_far(300_000), counts=True).shape == (7,)
    assert _bad_inputs((_far(3, 4),), _far(3, 4), _far(7)).device.type == "meta"


def test_attention_is_measured_without_waiting() -> None:
    for mask in (None, _far(5, 1, 9, 9)):
        totals = from_projections(_far(5, 2, 9, 4), _far(5, 2, 9, 4), mask, causal=True)
        assert totals.shape == (2, 6)
    assert from_weights(_far(10, 9, 9), heads=2).shape == (2, 6)


@pytest.mark.parametrize(
    ("kind", "shape", "axis"),
    [("Linear", (5, 7), 1), ("Linear", (5, 9, 7), 2), ("Conv2d", (5, 7, 4, 4), 1), ("relu", (5, 7), 1)],
)
def test_single_and_double_precision_agree(kind: str, shape: tuple[int, ...], axis: int) -> None:
    tensor = torch.randn(*shape, dtype=torch.float64).relu()
    exact = measure_output(tensor, kind, None, axis)
    low = measure_output(tensor.float(), kind, None, axis)
    assert exact.keys() == low.keys()
    for key in exact:
        torch.testing.assert_close(low[key], exact[key], rtol=1e-5, atol=1e-6, equal_nan=True)


def test_fetched_vectors_keep_their_names_and_shapes() -> None:
    class Elsewhere(torch.Tensor):
        """A tensor that says it is on another device until it is brought over."""

        @property
        def device(self) -> torch.device:
            return torch.device("cuda")

        def cpu(self) -> torch.Tensor:
            moved.append(self.numel())
            return self.as_subclass(torch.Tensor)

    moved: list[int] = []
    one, two = torch.arange(6.0).view(2, 3), torch.tensor([7.0])
    found: list[Vectors] = [{"a": one.as_subclass(Elsewhere)}, {"b": two.as_subclass(Elsewhere), "c": two}]
    fetch(found)
    assert moved == [7]
    assert torch.equal(found[0]["a"], one)
    assert torch.equal(found[1]["b"], two)
    assert found[1]["c"] is two


def test_merged_vectors_add_up_and_those_that_do_not_fit_stay_with_the_first() -> None:
    into: Vectors = {"units": torch.tensor([2.0, 1.0]), "sample": torch.ones(2)}
    merge(into, {"units": torch.tensor([3.0, 5.0]), "sample": torch.zeros(3), "new": torch.ones(1)})
    merge(into, {"units": torch.ones(9)})
    assert into["units"].tolist() == [5.0, 6.0]
    assert into["sample"].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert into["new"].tolist() == [1.0]


def test_samples_of_many_batches_stay_bounded() -> None:
    into: Vectors = {}
    for _ in range(100):
        merge(into, {"sample": torch.ones(8)})
    assert into["sample"].numel() == 8 * room._HISTOGRAM_BATCHES
