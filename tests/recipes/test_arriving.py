"""What arrives at a weight behind products, sums, joins and constant factors, against measurement."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import goodinit
from goodinit.initializers import Constant, LooksLinear
from goodinit.plans import plan


class Recurrent(nn.Module):
    """An LSTM written by hand."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.inside = nn.Linear(16, 4 * width)
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        state = cell = x.new_zeros(len(x), self.width)
        for _ in range(12):
            i, f, g, o = (self.inside(x) + self.hidden(state)).chunk(4, -1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
        return state


class Joined(nn.Module):
    """Each layer reads a signal beside its own negative, both rectified."""

    def __init__(self, width: int = 64, depth: int = 10) -> None:
        super().__init__()
        self.first = nn.Linear(16, width)
        self.layers = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(torch.cat([torch.relu(x), torch.relu(-x)], -1))
        return x


class Dense(nn.Module):
    """Each layer reads all before it, side by side."""

    def __init__(self, growth: int = 24, depth: int = 12) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16 + at * growth, growth) for at in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], -1)
        return x


class Maxout(nn.Module):
    def __init__(self, width: int = 64, depth: int = 10) -> None:
        super().__init__()
        self.first = nn.Linear(16, 3 * width)
        self.layers = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x.unflatten(-1, (-1, 3)).amax(-1))
        return x


def second_moments(model: nn.Module, seed: int) -> list[float]:
    """The second moment of what each linear layer puts out, in the order of execution."""
    found: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda *call: found.append(float(call[2].square().mean())))
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        model(torch.randn(256, 16, generator=torch.Generator().manual_seed(seed)))
    for hook in hooks:
        hook.remove()
    return [moment for moment in found if moment != 0.0]  # a first state is zero


@pytest.mark.parametrize("build", [Recurrent, Joined, Dense, Maxout])
def test_signals_behind_products_sums_and_joins_keep_their_size(build: Callable[[], nn.Module]) -> None:
    model = build()
    made = plan(model, "auto", example=torch.zeros(4, 16))

    def held() -> bool:
        runs = []
        for seed in range(4):
            made.apply_(model, seed=seed)
            if faulty:
                with torch.no_grad():
                    for layer in model.modules():
                        if isinstance(layer, nn.Linear):
                            layer.weight.mul_(3)
            runs.append(second_moments(model, seed))
        return all(0.3 < sum(moments) / 4 < 3 for moments in zip(*runs, strict=True))

    faulty = False
    assert held()
    faulty = True  # the planted fault
    assert not held()


def test_the_moment_told_of_a_join_is_that_of_its_parts() -> None:
    made = plan(Dense(growth=16, depth=3), "auto", example=torch.zeros(4, 16))
    # A third of the inputs are data of second moment 1, the rest rectified ones of 1/2.
    assert "second moment 0.67)" in made["layers.2.weight"].why
    assert made["layers.2.weight"].std == pytest.approx(math.sqrt(1 / (48 * 2 / 3)), rel=0.02)


