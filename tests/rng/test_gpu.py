"""The Triton kernel gives the reference's bits: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from goodinit.rng import Region, fill_normal_, fill_truncated_normal_, fill_uniform_, gpu, native, writing
from goodinit.rng.native import Law

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FILLS = {"uniform": fill_uniform_, "normal": fill_normal_, "truncated_normal": fill_truncated_normal_}
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
KERNELS = ("goodinit.rng.gpu_arithmetic", "goodinit.rng.gpu_kernel")
# The interpreter computes what it does not store, such as the logarithm in the piece that is not chosen.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def script(name: str) -> ModuleType:
    """A script of benchmarks/, which import each other by their bare names."""
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(path.parent), *sys.path]), mock.patch.dict(sys.modules):
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


random_case = script("kernel_agreement").random_case


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """The kernel's modules; where there is no GPU, made for the interpreter, which is chosen at import."""
    with (
        mock.patch.dict(sys.modules),
        mock.patch.dict(os.environ, {"TRITON_INTERPRET": str(int(DEVICE == "cpu"))}),
    ):
        for name in KERNELS:
            sys.modules.pop(name, None)
        return {name: importlib.import_module(name) for name in KERNELS}


@pytest.fixture(autouse=True)
def kernel(modules: dict[str, ModuleType]) -> Iterator[ModuleType]:
    """Send fills to the kernel, whatever the device; everything else fails the test."""
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(native, "instruction_set", return_value=None),
        mock.patch.object(gpu, "can_write", return_value=True),
        mock.patch.object(writing, "_box_values", side_effect=AssertionError("the reference ran")),
    ):
        yield modules[KERNELS[1]]


REFERENCE = writing._box_values


@contextmanager
def reference() -> Iterator[None]:
    """Send fills to the reference again."""
    with (
        mock.patch.object(gpu, "can_write", return_value=False),
        mock.patch.object(writing, "_box_values", REFERENCE),
    ):
        yield


def expected(law: str, tensor: torch.Tensor, *arguments: Any, **options: Any) -> None:
    """Fill by the reference."""
    with reference():
        FILLS[law](tensor, *arguments, **options)


def agrees(law: str) -> bool:
    """The trial that a card must pass."""
    with reference():
        return gpu._agrees(torch.device(DEVICE), law, torch.float32)


def filled(case: Any, by_reference: bool) -> torch.Tensor:
    """The bytes of a case's whole memory."""
    device = "cpu" if by_reference else DEVICE
    memory = torch.zeros(case.memory, dtype=case.dtype, device=device)
    tensor = memory.permute(case.order)[..., :: case.step]
    arguments: tuple[Any, ...] = (tensor, case.key, *case.parameters)
    options = {"region": case.region, "stream": case.stream}
    if by_reference:
        expected(case.law, *arguments, **options)
    else:
        FILLS[case.law](*arguments, **options)
    return memory.cpu().reshape(-1).view(torch.uint8)


def differing(cases: list[Any]) -> list[Any]:
    return [case for case in cases if not torch.equal(filled(case, False), filled(case, True))]


@pytest.mark.parametrize("law", FILLS)
def test_known_answers_come_out(law: str) -> None:
    file = json.loads((ROOT / "tests" / "vectors" / "fills.json").read_text(encoding="ascii"))
    cases = [case for case in file["content"] if case["law"] == law]
    assert len(cases) >= 20
    for case in cases:
        values = [int(value, 16) for value in case["values"]]
        tensor = torch.empty(len(values), dtype=DTYPES[case["dtype"]], device=DEVICE)
        region = Region((2**64,), (int(case["start"], 16),), (len(values),))
        parameters = [float(number) for number in case["parameters"]]
        FILLS[law](tensor, int(case["key"], 16), *parameters, region=region, stream=case["stream"])
        width = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        found = [v % 2 ** (8 * tensor.element_size()) for v in tensor.cpu().view(width).tolist()]
        assert found == values, case


def test_random_fills_are_the_references_bit_for_bit() -> None:
    source = random.Random(1)
    assert differing([random_case(source) for _ in range(120)]) == []


