"""What experiments state about textbooks holds as measured, or is refuted where it is known to be false."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import goodinit
from goodinit import lab
from goodinit.comparing.datasets import load
from goodinit.initializers import KaimingNormal, LecunNormal, Orthogonal
from goodinit.lab import garbage, recurrent_start, saxe, sigmoid_vanishes, textbook_gains, whole_model
from goodinit.lab.estimates import exact, fact, median
from goodinit.lab.nets import convolutional, dense, normal_batch, small
from goodinit.lab.travel import drawn, travel
from goodinit.records import ExperimentResult

Run = Callable[[str], tuple[ExperimentResult, bool]]

# Claims of the tutorials that are false: the code as printed does nothing.
REFUTED = {
    "parameters that the tutorial's loop changes",
    "parameters that the tutorial's forget-gate loop changes",
}
CHECKED = (
    "xavier-by-hand", "whole-model", "garbage", "kernel-moments", "relu-halves", "three-roads",
    "building-blocks", "recurrent-start", "violins", "sigmoid-vanishes", "glorot-condition", "chosen-layer",
    "textbook-gains", "torch-default-by-depth", "saxe",
)  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_facts_hold_but_for_the_tutorials_code_that_does_nothing(name: str, small_run: Run) -> None:
    result, _ = small_run(name)
    wrong = {each.name for each in result.facts if each.holds is False}
    assert wrong == {each.name for each in result.facts} & REFUTED
    if wrong:
        assert result.textbook.startswith("Wrong")


# --- S0 ---------------------------------------------------------------------------------------------


def test_xaviers_numbers_are_those_of_its_std_and_of_no_other() -> None:
    torch.manual_seed(1)
    ours = nn.init.xavier_normal_(torch.empty(4, 3))
    for std, same in ((math.sqrt(2) / math.sqrt(7), True), (math.sqrt(2 / 3), False)):
        torch.manual_seed(1)
        assert torch.equal(ours, torch.empty(4, 3).normal_(0.0, std)) is same


def test_a_variance_of_kaiming_is_not_taken_for_xaviers(small_run: Run) -> None:
    stated = small_run("xavier-by-hand")[0].fact("variance of 0.weight")
    assert stated.holds
    net = dense((3, 2, 1), nn.Tanh, bias=False)
    plan = goodinit.plan(net, "kaiming_normal", example=torch.zeros(1, 3))
    variance = drawn(net, plan, "0.weight", range(200)).square().mean().item()
    assert not fact("variance", exact(variance), 2 / 5, within=0.2).holds


def test_a_loop_over_modules_would_be_seen_to_change_parameters() -> None:
    """The planted fault of the tutorial's loop, which changes none: one that asks modules."""

    def over_modules(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    model = whole_model.Net(8)
    assert whole_model.changed(model, whole_model.tutorial_loop) == 0
    assert whole_model.changed(model, over_modules) == 3


def test_every_damage_is_damage_and_no_damage_is_not_reported(small_run: Run) -> None:
    result, _ = small_run("garbage")
    assert result.fact("share of sound networks that are remarked on").measured.value == 0.0
    draw = torch.Generator().manual_seed(0)
    for damage in garbage.FAULTS.values():
        weight = normal_batch(8, 8)
        damage(weight, draw)
        assert not torch.equal(weight, normal_batch(8, 8))


# --- S1 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "factor", "other"), [(LecunNormal(), 0.5, 1.0), (KaimingNormal("relu"), 1.0, 0.5)]
)
def test_relu_halves_without_kaimings_factor_and_not_with_it(
    law: goodinit.initializers.Initializer, factor: float, other: float
) -> None:
    batch = normal_batch(4, 24, 4, 4)
    net = convolutional((24,) * 6, nn.ReLU)
    plan = goodinit.plan(net, "torch", example=batch).override({"*.weight": law})
    found = travel(net, plan, batch, range(8))
    for measured in (found.forward_factor, found.backward_factor):
        assert fact("factor", measured, factor, within=0.03).holds
        assert not fact("factor", measured, other, within=0.03).holds


def test_without_a_rectifier_nothing_is_halved() -> None:
    batch = normal_batch(4, 24, 4, 4)
    net = convolutional((24,) * 6, nn.Identity)
    plan = goodinit.plan(net, "torch", example=batch).override({"*.weight": LecunNormal()})
    assert not fact("factor", travel(net, plan, batch, range(8)).forward_factor, 0.5, within=0.03).holds


# --- S2 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "grows"), [(nn.BatchNorm1d, True), (nn.LayerNorm, False)])
def test_gradients_grow_by_pi_over_pi_minus_1_under_batch_norm_only(
    norm: Callable[[int], nn.Module], grows: bool
) -> None:
    batch = normal_batch(128, 64)
    net = dense((64,) * 9, nn.ReLU, bias=False, norm=norm)
    found = travel(net, goodinit.plan(net, "torch", example=batch), batch, range(6))
    growth = math.pi / (math.pi - 1)
    assert fact("growth", found.hidden.backward_factor, growth, within=0.03).holds is grows


def test_fans_from_the_shape_are_seen_to_be_wrong(small_run: Run) -> None:
    result, _ = small_run("building-blocks")
    kept, lost = (each.measured.value for each in result.facts[-2:])
    assert abs(math.log(kept)) < math.log(1.5) < math.log(4) < math.log(lost)


# --- S3 ---------------------------------------------------------------------------------------------


