"""The C++ kernels give the reference's bits, on every instruction set, layout and thread count."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch

from goodinit.errors import ArgumentError, TensorError
from goodinit.rng import Region, fill_normal_, fill_truncated_normal_, fill_uniform_, native, writing

ROOT = Path(__file__).resolve().parents[2]
FILLS = {"uniform": fill_uniform_, "normal": fill_normal_, "truncated_normal": fill_truncated_normal_}
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_kernels = pytest.importorskip(
    "goodinit._kernels", reason="the kernels are not built here", exc_type=ImportError
)
SETS = _kernels.instruction_sets()


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


agreement = script("kernel_agreement")


@contextmanager
def running(name: str | None) -> Iterator[None]:
    with mock.patch.object(native, "instruction_set", return_value=name):
        yield


def equal_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


@pytest.mark.parametrize("name", SETS)
def test_known_answers_come_out_of_every_kernel(name: str) -> None:
    file = json.loads((ROOT / "tests" / "vectors" / "fills.json").read_text(encoding="ascii"))
    for case in file["content"]:
        values = [int(value, 16) for value in case["values"]]
        tensor = torch.empty(len(values), dtype=DTYPES[case["dtype"]])
        region = Region((2**64,), (int(case["start"], 16),), (len(values),))
        parameters = [float(number) for number in case["parameters"]]
        with running(name):
            FILLS[case["law"]](
                tensor, int(case["key"], 16), *parameters, region=region, stream=case["stream"]
            )
        width = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        found = [v % 2 ** (8 * tensor.element_size()) for v in tensor.view(width).tolist()]
        assert found == values, case


@pytest.mark.parametrize("name", SETS)
def test_random_fills_are_the_references_bit_for_bit(name: str) -> None:
    source = random.Random(1)
    for _ in range(1500):
        case = agreement.random_case(source)
        assert torch.equal(agreement.values(case, name), agreement.values(case, None)), case


@pytest.mark.parametrize("name", SETS)
def test_every_boundary_of_blocks_and_groups_agrees(name: str) -> None:
    # Lengths and starts past two of the largest group (64 elements), at the carry into the high word.
    for start in (*range(70), *range(2**34 - 70, 2**34 + 5), 2**64 - 200):
        for count in (1, 3, 63, 64, 65, 130):
            case = agreement.Case(
                "normal",
                (0.0, 1.0),
                5,
                0,
                torch.float32,
                Region((2**64,), (start,), (count,)),
                (count,),
                (0,),
                1,
            )
            assert torch.equal(agreement.values(case, name), agreement.values(case, None)), case


def test_the_comparison_sees_a_wrong_stream() -> None:
    source = random.Random(2)
    cases = [agreement.random_case(source) for _ in range(300)]
    real = _kernels.fill_box

    def off_by_one_stream(*arguments: Any) -> None:
        real(*arguments[:14], arguments[14] ^ 1, *arguments[15:])

    with mock.patch.object(_kernels, "fill_box", off_by_one_stream):
        wrong = [not torch.equal(agreement.values(c, SETS[0]), agreement.values(c, None)) for c in cases]
    # A few cases draw one value everywhere, such as an interval narrower than bfloat16 can tell apart.
    drawn = [w for c, w in zip(cases, wrong, strict=True) if c.region.numel > 4]
    assert sum(drawn) > 0.9 * len(drawn)
    assert not any(w for c, w in zip(cases, wrong, strict=True) if c.region.numel == 0)


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_threads_and_progress_change_nothing(dtype: torch.dtype) -> None:
    shape, counts = (3, 200_003), list[int]()
    alone = fill_normal_(torch.empty(shape, dtype=dtype), 3, 0.0, 1.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = fill_normal_(torch.empty(shape, dtype=dtype), 3, 0.0, 1.0)
        sliced = fill_normal_(torch.empty(shape, dtype=dtype), 3, 0.0, 1.0, progress=counts.append)
        turned = fill_normal_(torch.empty(shape[::-1], dtype=dtype).T, 3, 0.0, 1.0)
    finally:
        torch.set_num_threads(before)
    assert equal_bits(alone, together)
    assert equal_bits(alone, sliced)
    assert equal_bits(alone, turned)
    assert len(counts) > 1
    assert sum(counts) == alone.numel()


@pytest.mark.parametrize("name", SETS)
def test_misaligned_memory_is_filled_and_its_neighbours_stay(name: str) -> None:
    for dtype in DTYPES.values():
        size = torch.empty((), dtype=dtype).element_size()
        for shift in range(1, 70, 7):
            memory = torch.zeros(size * 400 + 80, dtype=torch.uint8)
            tensor = torch.frombuffer(memory.numpy().data, dtype=dtype, count=300, offset=shift)
            with running(name):
                fill_uniform_(tensor, 9, 1.0, 2.0)
            with running(None):
                expected = fill_uniform_(torch.empty(300, dtype=dtype), 9, 1.0, 2.0)
            assert torch.equal(memory[shift : shift + 300 * size], expected.view(torch.uint8))
            assert not memory[:shift].any()
            assert not memory[shift + 300 * size :].any()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("off", [0, 1, 16])
def test_what_is_written_past_the_caches_is_what_its_parts_are(name: str, dtype: str, off: int) -> None:
    # Above 4 MiB, and only where the memory is aligned, whole vectors are streamed.
    rows, columns = 1100, 2048
    memory = torch.full((rows * columns + 33,), 7.0, dtype=DTYPES[dtype])
    whole = memory[off : off + rows * columns].view(rows, columns)
    with running(name):
        fill_normal_(whole, 11, 0.0, 1.0)
        for start in (0, 7, 1092):
            part = torch.empty(8, columns, dtype=DTYPES[dtype])
            box = Region((rows, columns), (start, 0), (8, columns))
            fill_normal_(part, 11, 0.0, 1.0, region=box)
            assert torch.equal(whole[start : start + 8], part)
    assert torch.equal(memory[:off], torch.full((off,), 7.0, dtype=DTYPES[dtype]))
    assert bool((memory[off + rows * columns :] == 7).all())


def test_nothing_and_one_element_are_fine() -> None:
    for shape in ((0,), (3, 0), (0, 2**40), ()):
        for name in (*SETS, None):
            with running(name):
                tensor = fill_normal_(torch.zeros(shape), 1, 0.0, 1.0)
            assert tensor.shape == shape
            assert tensor.isfinite().all()
    assert fill_normal_(torch.zeros(()), 1, 0.0, 1.0).item() != 0


def test_overlapping_strides_are_one_clear_error() -> None:
    memory = torch.zeros(8)
    with pytest.raises(TensorError, match="share memory"):
        fill_normal_(memory.as_strided((4, 4), (1, 1)), 1, 0.0, 1.0)
    with pytest.raises(TensorError, match="share memory"):
        fill_normal_(memory[:1].expand(6), 1, 0.0, 1.0)
    assert not memory.any()


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the kernels cannot ask whether memory is writable"
)
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_read_only_memory_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(1 << 16))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        tensor = torch.frombuffer(view, dtype=torch.float32)
        with pytest.raises(TensorError, match="read-only: clone"):
            fill_normal_(tensor, 1, 0.0, 1.0)
        with pytest.raises(TensorError, match="read-only: clone"):
            general(fill_normal_, tensor[::2], 0.0, 1.0)
        with pytest.raises(TensorError, match="read-only: clone"):
            fill_normal_(tensor[:1], 1, 0.0, 1.0)
        del tensor
    assert path.read_bytes() == bytes(1 << 16)


def general(fill: Any, tensor: torch.Tensor, *numbers: float, **where: Any) -> torch.Tensor:
    """Fill by the path of all tensors: a callback keeps the common case out."""
    return fill(tensor, 9, *numbers, progress=lambda count: None, **where)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize(("law", "numbers"), [("normal", (0.5, 2)), ("uniform", (-1, 0.25))])
def test_the_common_case_has_the_bits_of_the_general_one(
    law: str, numbers: tuple[float, float], dtype: torch.dtype
) -> None:
    for count in (1, 7, 1000, 300_000):
        tensor = torch.zeros(count, dtype=dtype)
        assert native.common(tensor, 9, 3, *numbers)
        with mock.patch.object(writing, "write_", side_effect=AssertionError("the general path ran")):
            FILLS[law](tensor, 9, *numbers, stream=3)
        assert equal_bits(tensor, general(FILLS[law], torch.zeros(count, dtype=dtype), *numbers, stream=3))
        assert not equal_bits(tensor, general(FILLS[law], torch.zeros(count, dtype=dtype), *numbers))


def test_other_devices_and_dtypes_go_the_old_way() -> None:
    assert not native.can_write(torch.empty(3, device="meta"))
    assert not native.can_write(torch.empty(3, dtype=torch.float8_e4m3fn))
    narrow = fill_normal_(torch.empty(40, dtype=torch.float8_e4m3fn), 1, 0.0, 1.0)
    whole = fill_normal_(torch.empty(40), 1, 0.0, 1.0)
    assert equal_bits(narrow, whole.to(torch.float8_e4m3fn))
    negated = torch._neg_view(torch.zeros(40))
    assert not native.can_write(negated)
    assert torch.equal(fill_normal_(negated, 1, 0.0, 1.0), whole)


def test_autograd_and_inference_mode_see_the_write() -> None:
    weight = torch.zeros(3, requires_grad=True)
    product = (weight * weight).sum()
    fill_normal_(weight, 1, 0.0, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    with torch.inference_mode():
        inner = fill_normal_(torch.zeros(3), 1, 0.0, 1.0)
    assert torch.equal(inner, weight.detach())
    with pytest.raises(RuntimeError, match=r"[Ii]nference"):
        fill_normal_(inner, 2, 0.0, 1.0)


def test_rounding_modes_of_the_caller_change_nothing() -> None:
    plain = fill_normal_(torch.empty(1000), 1, 0.0, 1e-38)
    assert (plain.abs() < torch.finfo(torch.float32).tiny).any()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        flushed = fill_normal_(torch.empty(1000), 1, 0.0, 1e-38)
    finally:
        torch.set_flush_denormal(False)
    assert equal_bits(plain, flushed)


def test_bad_calls_of_the_bindings_raise() -> None:
    memory = torch.zeros(4)
    good: dict[str, Any] = {
        "data": memory.data_ptr(),
        "type": "float32",
        "size": [4],
        "stride": [1],
        "global_stride": [1],
        "start": 0,
        "first": 0,
        "last": 4,
        "law": "normal",
        "numbers": [0.0, 1.0],
        "left_count": 0,
        "left": [0.0] * 4,
        "right": [0.0] * 4,
        "key": 0,
        "stream": 0,
        "instruction_set": SETS[0],
        "threads": 1,
    }
    bad: dict[str, list[Any]] = {
        "type": ["int8", ""],
        "size": [[], [4, 4], [-1], [2**63 - 1]],
        "stride": [[], [-1]],
        "global_stride": [[], [2]],
        "first": [-1, 5],
        "last": [-1, 5],
        "law": ["cauchy"],
        "numbers": [[], [0.0]],
        "instruction_set": ["", "sse9"],
        "key": [-1, 2**64],
        "stream": [-1, 2**32],
    }
    for argument, values in bad.items():
        for value in values:
            if argument == "size" and value == [2**63 - 1]:
                call = {**good, "size": [2**62, 4], "stride": [1, 1], "global_stride": [1, 1]}
            else:
                call = {**good, argument: value}
            with pytest.raises((ValueError, TypeError)):
                _kernels.fill_box(**call)
    whole = (memory.data_ptr(), 0, 4, 1, 0.0, 1.0, 0.0, 0, 0, SETS[0], 1)
    for place, value in (
        (1, -1),
        (1, 4),
        (2, -1),
        (3, 2),
        (3, -1),
        (4, "a"),
        (7, -1),
        (8, 2**32),
        (9, "sse9"),
    ):
        with pytest.raises((ValueError, TypeError)):
            _kernels.fill_whole(*whole[:place], value, *whole[place + 1 :])
    assert not memory.any()
    _kernels.fill_box(**good)
    assert memory.all()
    again = torch.zeros(4)
    _kernels.fill_whole(again.data_ptr(), *whole[1:])
    assert equal_bits(memory, again)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


FILL = (
    "import torch; from goodinit.rng import fill_normal_, native\n"
    "for _ in range(3): t = fill_normal_(torch.empty(9), 1, 0.0, 1.0)\n"
    "print(native.instruction_set(), t.sum().item())"
)


def test_the_environment_chooses_and_changes_no_value() -> None:
    found = [python(FILL, **{native.VARIABLE: name}).stdout.split() for name in (*SETS, "numpy")]
    assert [name for name, _ in found] == [*SETS, "None"]
    assert len({total for _, total in found}) == 1
    assert python(FILL, **{native.VARIABLE: ""}).stdout.split() == found[0]


def test_an_unknown_choice_is_refused() -> None:
    with mock.patch.dict(os.environ, {native.VARIABLE: "mmx"}), pytest.raises(ArgumentError, match=r"mmx"):
        native.instruction_set.__wrapped__()


def test_missing_kernels_are_one_warning_and_the_same_values() -> None:
    hidden = "import sys; sys.modules['goodinit._kernels'] = None\n" + FILL
    outcome = python(hidden, **{native.VARIABLE: ""})
    assert outcome.stdout == python(FILL, **{native.VARIABLE: "numpy"}).stdout
    assert outcome.stderr.count("kernels are not built") == 1
    assert "compiler" in outcome.stderr
    asked = python(hidden, **{native.VARIABLE: "baseline"})
    assert asked.returncode == 1
    assert "kernels are not built" in asked.stderr


def test_kernels_are_what_runs() -> None:
    with mock.patch.object(writing, "_box_values", side_effect=AssertionError("the reference ran")):
        with running(SETS[0]):
            fill_normal_(torch.empty(9), 1, 0.0, 1.0)
        with running(None), pytest.raises(AssertionError, match="the reference ran"):
            fill_normal_(torch.empty(9), 1, 0.0, 1.0)
