"""A sharded model is planned like the whole one, and goes on as if it had never been traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from goodinit.graph.unsharded import unsharded

SCRIPT = """
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
import goodinit


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(16, 32)
        self.mix = nn.Parameter(torch.zeros(32, 33))
        self.out = nn.Linear(33, 8)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 4))

    def forward(self, x):
        return self.head(self.out(torch.relu(torch.relu(self.embed(x)) @ self.mix)))


def network():
    torch.manual_seed(0)
    return Net()


def fsdp():
    model = network()
    fully_shard(model.embed, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor_parallel():
    return parallelize_module(network(), mesh, {"embed": ColwiseParallel(), "out": RowwiseParallel()})


batch = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
whole = network()
plan = goodinit.initialize(whole, seed=3)
found = {"whole": [[row.name, row.why, str(row.initializer)] for row in plan]}
for build in (fsdp, tensor_parallel):
    model = build()
    kinds = [type(each).__mro__ for each in model.modules()]
    made = goodinit.initialize(model, seed=3)
    found[build.__name__] = [[row.name, row.why, str(row.initializer)] for row in made]
    found[build.__name__ + " kinds"] = kinds == [type(each).__mro__ for each in model.modules()]
    if build is fsdp:  # the raw parameter is sharded too, so that all of the forward pass is the model's own
        with torch.no_grad():
            found["error"] = float((model(batch) - whole(batch)).abs().max())
        model(batch).sum().backward()
        found["trains"] = all(p.grad is not None for p in model.parameters())
answer(found)
"""


@pytest.fixture(scope="module")
def found(two_ranks: Callable[[str], Any]) -> Any:
    return two_ranks(SCRIPT)


@pytest.mark.parametrize("way", ["fsdp", "tensor_parallel"])
def test_the_plan_is_that_of_the_whole_model(found: dict[str, Any], way: str) -> None:
    assert found[way] == found["whole"]
    assert any("matmul" in why or "32" in why for _, why, _ in found["whole"])


@pytest.mark.parametrize("way", ["fsdp", "tensor_parallel"])
def test_the_model_keeps_its_classes(found: dict[str, Any], way: str) -> None:
    assert found[f"{way} kinds"]


def test_a_sharded_model_initialized_by_itself_computes_what_the_whole_one_does_and_trains(
    found: dict[str, Any],
) -> None:
    assert found["error"] < 1e-5
    assert found["trains"]


def test_a_model_without_shards_is_returned_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert unsharded(model) is model