def test_setting_the_forget_block_is_seen_and_the_tutorials_loop_is_not() -> None:
    model = nn.LSTM(3, 5)

    def ours(lstm: nn.Module) -> None:
        lstm.get_parameter("bias_ih_l0").data[5:10] = 2.0

    assert whole_model.changed(model, recurrent_start.tutorial_loop) == 0
    assert whole_model.changed(model, ours) == 1


def test_a_raised_forget_bias_reaches_farther_back(small_run: Run) -> None:
    result, _ = small_run("recurrent-start")
    raised, zero = (
        result.fact(f"LSTM, {label}: factor per step of what the end keeps of an input").measured
        for label in ("forget bias raised", "forget bias 0")
    )
    assert raised.low > zero.high


# --- S4 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "label", "stated", "holds"),
    [
        (nn.Sigmoid, "torch default", 2000.0, True),
        (nn.Sigmoid, "Xavier normal", (300.0, 400.0), True),
        (nn.Sigmoid, "Xavier normal", 2000.0, False),
        (nn.Tanh, "torch default", 2000.0, False),
    ],
)
def test_the_sigmoids_ratio_is_that_of_sigmoid_and_init(
    activation: type[nn.Module], label: str, stated: float | tuple[float, float], holds: bool
) -> None:
    data = load("s4")
    model = small(3, activation)
    found = sigmoid_vanishes.ratios(model, sigmoid_vanishes.plans(model, data)[label], data, range(60))
    assert fact("ratio", median(found), stated, within=0.1).holds is holds


def test_shifted_data_are_seen_and_centred_ones_are_not(small_run: Run) -> None:
    result, _ = small_run("glorot-condition")
    centred, shifted = (
        result.fact(f"inputs of mean {mean}: second moment of the first layer").measured for mean in (0, 3)
    )
    assert fact("centred", centred, 1.0, within=0.05).holds
    assert not fact("shifted", shifted, 1.0, within=0.05).holds


def test_the_chosen_layer_changes_and_the_others_do_not(small_run: Run) -> None:
    result, _ = small_run("chosen-layer")
    assert result.fact("other parameters that change with the chosen one").measured.value == 0
    ratios = [each.measured.value for each in result.facts if "over the one before" in each.name]
    assert len(set(ratios)) == len(ratios) == 5


def test_torchs_own_gains_are_read_and_unknown_ones_are_not_made_up() -> None:
    assert textbook_gains.textbook("tanh") == pytest.approx(5 / 3)
    assert textbook_gains.textbook("identity") == 1.0
    assert textbook_gains.textbook("gelu") is None


def test_the_default_loses_five_sixths_of_the_gradient_and_he_nothing(small_run: Run) -> None:
    result, _ = small_run("torch-default-by-depth")
    default, he = (result.fact(f"{label}: gradient's factor per layer") for label in ("torch default", "He"))
    assert default.holds
    assert he.holds
    assert not fact("He", he.measured, 1 / 6, within=0.02).holds
    # What is left of the default's signal is its biases, which know nothing of the input.
    told = "share of the last hidden layer's second moment that differs between inputs"
    left, kept = (result.fact(f"{label}: {told}").measured for label in ("torch default", "He"))
    assert left.high < kept.low


def test_theory_gives_the_loss_of_aligned_modes_and_no_other() -> None:
    rates = torch.tensor([0.005], dtype=torch.float64)
    weights = saxe.weights_of(Orthogonal(), 4, 12, range(2))
    expected = saxe.theory(4, 0.005, 21)
    losses, _ = saxe.train(weights, saxe.aligned(weights), rates, 20)
    assert torch.allclose(losses[:, 0], expected[:, None].expand(-1, 2), rtol=1e-4)
    # The planted fault: Gaussian weights have other modes.
    gaussian = saxe.weights_of(LecunNormal(), 4, 12, range(2))
    losses, _ = saxe.train(gaussian, saxe.aligned(gaussian), rates, 20)
    assert not torch.allclose(losses[:, 0], expected[: len(losses), None].expand(-1, 2), rtol=0.1)


def test_gradients_of_the_deep_linear_network_are_those_of_autograd() -> None:
    weights = [
        torch.randn(1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) / 2
        for s in range(3)
    ]
    target = torch.eye(4, dtype=torch.float64)[None]
    rate = torch.tensor([0.01], dtype=torch.float64)
    stepped = saxe.train(weights, target, rate, 1)[0]
    leaves = [weight.clone().requires_grad_() for weight in weights]
    loss = (leaves[2] @ leaves[1] @ leaves[0] - target).square().sum() / 2
    gradients = torch.autograd.grad(loss, leaves)
    after = [leaf - 0.01 * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]
    again = (after[2] @ after[1] @ after[0] - target).square().sum() / 2
    assert stepped[:, 0, 0].tolist() == pytest.approx([loss.item(), again.item()], rel=1e-12)


def test_every_row_of_the_first_systems_has_an_experiment() -> None:
    covered = {row for name in CHECKED for row in lab.find(name).covers}
    wanted = {f"S0.{at}" for at in range(1, 5)} | {f"S1.{at}" for at in range(1, 5)}
    wanted |= {f"S2.{at}" for at in range(1, 6)} | {f"S3.{at}" for at in range(1, 4)}
    wanted |= {"S4.1", "S4.2", "S4.7", "S4.12"}
    assert wanted <= covered
