"""Residual streams, normalization, experts, parametrizations, ties: what a weight is for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from goodinit.graph import Graph, WeightUse, trace


def use(graph: Graph, name: str) -> WeightUse:
    (found,) = graph[name]
    return found


class PreNorm(nn.Module):
    """x + scale * branch(norm(x)), with any norm."""

    def __init__(self, size: int, norm: nn.Module, scale: float | None = None) -> None:
        super().__init__()
        self.norm, self.up, self.down = norm, nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.scale = None if scale is None else nn.Parameter(torch.full((size,), scale))

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.down(functional.gelu(self.up(self.norm(x))))
        return x + (branch if self.scale is None else self.scale * branch)


class HandRMS(nn.Module):
    """x / rms(x) * weight, written out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class HandLayerNorm(nn.Module):
    """(x - mean) / std * weight + bias, written out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        return (
            centered / (centered.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * self.weight
            + self.bias
        )


NORMS = {
    "LayerNorm": lambda: nn.LayerNorm(6),
    "RMSNorm": lambda: nn.RMSNorm(6),
    "BatchNorm": lambda: nn.BatchNorm1d(6),
    "GroupNorm": lambda: nn.GroupNorm(2, 6),
    "rms by hand": lambda: HandRMS(6),
    "layer norm by hand": lambda: HandLayerNorm(6),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_before_a_weight_and_the_stream_after_it(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 6), *(PreNorm(6, NORMS[name]()) for _ in range(3)), nn.Linear(6, 2))
    graph = trace(model, torch.rand(5, 3))
    assert graph.streams == (3,)
    for block in (1, 2, 3):
        up, down = use(graph, f"{block}.up.weight"), use(graph, f"{block}.down.weight")
        assert (up.source.kind, up.norm_before, up.residual) == ("norm", f"{block}.norm", None)
        assert down.sink.kind == "residual"
        assert down.residual is not None
        assert (down.residual.stream, down.residual.position, down.residual.of) == (0, block, 3)
        assert use(graph, f"{block}.norm.weight").op == "scale"
    head = use(graph, "4.weight")
    assert (head.source.kind, head.source.stream, head.head) == ("residual", 0, True)
    assert graph.depth == 8


@pytest.mark.parametrize("start", [0.0, 1e-4])
def test_a_layer_scale_on_a_branch_is_named(start: float) -> None:
    graph = trace(
        nn.Sequential(PreNorm(6, nn.LayerNorm(6), start), PreNorm(6, nn.LayerNorm(6))), torch.rand(5, 6)
    )
    scaled, plain = use(graph, "0.down.weight").residual, use(graph, "1.down.weight").residual
    assert scaled is not None
    assert plain is not None
    assert (scaled.scale, plain.scale) == (("0.scale",), ())
    assert use(graph, "0.scale").residual == scaled


def test_rezero_scalars_scale_their_branches() -> None:
    class ReZero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.alpha = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                x = x + self.alpha[i] * torch.relu(layer(x))
            return x

    graph = trace(ReZero(), torch.rand(2, 4))
    for i in range(3):
        residual = use(graph, f"layers.{i}.weight").residual
        assert residual is not None
        assert (residual.position, residual.of, residual.scale) == (i + 1, 3, ("alpha",))
    assert [[s.start for s in u.block or ()] for u in graph["alpha"]] == [[0], [1], [2]]


def test_post_norm_blocks_are_one_stream() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    graph = trace(model, torch.rand(2, 3, 8))
    assert graph.streams == (4,)
    positions = [u.residual.position for u in graph if u.residual is not None and u.contracts]
    assert positions == [1, 2, 3, 4]


class Block(nn.Module):
    """A block of a ResNet."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.c2, self.b2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.down = (
            nn.Sequential(nn.Conv2d(into, out, 1, stride), nn.BatchNorm2d(out)) if stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.b2(self.c2(functional.relu(self.b1(self.c1(x)), inplace=True)))
        branch += x if self.down is None else self.down(x)
        return functional.relu(branch, inplace=True)


