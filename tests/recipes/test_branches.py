"""How much each branch of a residual stream adds, measured in the filled network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import goodinit
from goodinit import plan

WIDTH, SEEDS = 128, 8


class Feed(nn.Module):
    """Norm, up, GELU, down: one branch without its addition."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256), nn.Linear(256, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.gelu(self.up(self.norm(x))))


class Stack(nn.Module):
    """A pre-norm stream of blocks, each a function of (x, its own two branches)."""

    def __init__(self, join: Callable[[Tensor, Feed, Feed], Tensor], depth: int = 6) -> None:
        super().__init__()
        self.join = join
        self.first = nn.ModuleList(Feed() for _ in range(depth))
        self.second = nn.ModuleList(Feed() for _ in range(depth))
        self.end = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def stream(self, x: Tensor) -> list[Tensor]:
        """The stream before and after every block."""
        seen = [x]
        for first, second in zip(self.first, self.second, strict=True):
            seen.append(self.join(seen[-1], first, second))
        return seen

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.end(self.stream(x)[-1]))


class Tied(nn.Module):
    """A language model whose token table is its output layer, as GPT-2."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(500, WIDTH), nn.Embedding(16, WIDTH)
        self.blocks = nn.ModuleList(Feed() for _ in range(depth))
        self.end = nn.LayerNorm(WIDTH)

    def stream(self, ids: Tensor) -> list[Tensor]:
        """The stream before and after every block."""
        seen = [self.tokens(ids) + self.places(torch.arange(ids.shape[1]))]
        for block in self.blocks:
            seen.append(seen[-1] + block(seen[-1]))
        return seen

    def forward(self, ids: Tensor) -> Tensor:
        return self.end(self.stream(ids)[-1]) @ self.tokens.weight.T


def growth(model: nn.Module, example: Tensor, batch: Tensor, scale: float = 1.0) -> tuple[float, float]:
    """Mean factor of the second moment from the stream's beginning to its end: of signal, of gradient."""
    made = plan(model, "auto", example=example)
    forward = backward = 0.0
    for seed in range(SEEDS):
        made.apply_(model, seed=seed)
        if scale != 1.0:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if name.endswith("down.weight"):
                        parameter *= scale
        seen = model.stream(batch)
        begin, end = seen[0], seen[-1]
        (gradient,) = torch.autograd.grad(end, begin, torch.randn_like(end), retain_graph=True)
        forward += float((end.square().mean() / begin.square().mean()).detach()) / SEEDS
        backward += float(gradient.square().mean()) / SEEDS
    return forward, backward


def data(seed: int = 0) -> Tensor:
    return torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()


JOINS: dict[str, Callable[[Tensor, Feed, Feed], Tensor]] = {
    "one after the other": lambda x, a, b: (y := x + a(x)) + b(y),
    "side by side, as shared and routed experts": lambda x, a, b: x + a(x) + b(x),
    "summed before they are added": lambda x, a, b: x + (a(x) + b(x)),
    "half steps, as in a Conformer": lambda x, a, b: (y := x + 0.5 * a(x)) + 0.5 * b(y),
}


@pytest.mark.parametrize("name", JOINS)
def test_all_branches_together_add_what_the_stream_began_with(name: str) -> None:
    forward, backward = growth(Stack(JOINS[name]), torch.zeros(2, WIDTH), data())
    assert forward == pytest.approx(2.0, rel=0.15)
    assert 1.0 < backward < 4.0


def test_branches_that_are_three_times_too_large_would_be_seen() -> None:
    forward, _ = growth(
        Stack(JOINS["summed before they are added"]), torch.zeros(2, WIDTH), data(), scale=3.0
    )
    assert forward > 4.0


def test_a_stream_that_begins_with_the_output_layers_table_keeps_its_balance() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 500, (8, 16))
    model = Tied()
    forward, backward = growth(model, ids, ids)
    assert forward == pytest.approx(2.0, rel=0.15)
    assert 1.0 < backward < 4.0
    assert "begins at 0.0156" in plan(model, "auto", example=ids)["blocks.0.down.weight"].why


def test_branches_of_unit_share_would_drown_a_tied_table() -> None:
    ids = torch.randint(0, 500, (8, 16), generator=torch.Generator().manual_seed(0))
    model = Tied()
    forward, backward = growth(model, ids, ids, scale=0.0156**-0.5)
    assert forward > 20
    assert backward > 20


def test_a_table_that_is_read_through_a_norm_begins_its_stream_at_one() -> None:
    model = Tied()
    inner = model.stream

    def normed(ids: Tensor) -> Tensor:
        x = model.end(model.tokens(ids))
        for block in model.blocks:
            x = x + block(x)
        return model.end(x) @ model.tokens.weight.T

    model.forward = normed  # type: ignore[method-assign]
    assert inner is not None
    made = plan(model, "auto", example=torch.zeros(2, 16, dtype=torch.long), overrides={"places.*": "keep"})
    assert "begins at" not in made["blocks.0.down.weight"].why


def test_a_sum_of_results_counts_each_of_them() -> None:
    class Skips(nn.Module):
        """As in WaveNet: the results of four layers are added up before the head reads them."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.mix, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.mix(sum(part(x) for part in self.parts))))

    model = Skips()
    made = goodinit.plan(model, "auto", example=torch.zeros(2, WIDTH))
    assert made["mix.weight"].std == pytest.approx((4 * WIDTH) ** -0.5)


class _Fading(nn.Module):
    """x ← b·(a·x + c·u): what a stream keeps is less than all, again and again."""

    def __init__(self, width: int, depth: int, factors: tuple[float, float, float]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        a, b, c = self.factors
        for block in self.blocks:
            x = (a * x + c * block(x)) * b
        return self.last(x)


@pytest.mark.parametrize("depth", [3, 20])
@pytest.mark.parametrize(
    "factors",
    [(1.0, 0.5**0.5, 1.0), (0.7, 1.31306, 0.3), (0.9, 1.0, 0.1)],
    ids=["wavenet", "edm2", "average"],
)
def test_branches_make_up_for_constants_that_shrink_the_stream(
    factors: tuple[float, float, float], depth: int
) -> None:
    torch.manual_seed(0)
    model, x, seen = _Fading(64, depth, factors), torch.randn(256, 64), []
    made = plan(model, example=x)
    hook = model.last.register_forward_hook(lambda *call: seen.append(float(call[1][0].square().mean())))
    for seed in range(3):
        made.apply_(model, seed=seed)
        with torch.no_grad():
            model(x)
    hook.remove()
    # Of a twentieth for each of 20 branches, a stream that is halved each time keeps a fifteenth.
    assert all(0.5 < moment < 1.6 for moment in seen), seen
    assert depth == 3 or "shrinks" in made["blocks.2.3.weight"].why
