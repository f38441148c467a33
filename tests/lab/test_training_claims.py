"""What experiments that train say of the tutorials, at reduced size, each beside what would refute it.

All seeds are fixed and draws are keyed, so that no outcome changes from run to run. Under other seeds
a claim that is true, and holds within four standard errors, would fail about once in 10,000 runs.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from goodinit import lab
from goodinit.comparing.datasets import load
from goodinit.lab import drift
from goodinit.lab.estimates import fact, share
from goodinit.records import ExperimentResult, Interval

Run = Callable[[str], tuple[ExperimentResult, bool]]

TRAINED = (
    "side-by-side", "xavier-on-s4", "kaiming-on-s4", "tanh-unsteady", "dead-relu", "seed-lottery",
    "depth-sweep", "he-2015", "batch-norm-irrelevant", "residual-scaling", "forget-bias", "drift",
    "mup-widths",
)  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_no_claim_is_refuted_at_the_small_size(name: str, small_run: Run) -> None:
    assert [each.name for each in small_run(name)[0].facts if each.holds is False] == []


def _of(result: ExperimentResult, words: str) -> list[Interval]:
    found = [each.measured for each in result.facts if words in each.name]
    assert found, words
    return found


def test_relu_networks_die_at_the_fast_rate_and_not_at_the_slow_one(small_run: Run) -> None:
    result, _ = small_run("dead-relu")
    seeds = 12
    fast, slow = (
        share(sum(round(each.value * seeds) for each in _of(result, f"at rate {rate}")), 3 * seeds)
        for rate in (0.03, 0.001)
    )
    assert fact("few", slow, (0.0, 0.05)).holds
    assert not fact("about half", slow, (1 / 3, 2 / 3)).holds
    assert not fact("few", fast, (0.0, 0.05)).holds


def test_xavier_wins_with_four_sigmoid_layers_and_the_default_does_not(small_run: Run) -> None:
    result, _ = small_run("xavier-on-s4")
    words = "sigmoid4: share of seeds on which Xavier uniform beats the default after pass 780"
    won = result.fact(words).measured
    assert fact("wins", won, 0.91).holds
    lost = Interval(1 - won.value, 1 - won.high, 1 - won.low)
    assert not fact("wins", lost, 0.91).holds


def test_tanh_starts_faster_with_xavier_and_ends_no_better(small_run: Run) -> None:
    result, _ = small_run("xavier-on-s4")
    start, end = (
        result.fact(
            f"tanh3: share of seeds on which Xavier uniform beats the default after pass {at}"
        ).measured
        for at in (1, 780)
    )
    assert start.low > 0.5
    assert end.low < 0.5 < end.high


def test_hes_gain_is_clear_early_and_not_late(small_run: Run) -> None:
    result, _ = small_run("kaiming-on-s4")
    for plan in ("He uniform", "He normal"):
        early, late = _of(result, f"{plan}: share")
        assert early.low > 0.65
        assert late.low < 0.5 < late.high
        assert not fact(
            "early gain clear", Interval(1 - early.value, 1 - early.high, 1 - early.low), (0.8, 1)
        ).holds


def test_seeds_spread_more_than_inits_differ(small_run: Run) -> None:
    result, _ = small_run("seed-lottery")
    (spread,) = _of(result, "ninth decile")
    medians = [each.value for each in _of(result, "median test loss")]
    assert spread.low > max(medians) / min(medians) > 1


def test_tanh_is_unsteady_and_a_falling_rate_steadies_it(small_run: Run) -> None:
    result, _ = small_run("tanh-unsteady")
    constant = result.fact(
        "tanh3, torch default, rate 0.03: share of passes after which the loss jumps"
    ).measured
    (falling,) = _of(result, "falling")
    assert constant.low > 0.1
    assert falling.value < constant.value


def test_all_models_of_a_comparison_are_listed_by_their_test_loss(small_run: Run) -> None:
    result, _ = small_run("side-by-side")
    order = [row[0] for row in result.sheets[0].rows]
    losses = [result.fact(f"{label}: median test loss").measured.value for label in order]
    assert losses == sorted(losses)
    assert len(order) == 8


def test_depth_stops_sigmoids_whatever_the_init_and_relu_without_he(small_run: Run) -> None:
    result, _ = small_run("depth-sweep")
    reached = {each.name.split(":")[0]: each.measured for each in result.facts}
    assert all(each.high < 0.2 for label, each in reached.items() if label.startswith("sigmoid"))
    assert reached["ReLU, He"].low > 0.8
    assert reached["ReLU, torch default"].high < 0.5


def test_xaviers_signal_is_lost_where_hes_arrives(small_run: Run) -> None:
    result, _ = small_run("he-2015")
    xavier, he = _of(result, "last layer's signal over the first's")
    assert xavier.high < he.low
    # Half of the signal in each of 13 layers: 8192 between them, up to the noise of 5 draws.
    assert 1000 < he.value / xavier.value < 65536


def test_batch_norm_rescues_small_weights_and_nothing_else_does(small_run: Run) -> None:
    result, _ = small_run("batch-norm-irrelevant")
    with_norm, without = (_of(result, f"{name}, 4 layers, He / 10")[0] for name in ("batch norm", "no norm"))
    assert with_norm.low > 0.9
    assert without.high < 0.2
    growth = result.fact("He, batch norm: gradient's factor per layer").measured
    assert not fact("as without a norm", growth, 1.0, within=0.03).holds


def test_unscaled_branches_double_and_scaled_ones_do_not(small_run: Run) -> None:
    result, _ = small_run("residual-scaling")
    plain, scaled, zero = _of(result, "factor of the signal per block")
    assert not fact("scaled", plain, 1 + 1 / 8, within=0.02).holds
    assert not fact("unscaled", scaled, 2.0, within=0.02).holds
    assert (zero.low, zero.high) == (1.0, 1.0)


def test_the_default_forgets_and_chrono_recalls(small_run: Run) -> None:
    result, _ = small_run("forget-bias")
    (default,), (chrono,) = (_of(result, f"{label}: test loss") for label in ("torch default", "chrono"))
    assert default.low > 0.9
    assert chrono.high < 0.1
    assert not fact("the right init learns", default, (0.0, 0.1)).holds


def test_gradients_drift_while_a_network_learns_and_weights_move(small_run: Run) -> None:
    result, _ = small_run("drift")
    plain, normed = _of(result, "largest drift on the way")
    assert plain.low > 2 > normed.value
    assert all(0.5 < each.value < 0.99 for each in _of(result, "share of the start"))


def test_a_network_that_does_not_learn_keeps_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault of the test above: a rate of zero."""
    monkeypatch.setattr(drift, "_RATE", 0.0)
    history = drift.watched(None, load("digits"), 0, 4, 40, 20)
    assert [at.kept for at in history] == pytest.approx([1.0] * 3)
    assert all(at.drift is not None and 0.5 < at.drift < 2 for at in history)


def test_the_outputs_change_grows_with_width_under_the_standard_parametrization_alone(small_run: Run) -> None:
    result, _ = small_run("mup-widths")
    standard, maximal = _of(result, "exponent in width")
    assert standard.low > maximal.high
    assert not fact("muP", standard, (-0.2, 0.2)).holds


@pytest.mark.parametrize("name", ["drift", "mup-widths"])
def test_what_is_trained_outside_of_compare_repeats_to_the_bit(name: str, small_run: Run) -> None:
    first, _ = small_run(name)
    torch.manual_seed(12345)
    assert lab.run(name, "small").to_json() == first.to_json()


def test_every_row_of_the_trained_systems_has_an_experiment() -> None:
    covered = {row for name in TRAINED for row in lab.find(name).covers}
    wanted = {"S3.4", "He 2015", "residual with and without scaling", "widths under muP"}
    wanted |= {f"S4.{at}" for at in (3, 4, 5, 6, 8, 9, 10, 11)}
    assert wanted <= covered
    assert set(TRAINED) <= set(lab.names())
