"""Tensors as programs have them at their worst: every fill gives right values or one error."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import goodinit
import goodinit.init
from goodinit.errors import TensorError
from goodinit.initializers import Identity, Normal, Orthogonal, Sparse, TruncatedNormal, Uniform

ROWS, COLUMNS = 6, 4
COUNT = ROWS * COLUMNS
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
Fill = Callable[[torch.Tensor], torch.Tensor]


def by_fill(initializer: object) -> Fill:
    return lambda tensor: goodinit.fill_(tensor, initializer, seed=3, name="w")


def by_init(name: str, *arguments: float) -> Fill:
    def fill(tensor: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return getattr(goodinit.init, name)(tensor, *arguments)

    return fill


LAWS = {
    "Normal": by_fill(Normal(0.0, 1.0)),
    "Uniform": by_fill(Uniform(-1.0, 1.0)),
    "TruncatedNormal": by_fill(TruncatedNormal(0.0, 1.0)),
    "constant": by_fill(0.5),
    "init.normal_": by_init("normal_"),
    "init.uniform_": by_init("uniform_"),
    "init.trunc_normal_": by_init("trunc_normal_"),
}
SAME_VALUE = {
    "init.constant_": by_init("constant_", 0.3),
    "init.ones_": by_init("ones_"),
    "init.zeros_": by_init("zeros_"),
}
BY_FILL = {
    **{name: fill for name, fill in LAWS.items() if not name.startswith("init.")},
    "Orthogonal": by_fill(Orthogonal()),
    "Identity": by_fill(Identity()),
    "Sparse": by_fill(Sparse(0.5, 1.0)),
}
FILLS = {
    **LAWS,
    **BY_FILL,
    **SAME_VALUE,
    "init.xavier_uniform_": by_init("xavier_uniform_"),
    "init.xavier_normal_": by_init("xavier_normal_"),
    "init.kaiming_uniform_": by_init("kaiming_uniform_"),
    "init.kaiming_normal_": by_init("kaiming_normal_"),
    "init.orthogonal_": by_init("orthogonal_"),
    "init.eye_": by_init("eye_"),
    "init.sparse_": by_init("sparse_", 0.5),
}

# What lies in memory before a fill; it must be there afterwards wherever the tensor is not.
MARK = 7.0


def within(
    size: int, stride: tuple[int, int], shape: tuple[int, int] = (ROWS, COLUMNS), offset: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    memory = torch.full((size,), MARK)
    return memory, memory.as_strided(shape, stride, offset)


STRIDED: dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]] = {
    "transposed": lambda: within(COUNT, (1, ROWS)),
    "every other column": lambda: within(200, (9, 2), offset=5),
    "strides that do not nest": lambda: within(100, (3, 7)),
    "one row with a stride beyond all memory": lambda: within(COLUMNS, (2**50, 1), (1, COLUMNS)),
    "one element with two of them": lambda: within(3, (2**60, 2**59), (1, 1), 1),
    "no rows with one": lambda: within(3, (2**40, 1), (0, COLUMNS)),
    "no columns": lambda: within(3, (1, 1), (ROWS, 0)),
}


class Plain(torch.Tensor):
    """A subclass that changes nothing."""


def of_bytes(dtype: torch.dtype, offset: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(COUNT * dtype.itemsize + offset), dtype=dtype, offset=offset).view(
        ROWS, COLUMNS
    )


def of_read_only_array() -> torch.Tensor:
    array = np.zeros((ROWS, COLUMNS), np.float32)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that it will write all the same
        return torch.from_numpy(array)


KINDS: dict[str, Callable[[], torch.Tensor]] = {
    **{f"misaligned {dtype}": lambda dtype=dtype: of_bytes(dtype, 3) for dtype in DTYPES},
    "an array that NumPy calls read-only": of_read_only_array,
    "an anonymous mapping": lambda: torch.frombuffer(mmap.mmap(-1, 4096), dtype=torch.float32)[
        1000 : 1000 + COUNT
    ].view(ROWS, COLUMNS),
    "shared memory": lambda: torch.zeros(ROWS, COLUMNS).share_memory_(),
    "a subclass": lambda: torch.zeros(ROWS, COLUMNS).as_subclass(Plain),
    "a subclass of Parameter": lambda: type("P", (torch.nn.Parameter,), {})(torch.zeros(ROWS, COLUMNS)),
    "a leaf of autograd": lambda: torch.zeros(ROWS, COLUMNS, requires_grad=True),
    "a view of a leaf": lambda: torch.zeros(ROWS + 2, COLUMNS, requires_grad=True)[:ROWS],
    "8 bits": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.float8_e4m3fn),
}


def values(fill: Fill, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """What the fill gives in plain memory."""
    return fill(torch.zeros(shape, dtype=dtype)).detach()


def quietly(fill: Fill, tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors without elements
        return fill(tensor)


@pytest.mark.parametrize("kind", STRIDED)
def test_strides_get_the_values_of_plain_memory_and_nothing_lies_beside_them(kind: str) -> None:
    for name, fill in FILLS.items():
        memory, tensor = STRIDED[kind]()
        assert quietly(fill, tensor) is tensor, name
        expected, wanted = torch.full_like(memory, MARK), torch.zeros(tensor.shape)
        expected.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(
            quietly(fill, wanted)
        )
        assert torch.equal(memory, expected), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_memory_gets_the_values_of_plain_memory(kind: str) -> None:
    for name, fill in FILLS.items():
        tensor = KINDS[kind]()
        assert fill(tensor) is tensor, name
        wanted = values(fill, tensor.shape, tensor.dtype)
        assert torch.equal(tensor.detach().float(), wanted.float()), name
        assert wanted.float().any() or name == "init.zeros_", name


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 1, 0), (1,) * 60, (2, 3, 1, 1, 5, 1, 2)])
def test_scalars_and_many_dimensions_are_filled(shape: tuple[int, ...]) -> None:
    for name, fill in (LAWS | SAME_VALUE).items():
        tensor = torch.full((2 * int(np.prod(shape)) + 1,), MARK)[1::2].view(shape)
        assert torch.equal(fill(tensor), values(fill, tensor.shape, tensor.dtype)), name


def test_channels_last_changes_no_value() -> None:
    for name, fill in LAWS.items():
        tensor = torch.zeros(6, 4, 3, 5).to(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()
        assert torch.equal(fill(tensor), values(fill, tensor.shape, tensor.dtype)), name


REFUSED: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.eye(ROWS).to_sparse(),
    "sparse rows": lambda: torch.eye(ROWS).to_sparse_csr(),
    "oneDNN": lambda: torch.zeros(ROWS, COLUMNS).to_mkldnn(),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(ROWS, COLUMNS), 0.1, 0, torch.qint8),
    "jagged": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "int8": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.int8),
    "bool": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.bool),
    "complex": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.complex64),
    "conjugated": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.complex64).conj(),
    "scales": lambda: torch.ones(ROWS, COLUMNS, dtype=torch.float8_e8m0fnu),
    "packed pairs": lambda: torch.zeros(ROWS, COLUMNS, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "one address": lambda: torch.zeros(1).as_strided((ROWS, COLUMNS), (0, 0)),
    "an expanded row": lambda: torch.zeros(1, COLUMNS).expand(ROWS, COLUMNS),
    "overlapping windows": lambda: torch.zeros(COUNT).as_strided((ROWS, COLUMNS), (1, 1)),
    "overlapping in two dimensions of three": lambda: torch.zeros(99).as_strided((3, 4, 5), (1, 3, 9)),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested", "ignore:torch.quantize")
def test_what_cannot_be_filled_is_one_error_of_ours_before_anything_is_written(kind: str) -> None:
    for name, fill in BY_FILL.items():
        tensor = REFUSED[kind]()
        before = tensor._version if kind != "jagged" else 0
        with pytest.raises(TensorError, match=r"cannot fill a tensor .*: (use|make|clone)"):
            fill(tensor)
        assert kind == "jagged" or tensor._version == before, name


@pytest.mark.parametrize("kind", ["an expanded row", "overlapping windows"])
def test_where_elements_share_memory_the_drop_in_refuses_draws_and_sets_constants(kind: str) -> None:
    for name in ("init.normal_", "init.uniform_", "init.trunc_normal_", "init.kaiming_normal_"):
        tensor = REFUSED[kind]()
        with pytest.raises((TensorError, RuntimeError), match=r"share memory|single memory location"):
            FILLS[name](tensor)
        assert not tensor.any()
    for name, fill in SAME_VALUE.items():
        tensor = fill(REFUSED[kind]())
        assert torch.equal(tensor, values(fill, tensor.shape, tensor.dtype)), name


def test_tensors_without_memory_are_left_alone_or_refused() -> None:
    with torch.inference_mode():
        made_there = torch.zeros(ROWS, COLUMNS)
    for name, fill in FILLS.items():
        meta = torch.zeros(ROWS, COLUMNS, device="meta")
        assert fill(meta) is meta, name
        with pytest.raises(RuntimeError, match="inference tensor"):
            fill(made_there)
        with pytest.raises(RuntimeError, match="ZeroTensors are immutable"):
            fill(torch._efficientzerotensor((ROWS, COLUMNS)))
        with pytest.raises((ValueError, RuntimeError), match="uninitialized parameter"):
            fill(torch.nn.UninitializedParameter())
        with torch.inference_mode():
            assert torch.equal(
                fill(torch.zeros(ROWS, COLUMNS)), values(fill, made_there.shape, torch.float32)
            )


class Around(torch.utils._python_dispatch.TorchDispatchMode):
    """A mode that changes nothing."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


def test_neither_modes_nor_defaults_of_the_caller_change_a_value() -> None:
    modes: dict[str, Callable[[], Any]] = {
        "device": lambda: torch.device("meta"),
        "autocast": lambda: torch.autocast("cpu"),
        "no_grad": torch.no_grad,
        "dispatch": Around,
    }
    for name, fill in FILLS.items():
        wanted = values(fill, torch.Size((ROWS, COLUMNS)), torch.float32)
        for mode, make in modes.items():
            tensor = torch.zeros(ROWS, COLUMNS)
            with make():
                fill(tensor)
            assert torch.equal(tensor, wanted), (name, mode)
        tensor = torch.zeros(ROWS, COLUMNS)
        torch.set_default_dtype(torch.float64)
        try:
            fill(tensor)
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(tensor, wanted), name
