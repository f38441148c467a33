"""Learned vectors in the place of a signal, constants that are one, and tables of biases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from goodinit.graph import Graph, WeightUse, trace


def use(graph: Graph, name: str) -> WeightUse:
    (found,) = graph[name]
    return found


def indexed(x: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    x = x.clone()
    x[mask] = token
    return x


REPLACED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "x[mask] = token": indexed,
    "where": lambda x, mask, token: torch.where(mask[..., None], token, x),
    "masked_scatter": lambda x, mask, token: x.masked_scatter(
        mask[..., None].expand_as(x), token.expand_as(x)
    ),
    "a mask of ones": lambda x, mask, token: x * (~mask[..., None]) + token * mask[..., None],
    "a mask of floats": lambda x, mask, token: x * (1 - mask[..., None].float()) + token * mask[..., None],
    "index_copy": lambda x, mask, token: x.index_copy(
        1, mask[0].long()[:1], token[None, None].expand(2, 1, 6)
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_token_in_the_place_of_masked_positions_is_a_token(name: str) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.token, self.out = nn.Linear(6, 6), nn.Parameter(torch.rand(6)), nn.Linear(6, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            out: Tensor = self.out(torch.relu(REPLACED[name](self.inner(x), mask, self.token)))
            return out

    graph = trace(Masked(), (torch.rand(2, 5, 6), torch.rand(2, 5) > 0.5))
    token = use(graph, "token")
    assert (token.op, token.sink.kind) == ("token", "weight")
    assert (use(graph, "out.weight").source.kind, use(graph, "out.weight").source.weights) == (
        "weight",
        ("inner.weight",),
    )


def test_learned_vectors_that_a_stream_begins_with_are_no_bias() -> None:
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents, self.norm = nn.Parameter(torch.rand(3, 8)), nn.LayerNorm(8)
            self.inner, self.out = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.latents.expand(len(x), -1, -1)
            y = y + torch.relu(self.inner(self.norm(y)))
            out: Tensor = self.out(y) + x.sum()
            return out

    graph = trace(Latents(), torch.rand(2, 5))
    assert {found.op for found in graph["latents"]} == {"start"}
    assert use(graph, "inner.weight").residual is not None
    assert use(graph, "out.weight").source.kind == "residual"


def test_constants_that_another_module_makes_are_a_signal() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.rand(1, 5, 8))
            self.q, self.k, self.r = (nn.Linear(8, 8, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            q = self.q(x)
            logits = q @ self.k(x).transpose(1, 2) + q @ self.r(self.table).transpose(1, 2)
            return logits.softmax(-1) @ x

    found = use(trace(Positions(), torch.rand(2, 5, 8)), "r.weight")
    assert (found.fan_in, found.fan_out, found.attention, found.source.kind) == (8.0, 8.0, "k", "data")


def test_coordinates_made_on_the_way_are_a_signal() -> None:
    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.out = nn.Parameter(torch.rand(4, 7)), nn.Parameter(torch.rand(7, 3))

        def forward(self, x: Tensor) -> Tensor:
            t = torch.linspace(0, 1, 5)[:, None]
            z = torch.cat([t, t.sin(), t.cos(), t * t], -1)
            return x + torch.sin(z @ self.weight) @ self.out

    graph = trace(Filter(), torch.rand(5, 3))
    first, last = use(graph, "weight"), use(graph, "out")
    assert (first.fan_in, first.fan_out, first.source.kind) == (4.0, 7.0, "data")
    assert (last.fan_in, last.fan_out, last.source.kind) == (7.0, 3.0, "weight")


def test_a_basis_beside_a_weight_is_part_of_it() -> None:
    class Expanded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("basis", torch.rand(9, 4))
            self.weight = nn.Parameter(torch.rand(4, 7))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.basis @ self.weight)

    found = use(trace(Expanded(), torch.rand(5, 9)), "weight")
    assert found.source.kind == "data"
    assert found.sink.kind == "output"
    assert found.through


@pytest.mark.parametrize("held", ["number", "buffer"])
def test_a_known_factor_between_weights_is_seen(held: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 6), nn.Linear(6, 2)
            self.register_buffer("factor", torch.tensor(2.5))

        def forward(self, ids: Tensor) -> Tensor:
            out: Tensor = self.out(self.embed(ids) * (2.5 if held == "number" else self.factor))
            return out

    activation = use(trace(Scaled(), torch.tensor([[1, 2]])), "out.weight").source.activation
    assert activation is not None
    assert activation.name == "2.5·x"


def test_a_buffer_that_is_zero_for_now_is_no_factor() -> None:
    class Ramped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(6, 6), nn.Linear(6, 2)
            self.register_buffer("ramp", torch.tensor(0.0))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.out(self.first(x) * self.ramp)
            return out

    assert use(trace(Ramped(), torch.rand(3, 6)), "out.weight").source.activation is None


@pytest.mark.parametrize("looked_up", [False, True])
def test_biases_of_experts_are_biases(looked_up: bool) -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.rand(3, 6, 8)), nn.Parameter(torch.rand(3, 8))

        def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
            out = torch.bmm(x[None].expand(3, -1, -1), self.weight)
            return torch.relu(out + (self.bias[chosen][:, None] if looked_up else self.bias[:, None]))

    graph = trace(Experts(), (torch.rand(5, 6), torch.tensor([0, 1, 2])))
    bias = use(graph, "bias")
    assert (bias.op, bias.batch, bias.of) == ("shift", (0,), ("weight",))


def test_a_table_that_is_added_to_no_stack_of_weights_stays_a_table() -> None:
    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.types, self.out = nn.Linear(6, 8), nn.Embedding(3, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
            out: Tensor = self.out(self.inner(x) + self.types(chosen))
            return out

    graph = trace(Typed(), (torch.rand(3, 6), torch.tensor([0, 1, 2])))
    assert use(graph, "types.weight").op == "embedding"


def test_what_is_added_to_attention_logits_goes_there() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.table = nn.Linear(8, 8), nn.Linear(8, 8), nn.Embedding(7, 1)

        def forward(self, x: Tensor, distance: Tensor) -> Tensor:
            logits = self.q(x) @ self.k(x).transpose(1, 2)
            logits = logits + self.table(distance)[..., 0]
            return logits.softmax(-1) @ x

    graph = trace(Biased(), (torch.rand(2, 5, 8), torch.zeros(5, 5, dtype=torch.long)))
    assert {sink.kind for sink in use(graph, "table.weight").sinks} == {"attention_logits"}
