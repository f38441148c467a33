"""What Triton makes of the kernel for NVIDIA cards, which it can compile for without one.

The interpreter rounds every operation; a card does what its code says. So the code must hold only operations
that round to nearest, and no product contracted with a sum.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from goodinit.rng import gpu

triton = pytest.importorskip("triton", reason="Triton is not installed")
backend = pytest.importorskip("triton.backends.compiler")

KERNELS = ("goodinit.rng.gpu_arithmetic", "goodinit.rng.gpu_kernel")
INEXACT = re.compile(r"\bfma\.\S+|\bmad\.\S*f(?:32|64)\b|\S*\.approx\S*|\S*\.ftz\S*|\S*\.full\.f\S*")
UNROUNDED = re.compile(r"\b(?:add|sub|mul|div|sqrt)\.f(?:32|64)\b")


@pytest.fixture(scope="module")
def kernel() -> Iterator[ModuleType]:
    """The kernel's module as it is made for cards, whatever the interpreter was chosen for before."""
    with (
        mock.patch.dict(sys.modules),
        mock.patch.dict(os.environ, {"TRITON_INTERPRET": "0", "TRITON_ALWAYS_COMPILE": "1"}),
    ):
        for name in KERNELS:
            sys.modules.pop(name, None)
        yield [importlib.import_module(name) for name in KERNELS][1]


def ptx(
    kernel: ModuleType, out: str, law: str, *, capability: int = 90, fusion: bool = False, **chosen: Any
) -> str:
    """The code for a card of some compute capability."""
    constants: dict[str, Any] = {
        "law": law,
        "sides": 1,
        "pieces": "",
        "rank": 0,
        "short": False,
        "aligned": True,
        "blocks": gpu._BLOCKS,
        **chosen,
    }
    if not constants["rank"]:
        constants["geometry"] = None
    signature = {
        "out": f"*{out}",
        "numbers": "*fp64" if out == "fp64" else "*fp32",
        "geometry": "*i64",
        **dict.fromkeys(("key", "start", "left_count"), "u64"),
        "stream": "u32",
        **dict.fromkeys(("rows", "length", "stride", "per_row"), "i64"),
        **dict.fromkeys(constants, "constexpr"),
    }
    source = triton.compiler.ASTSource(
        kernel.fill_box, signature, constexprs=constants, attrs={(0,): [["tt.divisibility", 16]]}
    )
    target = backend.GPUTarget("cuda", capability, 32)
    options = {"num_warps": gpu._WARPS, "enable_fp_fusion": fusion}
    return str(triton.compile(source, target=target, options=options).asm["ptx"])


@pytest.mark.parametrize(
    ("out", "law", "chosen"),
    [
        ("fp32", "normal", {"capability": 80}),
        ("fp64", "normal", {}),
        ("fp16", "uniform", {"rank": 2, "short": True, "aligned": False}),
        ("fp32", "truncated_normal", {"sides": 2, "pieces": "both"}),
        ("fp64", "truncated_normal", {"sides": 2, "pieces": "both", "rank": 1}),
    ],
)
def test_every_operation_rounds_to_nearest(
    kernel: ModuleType, out: str, law: str, chosen: dict[str, Any]
) -> None:
    code = ptx(kernel, out, law, **chosen)
    real = "f64" if out == "fp64" else "f32"
    assert f"mul.rn.{real}" in code
    assert INEXACT.findall(code) == []
    assert UNROUNDED.findall(code) == []
    if law != "uniform":
        assert f"div.rn.{real}" in code
        assert f"sqrt.rn.{real}" in code


def test_a_fused_product_and_sum_would_be_seen(kernel: ModuleType) -> None:
    assert INEXACT.findall(ptx(kernel, "fp32", "uniform", fusion=True)) != []


def test_a_fast_square_root_would_be_seen(kernel: ModuleType) -> None:
    arithmetic = sys.modules[KERNELS[0]]
    with mock.patch.object(arithmetic.tl, "sqrt_rn", arithmetic.tl.sqrt):
        assert "sqrt.approx.ftz.f32" in INEXACT.findall(ptx(kernel, "fp32", "normal"))


def test_whole_aligned_tensors_are_written_four_elements_at_a_time(kernel: ModuleType) -> None:
    assert "st.global.v4.b32" in ptx(kernel, "fp32", "normal")
    assert "st.global.v2.b32" in ptx(kernel, "bf16", "uniform")
    assert "st.global.v4.b32" not in ptx(kernel, "fp32", "uniform", aligned=False)


def test_one_kernel_serves_all_keys_streams_and_sizes(kernel: ModuleType) -> None:
    # Triton compiles anew for values that it looks at, and for integers whose type it must guess.
    looked_at = [
        parameter.name
        for parameter in kernel.fill_box.params
        if not parameter.is_constexpr and not (parameter.do_not_specialize and parameter.annotation_type)
    ]
    assert looked_at == ["out", "numbers", "geometry"]