def test_a_resnet_is_one_stream_with_shortcuts() -> None:
    stem = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
    blocks = [Block(4, 4, 1), Block(4, 8, 2), Block(8, 8, 1)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    graph = trace(model, torch.rand(2, 3, 16, 16))
    assert graph.streams == (3,)
    for at, block in enumerate((3, 4, 5)):
        branch = use(graph, f"{block}.c2.weight")
        assert branch.residual is not None
        assert (branch.residual.position, branch.residual.shortcut) == (at + 1, False)
        assert branch.norm_after == f"{block}.b2"
    shortcut = use(graph, "4.down.0.weight").residual
    assert shortcut is not None
    assert (shortcut.position, shortcut.shortcut) == (2, True)
    head = use(graph, "8.weight").source
    assert head.activation is not None
    assert (head.kind, head.activation.name, head.pooled) == ("residual", "relu", True)


def test_sums_of_parallel_branches_are_no_streams() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(torch.relu(self.a(x) + self.b(x)))
            return out

    graph = trace(Parallel(), torch.rand(5, 4))
    assert graph.streams == ()
    source = use(graph, "c.weight").source
    assert (source.kind, source.weights) == ("weight", ("a.weight", "b.weight"))


def test_experts_are_counted_one_by_one() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(6, 3)
            self.up, self.down = nn.Parameter(torch.rand(3, 6, 8)), nn.Parameter(torch.rand(3, 8, 6))

        def forward(self, x: Tensor) -> Tensor:
            share = self.router(x).softmax(-1)
            hidden = functional.silu(torch.bmm(x.expand(3, *x.shape), self.up))
            return x + torch.einsum("etd,te->td", torch.bmm(hidden, self.down), share)

    graph = trace(Experts(), torch.rand(5, 6))
    up, down = use(graph, "up"), use(graph, "down")
    assert (up.fan_in, up.fan_out, up.batch, up.contracted, up.output) == (6.0, 8.0, (0,), (1,), (2,))
    assert (down.fan_in, down.fan_out, down.gate) == (8.0, 6.0, "value")
    assert down.residual is not None
    assert use(graph, "router.weight").gate == "gate"


def test_experts_behind_a_choice_of_rows() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(6, 4)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)) for _ in range(4)
            )

        def forward(self, x: Tensor) -> Tensor:
            weights, chosen = self.router(x).softmax(-1).topk(2, dim=-1)
            out = torch.zeros_like(x)
            for number, expert in enumerate(self.experts):
                token, slot = torch.where(chosen == number)
                out.index_add_(0, token, expert(x[token]) * weights[token, slot, None])
            return x + out

    torch.manual_seed(0)
    graph = trace(Routed(), torch.rand(200, 6))
    assert graph.ran == "real"
    for number in range(4):
        last = use(graph, f"experts.{number}.2.weight")
        assert (last.gate, last.residual is not None) == ("value", True)


def test_parametrized_weights_have_the_fans_of_the_weight_they_make() -> None:
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 5)),
        parametrizations.spectral_norm(nn.Linear(5, 6)),
        parametrizations.orthogonal(nn.Linear(6, 7)),
        parametrizations.weight_norm(nn.Conv1d(1, 3, 2)),
    )
    model = nn.Sequential(*model[:3], nn.Unflatten(1, (1, 7)), model[3])
    graph = trace(model, torch.rand(2, 4))
    assert graph.unreached == ()
    for name, fans in {
        "0.parametrizations.weight.original1": (4.0, 5.0),
        "1.parametrizations.weight.original": (5.0, 6.0),
        "2.parametrizations.weight.original": (6.0, 7.0),
        "4.parametrizations.weight.original1": (2.0, 6.0),
    }.items():
        found = use(graph, name)
        assert (found.fan_in, found.fan_out) == fans
        assert found.through
    for name in ("0.parametrizations.weight.original0", "4.parametrizations.weight.original0"):
        assert use(graph, name).op == "scale"


def test_a_tied_embedding_is_both_embedding_and_head() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            out: Tensor = self.head(torch.tanh(self.embed(ids)))
            return out

    graph = trace(Tied(), torch.tensor([[1, 2]]))
    embedding, head = graph["embed.weight"]
    assert (embedding.op, embedding.fan_in, embedding.head) == ("embedding", 1.0, False)
    assert (head.op, head.fan_in, head.fan_out, head.head) == ("matmul", 6.0, 11.0, True)
    assert graph.tied == {"embed.weight": ("head.weight",)}
    principal = graph.principal("embed.weight")
    assert principal == head


def test_a_module_that_is_called_several_times_is_counted() -> None:
    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(5):
                x = torch.tanh(self.inner(x))
            return x

    graph = trace(Looped(), torch.rand(2, 4))
    assert sum(u.calls for u in graph["inner.weight"]) == 5
    assert graph.depth == 5


def test_tokens_and_positions_are_no_weights() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls, self.position = nn.Parameter(torch.rand(1, 1, 6)), nn.Parameter(torch.rand(1, 5, 6))
            self.patch, self.head = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.patch(x)], dim=1) + self.position
            out: Tensor = self.head(tokens[:, 0])
            return out

    graph = trace(Tokens(), torch.rand(2, 4, 3))
    assert (use(graph, "cls").op, use(graph, "position").op) == ("token", "shift")
    assert use(graph, "head.weight").source.kind == "mixed"


def test_learned_queries_are_a_signal_and_their_projection_a_weight() -> None:
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents, self.q, self.kv = nn.Parameter(torch.rand(3, 8)), nn.Linear(8, 8), nn.Linear(4, 16)

        def forward(self, x: Tensor) -> Tensor:
            k, v = self.kv(x).chunk(2, dim=-1)
            q = self.q(self.latents).expand(len(x), -1, -1)
            return torch.softmax(q @ k.transpose(1, 2), dim=-1) @ v

    graph = trace(Latents(), torch.rand(2, 5, 4))
    q = use(graph, "q.weight")
    assert (q.op, q.fan_in, q.attention, q.source.kind) == ("matmul", 8.0, "q", "learned")
    assert use(graph, "latents").op == "start"
    assert [u.attention for u in graph["kv.weight"]] == ["k", "v"]
