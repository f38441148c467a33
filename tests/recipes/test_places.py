"""Branches and outputs that add up places: neighbours of a graph, experts, layers, measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit

Mix = Callable[[Tensor, Tensor, nn.Module], Tensor]
NODES, WIDTH, DEPTH = 24, 32, 5


def neighbours(kind: str) -> Tensor:
    """An adjacency matrix with loops, as it is or divided by degrees."""
    drawn = (torch.rand(NODES, NODES, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    matrix = ((drawn + drawn.T + torch.eye(NODES)) > 0).float()
    degree = matrix.sum(1)
    if kind == "symmetric":
        return matrix / (degree[:, None] * degree).sqrt()
    return matrix / degree[:, None] if kind == "mean" else matrix


def scattered(matrix: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """The same mean over neighbours, edge by edge."""
    to, start = matrix.nonzero(as_tuple=True)
    values = layer(x)[:, start] * matrix[to, start][:, None]
    return torch.zeros_like(x).index_add(1, to, values)


MIXES: dict[str, Mix] = {
    "before": lambda matrix, x, layer: layer(matrix @ x),
    "after": lambda matrix, x, layer: matrix @ layer(x),
    "einsum": lambda matrix, x, layer: torch.einsum("ij,bjd->bid", matrix, layer(x)),
    "edges": scattered,
}


class Convolved(nn.Module):
    """Graph convolutions on a residual stream, the matrix a buffer or an argument."""

    def __init__(self, mix: Mix, kind: str, inside: bool = False) -> None:
        super().__init__()
        self.mix, self.inside = mix, inside
        self.first, self.last = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(DEPTH))
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        self.register_buffer("matrix", neighbours(kind))
        self.added: list[float] = []

    def forward(self, x: Tensor, matrix: Tensor | None = None) -> Tensor:
        assert isinstance(self.matrix, Tensor)
        matrix = self.matrix if matrix is None else matrix
        if self.inside:  # the model divides by degrees itself
            matrix = matrix / matrix.sum(-1, keepdim=True)
        x = self.first(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            branch = self.mix(matrix, norm(x), layer)
            self.added.append(float(branch.detach().square().mean()))
            x = x + branch
        out: Tensor = self.last(x)
        return out


def added(model: nn.Module, plan: goodinit.Plan, inputs: tuple[Tensor, ...], seeds: int = 3) -> float:
    """What all branches add, each by itself, as a mean over fills."""
    for seed in range(seeds):
        plan.apply_(model, seed=seed)
        torch.manual_seed(seed)
        if seed == 0:
            model.added.clear()
        model(torch.randn_like(inputs[0]), *inputs[1:])
    return sum(model.added) / seeds


# Five branches of 32 features and three fills scatter by some 7 %; uncounted, the mixes that come after
# the weights add a tenth of 1, or eleven times as much.
@pytest.mark.parametrize("kind", ["symmetric", "mean", "plain"])
@pytest.mark.parametrize("mix", MIXES)
def test_branches_that_mix_neighbours_add_their_share(mix: str, kind: str) -> None:
    torch.manual_seed(0)
    model, x = Convolved(MIXES[mix], kind), torch.zeros(6, NODES, 8)
    assert added(model, goodinit.plan(model, example=x), (x,)) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("mix", ["before", "after"])
def test_a_matrix_that_is_given_counts_with_its_numbers(mix: str) -> None:
    torch.manual_seed(0)
    for kind, inside in (("symmetric", False), ("plain", True)):
        model = Convolved(MIXES[mix], kind, inside)
        inputs = torch.zeros(6, NODES, 8), neighbours(kind)
        plan = goodinit.plan(model, example=inputs)
        assert added(model, plan, inputs) == pytest.approx(1, rel=0.3)
        assert "gate" not in plan["layers.0.weight"].why.split(";")[0]


def test_an_output_that_is_mixed_last_has_unit_size() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 64), nn.Linear(64, 7)

        def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
            out: Tensor = matrix @ self.two(torch.relu(matrix @ self.one(x)))
            return out

    inputs = torch.zeros(NODES, 8), neighbours("symmetric")
    model, total = Two(), 0.0
    plan = goodinit.plan(model, example=inputs)
    for seed in range(8):
        plan.apply_(model, seed=seed)
        torch.manual_seed(seed)
        total += float(model(torch.randn(NODES, 8), inputs[1]).detach().square().mean()) / 8
    # It was a fifth.
    assert total == pytest.approx(1, rel=0.4)


class Attended(nn.Module):
    """Graph attention: logits a·h_i + b·h_j, shares of neighbours."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, size = heads, WIDTH // heads
        self.first, self.last = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(DEPTH))
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        self.ones = nn.ParameterList(nn.Parameter(torch.randn(heads, size)) for _ in range(DEPTH))
        self.others = nn.ParameterList(nn.Parameter(torch.randn(heads, size)) for _ in range(DEPTH))
        self.register_buffer("matrix", neighbours("plain"))
        self.added: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, layer, one, other in zip(self.norms, self.layers, self.ones, self.others, strict=True):
            h = layer(norm(x)).unflatten(-1, (self.heads, -1))
            logits = (h * one).sum(-1)[:, :, None] + (h * other).sum(-1)[:, None]
            logits = nn.functional.leaky_relu(logits, 0.2).masked_fill(self.matrix[..., None] == 0, -1e9)
            branch = torch.einsum("bijh,bjhd->bihd", logits.softmax(2), h).flatten(-2)
            self.added.append(float(branch.detach().square().mean()))
            x = x + branch
        out: Tensor = self.last(x)
        return out


