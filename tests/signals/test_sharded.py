"""Models whose parameters lie in parts on two processes, which really communicate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from goodinit.signals.probing.sharded import is_sharded, local, whole

SCRIPT = """
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
import goodinit


def network(width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 8))


def fsdp(width):
    model = network(width)
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor_parallel(width):
    return parallelize_module(network(width), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def as_it_is(model):
    pass


def each_shard_alike(model):
    for seed, p in enumerate(model.parameters()):
        if p.ndim == 2:
            torch.manual_seed(seed)
            nn.init.normal_(p.data.to_local(), std=0.25)


def torch_init_seeded_alike(model):
    for seed, p in enumerate(model.parameters()):
        if p.ndim == 2:
            torch.manual_seed(seed)
            nn.init.kaiming_normal_(p)


def one_of_two_layers(model):
    torch.manual_seed(1)
    nn.init.normal_(model[2].weight.data.to_local(), std=0.25)


def by_goodinit(model):
    goodinit.plan(network(model[0].out_features)).apply_(model, seed=3)


def numbers(report):
    layers = {s.name: [s.output.second_moment, s.gradient.second_moment] for s in report.layers}
    weights = {
        s.name: [s.value.second_moment, s.largest, s.gradient.second_moment] for s in report.parameters
    }
    return {**layers, **weights}


batch = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
found = {}
for build in (fsdp, tensor_parallel):
    for width in (32, 33):
        if width % 2 and build is tensor_parallel:
            continue
        for fill in (as_it_is, each_shard_alike, torch_init_seeded_alike, one_of_two_layers, by_goodinit):
            model = build(width)
            fill(model)
            report = goodinit.check(model, batch)
            codes = {f.code: [f.severity, list(f.where), f.effect] for f in report.findings}
            found[f"{build.__name__} {width} {fill.__name__}"] = codes
    model = build(32)
    kinds = [type(p).__name__ for p in model.parameters()]
    found[f"{build.__name__} numbers"] = numbers(goodinit.check(model, batch))
    kept = kinds == [type(p).__name__ for p in model.parameters()]
    kept = kept and all(p.grad is None for p in model.parameters())
    model(batch).sum().backward()
    found[f"{build.__name__} kept"] = kept and all(p.grad is not None for p in model.parameters())
    eye = build(32)
    with torch.no_grad():
        rows = eye[2].weight.to_local().shape[0]
        eye[2].weight.to_local().copy_(torch.eye(8, 32)[:rows, : eye[2].weight.to_local().shape[1]])
    found[f"{build.__name__} identity"] = [f.code for f in goodinit.check(eye, batch).findings]
found["whole numbers"] = numbers(goodinit.check(network(32), batch, predict=False))
answer(found)
"""


@pytest.fixture(scope="module")
def found(two_ranks: Callable[[str], Any]) -> Any:
    return two_ranks(SCRIPT)


WAYS = ("fsdp 32", "fsdp 33", "tensor_parallel 32")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fill", ["each_shard_alike", "torch_init_seeded_alike"])
def test_shards_that_every_rank_drew_alike_are_found(found: dict[str, Any], way: str, fill: str) -> None:
    assert found[f"{way} {fill}"]["GI116"] == ["error", ["0.weight", "2.weight"], 2.0]


@pytest.mark.parametrize("way", WAYS)
def test_only_the_layer_that_was_drawn_alike_is_named(found: dict[str, Any], way: str) -> None:
    assert found[f"{way} one_of_two_layers"]["GI116"] == ["error", ["2.weight"], 2.0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fill", ["as_it_is", "by_goodinit"])
def test_a_right_initialization_in_parts_is_not_accused(found: dict[str, Any], way: str, fill: str) -> None:
    assert found[f"{way} {fill}"] == {}


@pytest.mark.parametrize("way", ["fsdp", "tensor_parallel"])
def test_what_is_measured_is_the_whole_model(found: dict[str, Any], way: str) -> None:
    parts, together = found[f"{way} numbers"], found["whole numbers"]
    assert parts.keys() == together.keys()
    # A tensor-parallel layer's own output is this rank's half of it.
    names = [name for name in together if way == "fsdp" or name not in ("0", "1")]
    for name in names:
        assert parts[name] == pytest.approx(together[name], rel=1e-5), name


@pytest.mark.parametrize("way", ["fsdp", "tensor_parallel"])
def test_a_model_in_parts_trains_on_as_if_never_checked(found: dict[str, Any], way: str) -> None:
    assert found[f"{way} kept"] is True


@pytest.mark.parametrize("way", ["fsdp", "tensor_parallel"])
def test_an_identity_in_parts_is_no_copy(found: dict[str, Any], way: str) -> None:
    assert "GI116" not in found[f"{way} identity"]


def test_an_ordinary_tensor_is_its_own_part_and_whole() -> None:
    tensor = torch.ones(2)
    assert not is_sharded(tensor)
    assert local(tensor) is tensor
    assert whole(tensor) is tensor