# Global shape, start and size of a box, and the shape of the memory whose corner it fills. The kernel has
# a way for rows that start at words 0 of aligned memory, one for others, and one for short rows.
BOXES = {
    "aligned rows": ((40, 512), (3, 0), (2, 512), (2, 512)),
    "aligned rows that end in a tile": ((40, 512), (3, 16), (2, 396), (2, 400)),
    "aligned rows apart": ((5, 6, 400), (1, 2, 0), (2, 2, 320), (2, 3, 400)),
    "rows at other multiples than of 16": ((40, 512), (3, 16), (3, 396), (3, 404)),
    "rows from any word": ((40, 511), (3, 17), (2, 403), (2, 403)),
    "short rows": ((8, 6, 65), (1, 2, 8), (3, 3, 48), (3, 3, 49)),
    "columns": ((90, 9), (0, 3), (90, 1), (90, 1)),
    "four dimensions": ((5, 4, 3, 70), (1, 1, 0, 5), (2, 2, 2, 60), (3, 2, 2, 64)),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_boxes_in_all_layouts_agree(box: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> None:
    shape, start, size, memory = box
    found, wanted = torch.zeros(memory, dtype=dtype, device=DEVICE), torch.zeros(memory, dtype=dtype)
    corner = tuple(slice(0, length) for length in size)
    region = Region(shape, start, size)
    with mock.patch.object(gpu, "_BLOCKS", 64):
        fill_normal_(found[corner], 11, 0.5, 2.0, region=region)
    expected("normal", wanted[corner], 11, 0.5, 2.0, region=region)
    assert wanted[corner].all()
    assert torch.equal(found.cpu().view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.parametrize("start", [0, 1, 2, 3, 2**34 - 132, 2**64 - 520])
def test_the_ends_of_tiles_agree_and_what_follows_stays(start: int) -> None:
    with mock.patch.object(gpu, "_BLOCKS", 64):
        for count in (1, 253, 256, 257, 515):
            region = Region((2**64,), (start,), (count,))
            found, wanted = torch.zeros(count + 9, device=DEVICE), torch.zeros(count + 9)
            fill_uniform_(found[:count], 5, 1.0, 2.0, region=region)
            expected("uniform", wanted[:count], 5, 1.0, 2.0, region=region)
            assert torch.equal(found.cpu().view(torch.int32), wanted.view(torch.int32)), count


# Intervals that meet the quantile's centre alone, its tail alone and both, on one side of 0 and on two.
INTERVALS = [(-2.0, 2.0), (0.0, 1.0), (2.0, 4.0), (-4.0, -2.0), (-5.0, 1e-3), (30.0, math.inf), (-1.0, 3.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_piece_of_the_quantile_agrees(dtype: torch.dtype) -> None:
    pieces = set()
    real_pieces = gpu._pieces

    def recorded(law: Law, real: type[np.floating[Any]]) -> str:
        pieces.add((bool(law.left_count), real_pieces(law, real)))
        return real_pieces(law, real)

    with mock.patch.object(gpu, "_pieces", recorded):
        for low, high in INTERVALS:
            found, wanted = torch.empty(2048, dtype=dtype, device=DEVICE), torch.empty(2048, dtype=dtype)
            fill_truncated_normal_(found, 3, 0.0, 1.0, low, high)
            expected("truncated_normal", wanted, 3, 0.0, 1.0, low, high)
            assert torch.equal(found.cpu().view(torch.uint8), wanted.view(torch.uint8)), (low, high)
    assert pieces == {(False, "centre"), (False, "both"), (False, "tail"), (True, "centre"), (True, "both")}


def test_the_greatest_and_least_normal_values_are_finite() -> None:
    # A million normal values hold both ends of the radius; the interpreter takes as many as it can afford.
    for dtype in DTYPES.values():
        tensor = torch.full(
            (1_000_000 if DEVICE == "cuda" else 20_000,), math.nan, dtype=dtype, device=DEVICE
        )
        assert fill_normal_(tensor, 1, 0.0, 1.0).isfinite().all()


def test_autograd_progress_and_streams_are_as_on_the_cpu() -> None:
    weight, counts = torch.zeros(9, device=DEVICE, requires_grad=True), list[int]()
    product = (weight * weight).sum()
    fill_normal_(weight, 1, 0.0, 1.0, stream=2**32 - 1, progress=counts.append)
    assert counts == [9]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    wanted = torch.zeros(9)
    expected("normal", wanted, 1, 0.0, 1.0, stream=2**32 - 1)
    assert torch.equal(weight.detach().cpu(), wanted)


interpreted = pytest.mark.skipif(DEVICE == "cuda", reason="plants its fault in the interpreter")


@interpreted
@pytest.mark.parametrize("law", FILLS)
def test_a_wrong_last_place_of_a_constant_is_caught(law: str, modules: dict[str, ModuleType]) -> None:
    arithmetic = modules[KERNELS[0]]
    name = {"uniform": "W1", "normal": "ANGLE_32", "truncated_normal": "CENTRE_32"}[law]
    value = getattr(arithmetic, name).value
    if isinstance(value, int):
        wrong: Any = value + 1
    elif isinstance(value, float):
        wrong = float(np.nextafter(np.float32(value), np.float32(0)))
    else:
        wrong = (float(np.nextafter(np.float32(value[0]), np.float32(0))), *value[1:])
    assert agrees(law)
    with mock.patch.object(arithmetic, name, type(getattr(arithmetic, name))(wrong)):
        assert not agrees(law)


@interpreted
def test_a_product_and_sum_rounded_once_are_caught(modules: dict[str, ModuleType]) -> None:
    from triton.runtime import interpreter

    # A sum takes over the product that it was given, as a compiler does that contracts the two.
    exact: dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
    builder = interpreter.InterpreterBuilder
    multiply, add = builder.create_fmul, builder.create_fadd

    def remembering(self: Any, a: Any, b: Any) -> Any:
        product = multiply(self, a, b)
        exact[id(product.data)] = (product.data, a.data.astype(np.float64) * b.data)
        return product

    def contracting(self: Any, a: Any, b: Any) -> Any:
        total = add(self, a, b)
        if id(a.data) in exact:
            total.data = (exact[id(a.data)][1] + b.data).astype(total.data.dtype)
        return total

    for law in ("normal", "truncated_normal"):
        assert agrees(law)
        with (
            mock.patch.object(builder, "create_fmul", remembering),
            mock.patch.object(builder, "create_fadd", contracting),
        ):
            assert not agrees(law)


@interpreted
def test_a_row_taken_for_its_neighbour_is_caught() -> None:
    box = BOXES["rows from any word"]
    real = gpu._outer
    with (
        mock.patch.object(gpu, "_outer", lambda *arguments: real(*arguments) + np.array([0, 0, 1])),
        pytest.raises(AssertionError),
    ):
        test_boxes_in_all_layouts_agree(box, torch.float32)