@pytest.mark.parametrize("heads", [1, 4])
def test_graph_attention_adds_its_share_and_its_vectors_make_logits(heads: int) -> None:
    torch.manual_seed(0)
    model, x = Attended(heads), torch.zeros(6, NODES, 8)
    plan = goodinit.plan(model, example=x)
    # Nodes become alike, which the shares of independent ones do not show: it was 2.1.
    assert added(model, plan, (x,)) == pytest.approx(1, rel=0.35)
    assert "attention logits" in plan["ones.0"].why


class Layers(nn.Module):
    """A mean of layers with learned shares, in a stream or as the output."""

    def __init__(self, how: str, blocks: int, start: float) -> None:
        super().__init__()
        self.how, self.first = how, nn.Linear(16, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks))
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in "abc") for _ in range(blocks)
        )
        self.shares = nn.ParameterList(nn.Parameter(torch.full((3,), start)) for _ in range(blocks))
        self.added: list[float] = []

    def mixed(self, made: list[Tensor], s: Tensor) -> Tensor:
        p = s.softmax(0)
        if self.how == "stack":
            return (torch.stack(made) * p[:, None, None]).sum(0)
        if self.how == "last":
            return torch.stack(made, -1) @ p
        if self.how == "einsum":
            return torch.einsum("l,lbd->bd", p, torch.stack(made))
        if self.how == "mean":
            return torch.stack(made).mean(0)
        out: Tensor = sum((share * one for share, one in zip(p, made, strict=True)), torch.zeros(()))
        return out

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if len(self.layers) == 1:
            return self.mixed([layer(x) for layer in self.layers[0]], self.shares[0])
        for norm, layers, shares in zip(self.norms, self.layers, self.shares, strict=True):
            branch = self.mixed([layer(norm(x)) for layer in layers], shares)
            self.added.append(float(branch.detach().square().mean()))
            x = x + branch
        return x


HOWS = ["sum", "stack", "last", "einsum", "mean"]


@pytest.mark.parametrize("how", HOWS)
def test_a_mean_of_layers_adds_its_share(how: str) -> None:
    model, x = Layers(how, 4, 0.0), torch.zeros(64, 16)
    # Uncounted, each layer's share is lost: a third.
    assert added(model, goodinit.plan(model, example=x), (x,)) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("how", HOWS)
def test_a_mean_of_layers_that_is_the_output_has_unit_size(how: str) -> None:
    model, x = Layers(how, 1, 0.0), torch.randn(256, 16)
    goodinit.initialize(model, example=x, seed=0)
    assert float(model(x).detach().square().mean()) == pytest.approx(1, rel=0.3)


