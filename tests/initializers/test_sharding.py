"""Every rank of every mesh holds its part of the same tensor, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn

from goodinit.errors import TensorError
from goodinit.initializers import Initializer, Normal, Orthogonal, TruncatedNormal, ZeroRows, fill_

pytest.importorskip("torch.testing._internal.distributed.fake_pg")


@pytest.fixture
def as_rank() -> Iterator[object]:
    """Be one rank of a world whose others do not exist: enough where nothing is communicated."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def become(rank: int, world: int) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())

    yield become
    if dist.is_initialized():
        dist.destroy_process_group()


def placements(*names: str):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    def one(name: str):
        if name == "R":
            return Replicate()
        dim, _, factor = name.partition("/")
        return _StridedShard(int(dim), split_factor=int(factor)) if factor else Shard(int(dim))

    return [one(name) for name in names]


LAYOUTS = [
    ((2,), ("0",)),
    ((4,), ("1",)),
    ((3,), ("0",)),  # uneven: 10 rows over 3 ranks
    ((8,), ("0",)),  # ranks with fewer rows, ranks with none
    ((2, 2), ("0", "1")),
    ((2, 3), ("0", "0")),
    ((2, 2), ("R", "1")),
    ((2, 2), ("0/2", "0")),  # FSDP over tensor parallelism on one dimension
]
INITIALIZERS = [Normal(0.0, 0.02), TruncatedNormal(), Orthogonal(), ZeroRows(Normal(), (0, 6))]


@pytest.mark.parametrize(("mesh_shape", "names"), LAYOUTS)
@pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
def test_each_rank_holds_its_part_of_the_whole(as_rank, mesh_shape, names, initializer: Initializer) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    shape = (10, 7)
    whole = fill_(torch.empty(shape), initializer, seed=3, name="w")
    positions = torch.arange(70).reshape(shape)
    seen = torch.zeros(70, dtype=torch.int)
    world = int(torch.tensor(mesh_shape).prod())
    for rank in range(world):
        as_rank(rank, world)
        mesh = init_device_mesh("cpu", mesh_shape)
        held = expected_part(positions, mesh, names)
        sharded = DTensor.from_local(
            torch.zeros(held.shape),
            mesh,
            placements(*names),
            run_check=False,
            shape=torch.Size(shape),
            stride=(7, 1),
        )
        assert fill_(sharded, initializer, seed=3, name="w") is sharded
        assert torch.equal(sharded.to_local(), whole.flatten()[held.flatten()].reshape(held.shape))
        seen[held.flatten()] += 1
    assert (seen > 0).all()
    # The planted fault: filling each shard as if it were a tensor of its own makes copies.
    if held.numel() and held.shape != shape and not isinstance(initializer, ZeroRows):
        alone = fill_(torch.empty(held.shape), initializer, seed=3, name="w")
        assert not torch.equal(alone, whole.flatten()[held.flatten()].reshape(held.shape))


def expected_part(positions: torch.Tensor, mesh, names: tuple[str, ...]) -> torch.Tensor:
    """The global positions that this rank holds, by cutting a tensor of positions as torch.chunk does."""
    for name, size, rank in zip(names, mesh.shape, mesh.get_coordinate(), strict=True):
        if name == "R":
            continue
        dim, _, factor = name.partition("/")
        pieces = positions.chunk(int(factor or 1), int(dim))
        shares = [piece.chunk(size, int(dim)) for piece in pieces]
        empty = positions.narrow(int(dim), 0, 0)
        positions = torch.cat([share[rank] if rank < len(share) else empty for share in shares], int(dim))
    return positions


@pytest.mark.parametrize(("mesh_shape", "names"), [layout for layout in LAYOUTS if "/" not in str(layout)])
def test_the_parts_are_those_that_torch_itself_gives_a_rank(as_rank, mesh_shape, names) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    world = int(torch.tensor(mesh_shape).prod())
    positions = torch.arange(70).reshape(10, 7)
    for rank in range(world):
        as_rank(rank, world)
        mesh = init_device_mesh("cpu", mesh_shape)
        torchs = distribute_tensor(positions, mesh, placements(*names), src_data_rank=None).to_local()
        assert torch.equal(torchs, expected_part(positions, mesh, names))


def test_a_sharded_model_is_planned_and_filled_like_a_whole_one(as_rank) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    from goodinit.plans import plan

    whole = nn.Linear(6, 8)
    made = plan(whole, "orthogonal")
    made.apply_(whole, seed=1)
    # One rank only: torch caches what it learns of a mesh, so a process cannot change its rank here.
    rank = 2
    as_rank(rank, 4)
    mesh = init_device_mesh("cpu", (4,))
    sharded = nn.Linear(6, 8)
    for name, parameter in list(sharded.named_parameters()):
        local = torch.zeros_like(parameter.chunk(4)[rank])
        distributed = DTensor.from_local(local, mesh, placements("0"), run_check=False)
        sharded.register_parameter(name, nn.Parameter(distributed))
    made.apply_(sharded, seed=1)
    assert torch.equal(sharded.weight.to_local(), whole.weight.chunk(4)[rank])


def test_partial_sums_are_refused(as_rank) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    as_rank(0, 2)
    mesh = init_device_mesh("cpu", (2,))
    partial = DTensor.from_local(torch.zeros(4), mesh, [Partial()], run_check=False)
    with pytest.raises(TensorError, match="its elements are sums over ranks"):
        fill_(partial, Normal(), seed=0, name="w")
