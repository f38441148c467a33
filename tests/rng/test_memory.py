"""Memory that cannot be written is one error, by whatever call and kernels; no process ends."""

from __future__ import annotations

import faulthandler
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch

import goodinit
from goodinit.errors import TensorError
from goodinit.initializers import Normal
from goodinit.rng import fill_normal_, native
from goodinit.rng.memory import check_writable


def sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"rng_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = sibling("test_hostile_tensors").FILLS
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are forked and files mapped")


def outcomes(
    tensor: torch.Tensor, fills: dict[str, Callable[[torch.Tensor], torch.Tensor]]
) -> dict[str, str]:
    """What each call says of a tensor, from a child of this process, which a bad write would end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # the end is what is looked for
        for name, fill in fills.items():
            try:
                fill(tensor)
                said = "done"
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writer, f"{name}\t{said}\n".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = dict(line.split("\t") for line in stream.read().splitlines())
    os.waitpid(child, 0)
    return {name: said.get(name, "the process ended") for name in fills}


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_process_that_ends_is_seen() -> None:
    tensor = torch.frombuffer(mmap.mmap(-1, 4096, prot=mmap.PROT_READ), dtype=torch.float32)
    assert outcomes(tensor, {"torch": torch.Tensor.zero_}) == {"torch": "the process ended"}


def freed() -> torch.Tensor:
    tensor = torch.ones(6, 4)
    tensor.untyped_storage().resize_(0)
    return tensor


def shrunk() -> torch.Tensor:
    tensor = torch.ones(4, 6).T
    tensor.untyped_storage().resize_(92)
    return tensor


def of_file(path: Path, access: int) -> torch.Tensor:
    path.write_bytes(bytes(1 << 14))
    with path.open("r+b") as file:
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=access), dtype=torch.float32).view(64, 64)


def cut(path: Path) -> torch.Tensor:
    tensor = of_file(path, mmap.ACCESS_WRITE)
    os.truncate(path, 4096)
    return tensor


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
@pytest.mark.parametrize("kernels", [True, False])
def test_memory_that_cannot_be_written_is_one_error_for_every_call(tmp_path: Path, kernels: bool) -> None:
    read_only = of_file(tmp_path / "read-only", mmap.ACCESS_READ)
    refused = {
        "read-only": read_only,
        "read-only columns": read_only[:, 3:9],
        "read-only, one element": read_only[:1, :1],
        "a file that was cut": cut(tmp_path / "cut"),
        "freed": freed(),
    }
    chosen = native.instruction_set() if kernels else None
    with mock.patch.object(native, "instruction_set", return_value=chosen):
        private = of_file(tmp_path / "private", mmap.ACCESS_COPY)
        for name, fill in FILLS.items():
            assert torch.equal(fill(private), fill(torch.zeros(64, 64))), name
        for kind, tensor in refused.items():
            words = (
                "storage of 96 bytes and has one of 0"
                if kind == "freed"
                else "memory is read-only: clone() it"
            )
            for name, said in outcomes(tensor, FILLS).items():
                assert said.startswith("TensorError: cannot fill a tensor"), (kind, name, said)
                assert words in said, (kind, name, said)
    assert (tmp_path / "private").read_bytes() == bytes(1 << 14)


def test_a_storage_that_is_too_small_is_refused() -> None:
    for name in ("Normal", "Orthogonal", "Identity", "constant", "init.orthogonal_", "init.ones_"):
        with pytest.raises(TensorError, match="needs a storage of 96 bytes and has one of 92"):
            FILLS[name](shrunk())


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_asking_changes_nothing_and_leaves_no_file_open(tmp_path: Path) -> None:
    tensor = of_file(tmp_path / "file", mmap.ACCESS_WRITE)
    tensor.fill_(1.5)
    version, files = tensor._version, sorted(Path("/proc/self/fd").iterdir())
    check_writable(tensor)
    with pytest.raises(TensorError):
        check_writable(of_file(tmp_path / "other", mmap.ACCESS_READ))
    assert (tensor == 1.5).all()
    assert tensor._version == version
    assert sorted(Path("/proc/self/fd").iterdir()) == files


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_plan_refuses_read_only_memory_before_it_writes_any(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    model[2].weight = torch.nn.Parameter(of_file(tmp_path / "weights", mmap.ACCESS_READ))
    before = model[0].weight.detach().clone()
    with pytest.raises(TensorError, match=r"2\.weight: .*read-only: clone"):
        goodinit.initialize(model, example=torch.zeros(2, 64))
    assert torch.equal(model[0].weight, before)


def test_inference_tensors_are_refused_before_they_are_written() -> None:
    with torch.inference_mode():
        tensor = torch.zeros(6, 4)
    for name, fill in FILLS.items():
        with pytest.raises(RuntimeError, match="inference tensor"):
            fill(tensor)
        assert not tensor.any(), name


def test_structures_in_shared_elements_are_refused() -> None:
    windows = torch.zeros(24).as_strided((6, 4), (1, 1))
    for name in ("init.eye_", "init.orthogonal_", "init.sparse_"):
        with pytest.raises(TensorError, match="share memory"):
            FILLS[name](windows)
    with pytest.raises(TensorError, match="share memory"):
        goodinit.init.eye_(torch.zeros(1, 4, dtype=torch.int64).expand(6, 4))
    with pytest.raises(TensorError, match="share memory"):
        goodinit.init.dirac_(torch.zeros(99).as_strided((3, 3, 3), (1, 1, 1)))
    with pytest.raises(TensorError, match="share memory"):
        Normal(0.0, 1.0).fill_(windows, 5)
    assert not windows.any()


def test_negated_views_get_the_values_of_plain_memory() -> None:
    for name, fill in FILLS.items():
        negated = torch._neg_view(torch.zeros(6, 4))
        assert torch.equal(fill(negated), fill(torch.zeros(6, 4))), name


def test_fake_tensors_are_left_alone_and_nested_ones_refused() -> None:
    with torch._subclasses.FakeTensorMode():
        fake = torch.zeros(6, 4)
    with pytest.warns(UserWarning, match="nested"):
        nested = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(4, 3)])
    for name, fill in FILLS.items():
        if not name.startswith("init."):
            assert fill(fake) is fake, name
            with pytest.raises(
                TensorError, match=r"cannot fill a nested tensor: fill the tensors of its unbind"
            ):
                fill(nested)


def test_tensors_of_torch_func_are_filled_as_before() -> None:
    wanted = fill_normal_(torch.zeros(6, 4), 5, 0.0, 1.0)

    def inside(x: torch.Tensor) -> torch.Tensor:
        return fill_normal_(x.clone(), 5, 0.0, 1.0)

    assert torch.equal(torch.func.functionalize(inside)(torch.zeros(6, 4)), wanted)