def test_learned_shares_on_meta_begin_alike() -> None:
    with torch.device("meta"):
        model = Layers("einsum", 4, 0.0)
    plan = goodinit.plan(model, example=torch.zeros(64, 16))
    assert "shares of a mean" in plan["shares.0"].why
    with torch.device("cpu"):
        own = goodinit.plan(Layers("einsum", 4, 0.0), example=torch.zeros(64, 16))
    assert plan["layers.0.0.weight"].std == pytest.approx(own["layers.0.0.weight"].std)


class Dispatched(nn.Module):
    """Experts with room for some rows each, as GShard: what is left over is dropped, places stay empty."""

    def __init__(self, room: float, blocks: int = 3) -> None:
        super().__init__()
        self.room, self.first = room, nn.Linear(16, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks))
        self.routers = nn.ModuleList(nn.Linear(WIDTH, 8) for _ in range(blocks))
        self.up = nn.ParameterList(nn.Parameter(torch.randn(8, WIDTH, 64)) for _ in range(blocks))
        self.down = nn.ParameterList(nn.Parameter(torch.randn(8, 64, WIDTH)) for _ in range(blocks))
        self.added: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, router, up, down in zip(self.norms, self.routers, self.up, self.down, strict=True):
            h, places = norm(x), max(1, int(self.room * len(x) * 2 / 8))
            share, chosen = router(h).softmax(-1).topk(2, -1)
            share = share / share.sum(-1, keepdim=True)
            mask = nn.functional.one_hot(chosen, 8).to(h.dtype)
            at = (mask.reshape(-1, 8).cumsum(0) - 1).view_as(mask)
            fits = (at < places).to(h.dtype) * mask
            place = nn.functional.one_hot((at * mask).sum(-1).long().clamp(0, places - 1), places).to(h.dtype)
            combine = torch.einsum("nk,nke,nkc->nec", share, fits, place)
            rows = torch.einsum("nec,nd->ecd", combine.bool().to(h.dtype), h)
            rows = torch.einsum(
                "ecf,efd->ecd", nn.functional.gelu(torch.einsum("ecd,edf->ecf", rows, up)), down
            )
            branch = torch.einsum("nec,ecd->nd", combine, rows)
            self.added.append(float(branch.detach().square().mean()))
            x = x + branch
        return x


@pytest.mark.parametrize("room", [1.25, 3.0])
def test_experts_with_empty_places_add_their_share(room: float) -> None:
    torch.manual_seed(0)
    model, x = Dispatched(room), torch.zeros(64, 16)
    # With room for three times the rows, two of three places are empty: uncounted, that adds 3 times 1.
    assert added(model, goodinit.plan(model, example=x), (x,)) == pytest.approx(1, rel=0.25)


class Three(nn.Module):
    """Shares, hidden values and the experts' weights in one einsum."""

    def __init__(self, order: str, blocks: int = 3) -> None:
        super().__init__()
        self.order, self.first = order, nn.Linear(16, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks))
        self.routers = nn.ModuleList(nn.Linear(WIDTH, 8) for _ in range(blocks))
        self.up = nn.ParameterList(nn.Parameter(torch.randn(8, WIDTH, 64)) for _ in range(blocks))
        self.down = nn.ParameterList(nn.Parameter(torch.randn(8, 64, WIDTH)) for _ in range(blocks))
        self.added: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, router, up, down in zip(self.norms, self.routers, self.up, self.down, strict=True):
            share = router(norm(x)).softmax(-1)
            hidden = nn.functional.gelu(torch.einsum("bd,edf->bef", norm(x), up))
            named = {"be": share, "bef": hidden, "efd": down}
            branch = torch.einsum(f"{self.order}->bd", *(named[key] for key in self.order.split(",")))
            self.added.append(float(branch.detach().square().mean()))
            x = x + branch
        return x


@pytest.mark.parametrize("order", ["be,bef,efd", "bef,efd,be"])
def test_experts_and_shares_in_one_einsum_add_their_share(order: str) -> None:
    torch.manual_seed(0)
    model, x = Three(order), torch.zeros(64, 16)
    # Shares of 1/8 uncounted leave a thirtieth.
    assert added(model, goodinit.plan(model, example=x), (x,)) == pytest.approx(1, rel=0.25)