class Attention(nn.Module):
    def __init__(self, scale: float, width: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.scale = scale
        self.logits = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (layer(y).unflatten(-1, (4, 16)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        self.logits = q @ k.transpose(-1, -2) * self.scale
        return x + self.out((self.logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("scale", [1.0, 1 / 4, 1 / 16])
def test_logits_have_unit_variance_whatever_the_model_divides_them_by(scale: float) -> None:
    model = Attention(scale)
    made = plan(model, "auto", example=torch.zeros(2, 8, 64))
    made.apply_(model, seed=0)
    model(torch.randn(64, 32, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.7 < float(model.logits.detach().square().mean()) < 1.4
    usual = scale == 1 / 4
    assert (made["q.weight"].std == pytest.approx(1 / 8)) == usual  # the planted fault: q of second moment 1
    assert ("model's own factor" in made["q.weight"].why) != usual


def test_logits_scaled_inside_the_fused_product_are_seen_too() -> None:
    class Fused(Attention):
        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            q, k, v = (layer(y).unflatten(-1, (4, 16)).transpose(1, 2) for layer in (self.q, self.k, self.v))
            mixed = functional.scaled_dot_product_attention(q * self.scale, k, v, scale=1.0)
            return x + self.out(mixed.transpose(1, 2).flatten(2))

    usual, unscaled = (plan(Fused(s), "auto", example=torch.zeros(2, 8, 64)) for s in (1 / 4, 1.0))
    assert usual["q.weight"].std == pytest.approx(1 / 8)
    assert unscaled["q.weight"].std == pytest.approx(1 / 16)  # second moment 1/√16 each, logits of variance 1


class Branch(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.up, self.down, self.factor = nn.Linear(16, 16), nn.Linear(16, 16), factor

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * self.down(torch.relu(self.up(x)))


def test_a_branch_that_its_author_made_small_is_not_made_large_again() -> None:
    plans = {
        factor: plan(nn.Sequential(*(Branch(factor) for _ in range(8))), "auto", example=torch.zeros(2, 16))
        for factor in (0.1, 0.5)
    }
    assert plans[0.1]["0.down.weight"].std == pytest.approx(math.sqrt(1 / (0.5 * 16)))
    assert "a factor of 0.1 already keeps small" in plans[0.1]["0.down.weight"].why
    # Half steps are large for one of 8 branches: 0.5²·q = 1/8.
    assert plans[0.5]["0.down.weight"].std == pytest.approx(math.sqrt(0.5 / (0.5 * 16)))


class Tied(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.table, self.layer, self.norm = nn.Embedding(40, 64), nn.Linear(64, 64), nn.LayerNorm(64)
        self.factor = factor

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) * self.factor
        return self.norm(x + torch.tanh(self.layer(x))) @ self.table.weight.T


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_what_reads_the_output_layers_table_reads_its_second_moment(factor: float) -> None:
    model = Tied(factor)
    plan(model, "auto", example=torch.zeros(2, 8, dtype=torch.long)).apply_(model, seed=0)
    x = model.table(torch.arange(40)) * factor
    begins = float(x.detach().square().mean())
    assert begins == pytest.approx(factor**2 / 64, rel=0.2)
    # The branch adds as much as the stream began with.
    assert float(model.layer(x).square().mean()) == pytest.approx(begins, rel=0.3)


def test_biases_of_experts_are_zero_on_meta_too() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(4, 32, 16))
            self.bias = nn.Parameter(torch.zeros(4, 32))
            self.positions = nn.Parameter(torch.randn(9, 16))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.einsum("btd,ehd->bteh", x + self.positions, self.up) + self.bias).sum(2)

    with torch.device("meta"):
        model = Experts()
    made = plan(model, "auto", example=torch.zeros(2, 9, 16))
    assert made["bias"].initializer == Constant(0.0)
    assert "one bias for each output" in made["bias"].why
    assert made["positions"].std == pytest.approx(0.02)  # not everything of two dimensions is a bias


def test_chains_whose_only_good_scale_is_huge_are_mirrored_at_any_depth() -> None:
    def chain(width: int) -> nn.Sequential:
        class Written(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.log1p(x.exp())  # overflows beyond 88

        layers = [module for _ in range(30) for module in (nn.Linear(width, width), Written())]
        return nn.Sequential(*layers, nn.Linear(width, 5))

    assert goodinit.theory.operating_point("softplus", 31).q > 100
    model = chain(64)
    made = plan(model, "auto", example=torch.zeros(2, 64))
    assert isinstance(made["2.weight"].initializer, LooksLinear)
    made.apply_(model, seed=0)
    out = model(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.3 < float(out.square().mean()) < 3


def test_the_work_for_a_deep_chain_grows_no_faster_than_its_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = np.polynomial.polynomial.polyval
    monkeypatch.setattr(np.polynomial.polynomial, "polyval", lambda *args: calls.append(1) or original(*args))
    layers = [module for _ in range(97) for module in (nn.Linear(8, 8), nn.Tanh())]
    made = plan(nn.Sequential(*layers, nn.Linear(8, 2)), "auto", example=torch.zeros(2, 8))
    assert made["2.weight"].std > 0
    assert 90 < len(calls) < 400  # once for the chain, not once for each of its weights


def test_a_layer_that_is_called_again_is_judged_by_what_it_mostly_reads() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(16, 64), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            for _ in range(8):
                x = torch.tanh(self.again(x) / 4)
            return x

    model = Again()
    plan(model, "auto", example=torch.zeros(2, 16)).apply_(model, seed=0)
    moments = second_moments(model, 0)
    assert all(0.3 < moment < 10 for moment in moments[2:])
    with torch.no_grad():
        model.again.weight.div_(4)  # the planted fault: as if it read the first layer alone
    assert min(second_moments(model, 0)) < 0.1
