"""Normalizations at the end of residual branches: their gains set what the branches add, measured."""

import math

import pytest
import torch
from torch import nn

import goodinit


class Gain(nn.Module):
    """A normalization with a gain in one of the ways in which people write it."""

    def __init__(self, width, how, start):
        super().__init__()
        self.gain, self.how = nn.Parameter(torch.full((width,), start)), how

    def forward(self, x):
        return self.how(x, self.gain)


def root_mean_square(x):
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def centered(x):
    return x - x.mean(-1, keepdim=True)


SPELLINGS = {
    "rms, then the gain": (lambda x, g: x * root_mean_square(x) * g, 1.0),
    "the gain, then rms": (lambda x, g: x * g * root_mean_square(x), 1.0),
    "the gain on rms": (lambda x, g: x * (g * root_mean_square(x)), 1.0),
    "one plus the gain": (lambda x, g: x * root_mean_square(x) * (1 + g), 0.0),
    "the gain's exponential": (lambda x, g: x * root_mean_square(x) * g.exp(), 0.0),
    "layer norm by hand": (
        lambda x, g: g * centered(x) / torch.sqrt(centered(x).pow(2).mean(-1, keepdim=True) + 1e-6),
        1.0,
    ),
    "functional": (lambda x, g: nn.functional.layer_norm(x, g.shape, g), 1.0),
    "unit length": (lambda x, g: nn.functional.normalize(x, dim=-1) * g, 1.0),
    "unit length, back to size": (lambda x, g: nn.functional.normalize(x, dim=-1) * len(g) ** 0.5 * g, 1.0),
    "sum of squares": (lambda x, g: g * x / x.pow(2).sum(-1, keepdim=True).sqrt(), 1.0),
}


class Block(nn.Module):
    def __init__(self, width, norm, sandwich):
        super().__init__()
        self.pre = norm(width) if sandwich else nn.Identity()
        self.up, self.down, self.post = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), norm(width)

    def forward(self, x):
        return x + self.post(self.down(nn.functional.gelu(self.up(self.pre(x)))))


class Stream(nn.Module):
    def __init__(self, blocks, width, norm, sandwich=True):
        super().__init__()
        self.first, self.last = nn.Linear(16, width), nn.Linear(width, 4)
        self.blocks = nn.ModuleList(Block(width, norm, sandwich) for _ in range(blocks))

    def forward(self, x):
        self.seen = [self.first(x)]
        for block in self.blocks:
            self.seen.append(block(self.seen[-1]))
        return self.last(self.seen[-1])


def added(model, plan=None):
    """What all branches together add to the stream's second moment."""
    plan = plan or goodinit.plan(model, example=torch.zeros(4, 16))
    plan.apply_(model, seed=0)
    with torch.no_grad():
        model(torch.randn(256, 16, generator=torch.Generator().manual_seed(0)))
    steps = zip(model.seen, model.seen[1:], strict=False)
    return sum(float((after - before).square().mean()) for before, after in steps)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("blocks", "width", "sandwich"), [(4, 48, True), (9, 32, False)])
def test_normalized_branches_add_one_together(spelling, blocks, width, sandwich):
    how, start = SPELLINGS[spelling]
    model = Stream(blocks, width, lambda width: Gain(width, how, start), sandwich)
    # The normalization fixes the moment of each row, so what is added does not scatter.
    assert added(model) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d])
@pytest.mark.parametrize(("blocks", "width", "sandwich"), [(3, 64, True), (12, 32, False)])
def test_modules_of_torch_end_branches_at_their_share(norm, blocks, width, sandwich):
    model = Stream(blocks, width, norm, sandwich)
    plan = goodinit.plan(model, example=torch.zeros(4, 16))
    assert plan["blocks.0.post.weight"].mean == pytest.approx(1 / math.sqrt(blocks))
    assert f"one of {blocks} branches" in plan["blocks.0.post.weight"].why
    assert added(model, plan) == pytest.approx(1.0, rel=0.02)
    # The same network with gains of 1 is what this prevents.
    ones = plan.override({r"re:blocks\.\d+\.post\.weight": 1.0})
    assert added(model, ones) == pytest.approx(blocks, rel=0.02)


@pytest.mark.parametrize("twice", [False, True])
def test_a_gain_before_the_size_is_measured_is_normalized_away(twice):
    def swallowed(x, g):
        y = x * g
        return y * root_mean_square(x * g if twice else y)

    model = Stream(5, 32, lambda width: Gain(width, swallowed, 1.0))
    assert goodinit.plan(model, example=torch.zeros(4, 16))["blocks.0.post.gain"].mean == 1.0


def test_the_authors_own_gains_stay():
    model = Stream(4, 32, nn.LayerNorm)
    nn.init.zeros_(model.blocks[0].post.weight)
    nn.init.constant_(model.blocks[1].post.weight, 0.1)
    plan = goodinit.plan(model, example=torch.zeros(4, 16))
    found = [plan[f"blocks.{at}.post.weight"].mean for at in range(4)]
    assert found == [0.0, 0.1, 0.5, 0.5]
    assert plan["blocks.0.post.weight"].why.startswith("kept")


def test_norms_that_begin_branches_or_stand_in_the_stream_stay_pure():
    class After(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
            self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))

        def forward(self, x):
            for layer, norm in zip(self.layers, self.norms, strict=True):
                x = norm(x + torch.relu(layer(x)))
            return x

    after = goodinit.plan(After(), example=torch.zeros(4, 16))
    assert {after[f"norms.{at}.weight"].mean for at in range(3)} == {1.0}
    before = goodinit.plan(Stream(4, 32, nn.LayerNorm), example=torch.zeros(4, 16))
    assert before["blocks.0.pre.weight"].mean == 1.0


@pytest.mark.parametrize("size", [24, 96])
def test_a_weight_that_reads_unit_vectors_makes_up_for_their_length(size):
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(size, size)

        def forward(self, x):
            return self.layer(nn.functional.normalize(x, dim=-1))

    model = Unit()
    goodinit.initialize(model, example=torch.zeros(4, size), seed=1)
    with torch.no_grad():
        assert float(model(torch.randn(512, size)).square().mean()) == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("norm", [nn.RMSNorm, nn.LayerNorm])
def test_a_filled_model_gets_the_same_plan_again(norm):
    model = Stream(5, 32, norm)
    plan = goodinit.initialize(model, example=torch.zeros(4, 16))
    assert goodinit.plan(model, example=torch.zeros(4, 16)) == plan
