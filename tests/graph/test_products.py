"""Weights that are products, that another signal scales, or that a network makes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from goodinit.graph import Graph, WeightUse, trace


def use(graph: Graph, name: str) -> WeightUse:
    (found,) = graph[name]
    return found


class Factored(nn.Module):
    """x times the product of several matrices, multiplied from either end."""

    def __init__(self, count: int, from_right: bool) -> None:
        super().__init__()
        sizes = [*[7, 2, 3, 4, 5][:count], 6]
        self.factors = nn.ParameterList(nn.Parameter(torch.rand(a, b)) for a, b in itertools.pairwise(sizes))
        self.from_right = from_right

    def forward(self, x: Tensor) -> Tensor:
        factors = list(self.factors)
        weight = factors.pop() if self.from_right else factors.pop(0)
        while factors:
            weight = factors.pop() @ weight if self.from_right else weight @ factors.pop(0)
        return x @ weight.t() if self.from_right else functional.linear(x, weight)


@pytest.mark.parametrize("from_right", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_factor_of_a_weight_has_the_fans_of_a_layer_of_its_own(count: int, from_right: bool) -> None:
    model = Factored(count, from_right)
    graph = trace(model, torch.rand(4, 6))
    assert graph.unreached == ()
    for name, factor in model.named_parameters():
        found = use(graph, name)
        assert (found.fan_out, found.fan_in) == tuple(factor.shape)
        assert (found.output, found.contracted) == ((0,), (1,))
        assert (found.source.kind == "data") == (name == f"factors.{count - 1}")
        assert (found.sink.kind == "output") == (name == "factors.0")


def test_a_diagonal_between_factors_is_a_scale() -> None:
    class Svd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.s = nn.Parameter(torch.rand(7, 2)), nn.Parameter(torch.ones(2))
            self.v = nn.Parameter(torch.rand(2, 6))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.u @ torch.diag(self.s) @ self.v)

    graph = trace(Svd(), torch.rand(4, 6))
    assert [(use(graph, n).op, use(graph, n).fan_in) for n in "usv"] == [
        ("matmul", 2.0),
        ("scale", 1.0),
        ("matmul", 6.0),
    ]


class Modulated(nn.Module):
    """StyleGAN2's convolution: weights scaled by a style, then normalized, one kernel for each example."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.rand(1, out, into, 3, 3)), nn.Linear(5, into)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        batch, into, height, width = x.shape
        weight = self.weight * self.style(z).view(batch, 1, into, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
        flat = functional.conv2d(
            x.reshape(1, -1, height, width), weight.view(-1, into, 3, 3), padding=1, groups=batch
        )
        return flat.view(batch, -1, height, width)


def test_a_modulated_kernel_has_the_fans_of_its_convolution() -> None:
    graph = trace(Modulated(4, 6), (torch.rand(2, 4, 8, 8), torch.rand(2, 5)))
    kernel = use(graph, "weight")
    assert (kernel.op, kernel.fan_in, kernel.fan_out, kernel.source.kind) == (
        "convolution",
        36.0,
        54.0,
        "data",
    )
    assert (kernel.contracted, kernel.output) == ((2, 3, 4), (1,))
    assert "mul" in kernel.through


def test_a_modulated_matrix_has_the_fans_of_its_product() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.style = nn.Parameter(torch.rand(7, 6)), nn.Linear(5, 6)

        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            weight = self.weight * self.style(z)[:, None]
            return torch.einsum("boi,bi->bo", weight, x)

    found = use(trace(Linear(), (torch.rand(3, 6), torch.rand(3, 5))), "weight")
    assert (found.op, found.fan_in, found.fan_out) == ("matmul", 6.0, 7.0)


def test_a_learned_gain_on_queries_stays_a_gain() -> None:
    class Gained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.gain = nn.Linear(8, 8), nn.Linear(8, 8), nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            return ((self.q(x) * self.gain) @ self.k(x).transpose(1, 2)).softmax(-1) @ x

    assert use(trace(Gained(), torch.rand(2, 5, 8)), "gain").op == "scale"


def test_a_network_that_makes_weights_ends_in_a_product_that_sums() -> None:
    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maker, self.out = nn.Linear(5, 42), nn.Linear(7, 2)

        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            hidden = torch.bmm(self.maker(z).view(-1, 7, 6), x[:, :, None])
            out: Tensor = self.out(torch.relu(hidden[:, :, 0]))
            return out

    graph = trace(Hyper(), (torch.rand(3, 6), torch.rand(3, 5)))
    sink = use(graph, "maker.weight").sink
    assert (sink.kind, sink.sums, use(graph, "maker.weight").attention) == ("generated", 6.0, "")
    assert use(graph, "out.weight").source.kind == "generated"


def test_results_that_are_added_up_are_counted() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(6)
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.out = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            x = x + (torch.relu(self.a(y)) + torch.tanh(self.b(y)))
            x = x + self.c(self.norm(x))
            out: Tensor = self.out(self.a(y) + self.b(y) + self.c(y)) + x[:, :2]
            return out

    graph = trace(Parallel(), torch.rand(4, 6))
    terms = {found.name: found.residual.terms for found in graph if found.residual is not None}
    assert terms["a.weight"] == 2
    assert terms["c.weight"] == 1
    assert use(graph, "out.weight").source.terms == 3


def test_a_router_of_which_the_largest_share_counts_is_the_gate() -> None:
    class Switch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.expert = nn.Linear(6, 3), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            share = self.router(x).softmax(-1).max(-1, keepdim=True).values
            return x + share * self.expert(x)

    graph = trace(Switch(), torch.rand(4, 6))
    assert (use(graph, "router.weight").gate, use(graph, "expert.weight").gate) == ("gate", "value")


def test_a_scripted_part_is_read_as_any_other() -> None:
    inner = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.GELU()))
    graph = trace(nn.Sequential(inner, nn.Linear(8, 2)), torch.rand(3, 6))
    last = use(graph, "1.weight")
    assert (use(graph, "0.0.weight").fan_in, last.source.kind) == (6.0, "weight")
    assert last.source.activation is not None
    assert last.source.activation.name == "gelu"
