"""When a GPU's tensor goes to the kernel, and what happens where it cannot."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch

from goodinit.rng import Region, fill_normal_, fill_truncated_normal_, fill_uniform_, gpu, native
from goodinit.rng.native import Law

NORMAL = Law("normal", (0.0, 1.0))


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    gpu._trusted.cache_clear()
    yield
    gpu._trusted.cache_clear()


@pytest.fixture
def card() -> Iterator[None]:
    """A card of which all that is asked before a launch can be answered."""
    with (
        mock.patch.object(gpu, "_has_triton", return_value=True),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=(9, 0)),
        mock.patch.object(torch.cuda, "get_device_name", return_value="A Card"),
    ):
        yield


def trusted() -> bool:
    return gpu._trusted(0, "normal", torch.float32)


@pytest.mark.usefixtures("card")
def test_a_card_is_tried_once() -> None:
    with mock.patch.object(gpu, "_agrees", return_value=True) as tried:
        assert trusted()
        assert trusted()
    assert tried.call_count == 1


@pytest.mark.usefixtures("card")
def test_a_card_with_other_bits_is_told_and_not_used() -> None:
    with (
        mock.patch.object(gpu, "_agrees", return_value=False),
        pytest.warns(RuntimeWarning, match=r"other bits than the reference .*A Card.* copied"),
    ):
        assert not trusted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not trusted()


@pytest.mark.usefixtures("card")
def test_a_kernel_that_does_not_compile_is_told_and_not_used() -> None:
    with (
        mock.patch.object(gpu, "_agrees", side_effect=OSError("no C compiler")),
        pytest.warns(RuntimeWarning, match="does not run .OSError: no C compiler"),
    ):
        assert not trusted()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (gpu, "_has_triton", mock.Mock(return_value=False)),
        (torch.cuda, "get_device_capability", mock.Mock(return_value=(7, 5))),
        (torch.version, "hip", "6.4"),
    ],
)
def test_without_triton_or_on_other_cards_nothing_is_tried(place: object, name: str, value: object) -> None:
    with mock.patch.object(place, name, value), mock.patch.object(gpu, "_agrees") as tried:
        assert not trusted()
    assert not tried.called


def test_a_tensor_of_the_cpu_is_not_for_the_kernel() -> None:
    assert not gpu.can_write(torch.empty(3), NORMAL)


def test_filling_on_the_cpu_loads_no_triton() -> None:
    with mock.patch.dict(sys.modules, {"triton": None}):
        assert fill_normal_(torch.empty(3), 1, 0.0, 1.0).isfinite().all()


def test_what_the_kernels_cannot_reach_gets_a_copy_of_what_they_write() -> None:
    if native.instruction_set() is None:
        pytest.skip("the kernels are not built here")
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for fill, numbers in (
            (fill_normal_, (0.5, 2.0)),
            (fill_uniform_, (-1.0, 1.0)),
            (fill_truncated_normal_, (0.0, 1.0, 2.0, math.inf)),
        ):
            wanted = fill(torch.empty(7, 9, dtype=dtype), 5, *numbers)
            # A view that negates stands for the memory of a device: nothing but copy_ can write to it.
            found = torch._neg_view(torch.zeros(7, 9, dtype=dtype))
            with mock.patch.object(native, "write_box", wraps=native.write_box) as written:
                fill(found, 5, *numbers)
            assert written.called
            assert torch.equal(found, wanted)


class Launches(ModuleType):
    """Stands for the kernel's module and keeps how it is launched."""

    def __init__(self) -> None:
        super().__init__("goodinit.rng.gpu_kernel")
        self.chosen: dict[str, Any] = {}
        self.fill_box = {(programs,): self.launch for programs in range(1, 100)}

    def launch(self, *arguments: object, **chosen: object) -> None:
        self.chosen = chosen

    def of(self, tensor: torch.Tensor, region: Region | None = None) -> dict[str, Any]:
        with mock.patch.dict(sys.modules, {self.__name__: self}):
            gpu.write_box(tensor, 1, 0, region, NORMAL, None)
        return self.chosen


def test_a_launch_forbids_contracting_products_and_sums() -> None:
    assert Launches().of(torch.zeros(9))["enable_fp_fusion"] is False


@pytest.mark.parametrize(
    ("tensor", "start", "aligned"),
    [
        (torch.zeros(100), 0, True),
        (torch.zeros(100), 4, True),
        (torch.zeros(100), 2, False),
        (torch.zeros(100)[4:], 0, True),
        (torch.zeros(100)[1:], 0, False),
        (torch.zeros(100)[::2], 0, False),
        (torch.zeros(100, dtype=torch.bfloat16)[4:], 0, False),
        (torch.zeros(100, dtype=torch.bfloat16)[8:], 0, True),
    ],
)
def test_only_memory_at_multiples_of_16_bytes_is_written_in_vectors(
    tensor: torch.Tensor, start: int, aligned: bool
) -> None:
    # A card refuses a vector that lies across; the interpreter would not tell.
    region = Region((1000,), (start,), (tensor.numel(),))
    assert Launches().of(tensor, region)["aligned"] is aligned


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_on_a_real_gpu_the_kernel_is_used_and_agrees(dtype: torch.dtype) -> None:
    wanted = fill_normal_(torch.empty(300, 70, dtype=dtype), 5, 0.5, 2.0)
    with mock.patch.object(gpu, "write_box", wraps=gpu.write_box) as written:
        found = fill_normal_(torch.empty(300, 70, dtype=dtype, device="cuda"), 5, 0.5, 2.0)
    assert written.called
    assert torch.equal(found.cpu().view(torch.uint8), wanted.view(torch.uint8))
    with mock.patch.object(gpu, "can_write", return_value=False):
        copied = fill_normal_(torch.empty(300, 70, dtype=dtype, device="cuda"), 5, 0.5, 2.0)
    assert torch.equal(copied.cpu().view(torch.uint8), wanted.view(torch.uint8))
