"""What experiments that train are made of: plans that differ in weights alone, wins, and curves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from goodinit.initializers import Constant, XavierUniform
from goodinit.lab import depth_sweep, forget_bias, mup_widths, residual_scaling, seed_lottery, tanh_unsteady
from goodinit.lab.estimates import median
from goodinit.lab.nets import small
from goodinit.lab.training import DEFAULT, accuracy, at_pass, members, reweighted, train_s4, tried, wins
from goodinit.records import Curve, Interval, MemberRun


def test_weights_are_filled_anew_and_biases_are_not() -> None:
    plans = reweighted(small(3, nn.ReLU), {"ones": Constant(1.0)})
    default, ones = (plans[label].apply_(small(3, nn.ReLU), seed=3) for label in (DEFAULT, "ones"))
    for (name, one), other in zip(default.named_parameters(), ones.parameters(), strict=True):
        assert torch.equal(one, other) is name.endswith("bias")
        assert bool((other == 1).all()) is name.endswith("weight")


def test_convolution_kernels_are_weights_and_norms_are_not() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    plans = reweighted(model, {"ones": Constant(3.0)})
    model = plans["ones"].apply_(model)
    assert bool((model[0].weight == 3).all())
    assert bool((model[1].weight == 1).all())


def test_wins_are_of_the_lower_and_ties_take_no_part() -> None:
    assert wins([1.0, 1.0, 5.0, 2.0], [2.0, 1.0, 4.0, 3.0]).value == pytest.approx(2 / 3)
    assert wins([1.0], [math.inf]).value == 1.0
    assert wins([1.0], [1.0]) == Interval(0.5, 0.0, 1.0)


def test_what_diverged_is_left_out_of_a_line() -> None:
    curve = Curve((0, 70, 140), (1.0, 0.5, math.inf), (0.9, 0.4, 0.3), (1.1, 0.6, math.inf))
    line = tried("one", curve, 70)
    assert line.x == (0.0, 1.0)
    assert line.high == (1.1, 0.6)


def test_the_same_weights_give_the_same_curve_and_others_do_not() -> None:
    laws = {"one": XavierUniform(), "again": XavierUniform(), "wider": XavierUniform(2.0)}
    made = train_s4(3, nn.Tanh, laws, seeds=(0, 1), passes=(1, 2), lr=0.01)
    one, again, wider = ([run.test for run in members(made, label, 0.01)] for label in laws)
    assert one == again
    assert all(first != second for first, second in zip(one, wider, strict=True))
    assert at_pass(made, "one", 0.01, 2) == [row[-1] for row in one]
    assert made.steps == (0, 70, 140)


def test_a_network_that_diverged_has_an_accuracy_of_zero() -> None:
    made = train_s4(3, nn.Tanh, {}, seeds=(0, 1), passes=(1,), lr=0.01)
    worst = [
        each.__class__(**{**vars(each), "score": Interval(-math.inf, -math.inf, 0.5)}) for each in made.best
    ]
    made = made.__class__(**{**vars(made), "best": tuple(worst)})
    assert accuracy(made, DEFAULT) == Interval(0.0, 0.0, 0.5)


def test_jumps_are_counted_in_the_last_quarter_alone() -> None:
    def run(*losses: float) -> MemberRun:
        return MemberRun("plan", 0.1, 0, losses, losses, losses)

    assert tanh_unsteady.jumps(run(1, 9, 1, 9, 1, 9, 1, 1)) == 0.0
    assert tanh_unsteady.jumps(run(1, 1, 1, 1, 1, 1, 1, 1.2)) == 0.5
    assert tanh_unsteady.jumps(run(1, 1, 1, 1, 1, 1, 1, 1.05)) == 0.0


def test_the_deepest_network_is_the_last_before_the_first_that_fails() -> None:
    reached = {
        depth: Interval(value, value, value) for depth, value in ((1, 0.9), (2, 0.8), (4, 0.2), (8, 0.9))
    }
    assert depth_sweep._deepest(reached) == 2


def test_the_power_of_a_sign_test_is_its_level_without_a_difference_and_one_with_a_large_one() -> None:
    # Of 2,000 samples at a level below 2.5 % on this side, more than 5 % reject with probability < 1e-9.
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(400, generator=draw, dtype=torch.float64)
    other = torch.randn(400, generator=draw, dtype=torch.float64)
    gains = torch.cat([one - other, other - one])
    none = seed_lottery.power(gains.tolist(), [0.0] * 800, (32,))
    large = seed_lottery.power((-gains.abs()).tolist(), [0.0] * 800, (32,))
    worse = seed_lottery.power(gains.abs().tolist(), [0.0] * 800, (32,))
    assert none[0] < 0.05
    assert worse == [0.0]
    assert large == [1.0]


def test_the_spread_of_equal_losses_is_one_and_of_others_is_more() -> None:
    assert seed_lottery.spread([2.0] * 20) == Interval(1.0, 1.0, 1.0)
    assert seed_lottery.spread([float(2**at) for at in range(11)]).value == pytest.approx(2**8)


def test_the_recalled_number_is_the_first_and_all_others_are_zero() -> None:
    x, y = forget_bias.recall(5)
    assert torch.equal(x[:, 0], y)
    assert not x[:, 1:].any()
    assert x.shape[1:] == (5, 1)


def test_forget_biases_are_in_the_forget_block_and_counted_once() -> None:
    plans = forget_bias.plans(4, 30)
    for label, forget in (("forget bias 0", 0.0), ("forget bias 2", 2.0)):
        lstm = plans[label].apply_(forget_bias.Recall(4)).lstm
        both = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
        assert both.tolist() == [0.0] * 4 + [forget] * 4 + [0.0] * 8
    chrono = plans["chrono"].apply_(forget_bias.Recall(4)).lstm.bias_ih_l0.detach()
    assert torch.equal(chrono[:4], -chrono[4:8])
    assert bool((chrono[4:8] > 0).all())


def test_only_the_ends_of_branches_differ_between_residual_plans() -> None:
    model = residual_scaling.net(3, 6)
    plans = residual_scaling.plans(model, 3)
    filled = [dict(plan.apply_(residual_scaling.net(3, 6)).named_parameters()) for plan in plans.values()]
    for name in filled[0]:
        same = all(torch.equal(filled[0][name], each[name]) for each in filled[1:])
        assert same is not name.endswith("branch.2.weight"), name
    end = "0.branch.2.weight"
    assert torch.allclose(filled[1][end], filled[0][end] / math.sqrt(3), rtol=1e-5)
    assert not filled[2][end].any()


def test_both_parametrizations_are_one_network_at_the_base_width_and_two_above() -> None:
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    for width, same in ((16, True), (64, False)):
        outputs = []
        for maximal in (False, True):
            model = mup_widths.net(width, maximal)
            outputs.append(mup_widths.plan(model, width, maximal).apply_(model)(x))
        assert torch.equal(*outputs) is same


def test_mup_keeps_what_hidden_layers_do_and_shrinks_the_last_ones_weights() -> None:
    width, r = 256, 16
    model = mup_widths.net(width, True)
    model = mup_widths.plan(model, width, True).apply_(model)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    stds = [float((layer.factor * layer.weight.detach()).std()) for layer in layers]
    # 2,560 weights at least: six standard errors of a std are 6/√(2·2560) = 8.4 %.
    assert stds == pytest.approx([64**-0.5, width**-0.5, width**-0.5 / math.sqrt(r)], rel=0.084)
    assert [layer.factor for layer in layers] == [1.0, 1 / r, 1 / r]


def test_medians_of_wins_and_losses_are_told_apart() -> None:
    """The planted fault of all shares of wins: a law that is far too small does not win, Xavier's does."""
    laws = {"Xavier": XavierUniform(), "Xavier / 10": XavierUniform(0.1)}
    made = train_s4(3, nn.Tanh, laws, seeds=range(12), passes=(1,), lr=0.03)
    default, xavier, little = (at_pass(made, label, 0.03, 1) for label in (DEFAULT, *laws))
    assert wins(xavier, default).low > 0.5 > wins(little, default).high
    assert median(xavier).value < median(default).value < median(little).value
