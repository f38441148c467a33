"""Events: layers that die, a balance that drifts, a start that is forgotten; each once and with cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from goodinit.records import LayerStep, MonitorEvent, MonitorStep, ParameterStep
from goodinit.signals import Monitor
from goodinit.signals.monitoring.balance import balance, drift
from goodinit.signals.monitoring.events import Watch

positive = st.floats(1e-30, 1e30)


def a_layer(name: str, gradient: float = 1.0, dead: int = 0) -> LayerStep:
    return LayerStep(name, "Linear", 0, 1, 1.0, gradient, 16, dead, None, True)


def watched(*steps: tuple[LayerStep, ...] | MonitorStep) -> list[MonitorEvent]:
    watch, found = Watch(), []
    for index, given_step in enumerate(steps):
        step = (
            given_step
            if isinstance(given_step, MonitorStep)
            else MonitorStep(index, 1.0, 0.1, given_step, ())
        )
        ends = watch.balanced(step.layers)
        found += watch.events(replace(step, step=index, balance=ends[0], drift=ends[1]))
    return found


def kinds(events: list[MonitorEvent]) -> list[tuple[int, str]]:
    return [(event.step, event.kind) for event in events]


ALIVE = (a_layer("a"), a_layer("b"), a_layer("c"))
IDLE = (a_layer("a", 0.0, 16), a_layer("b", 0.0, 16), a_layer("c"))


def test_a_layer_that_stays_idle_died_where_it_was_first_seen_idle() -> None:
    events = watched(ALIVE, IDLE, IDLE, IDLE, IDLE)
    assert kinds(events) == [(2, "layer_died")]
    assert events[0].where == ("a", "b")
    assert events[0].message == "'a', 'b' died at step 1: no gradient gets past 'b'"


def test_a_layer_that_is_idle_once_did_not_die() -> None:
    assert watched(ALIVE, IDLE, ALIVE, IDLE, ALIVE) == []


def test_a_dead_layer_that_learns_again_is_said_so_and_may_die_again() -> None:
    events = watched(ALIVE, IDLE, IDLE, ALIVE, ALIVE, IDLE, IDLE)
    assert kinds(events) == [(2, "layer_died"), (3, "layer_revived"), (6, "layer_died")]


def test_a_layer_idle_from_the_start_never_learned() -> None:
    assert kinds(watched(IDLE, IDLE, IDLE)) == [(1, "never_learned")]


def test_a_last_layer_that_starts_at_zero_is_no_event() -> None:
    assert watched(IDLE, ALIVE, ALIVE) == []


def test_a_loss_without_any_gradient_is_no_death() -> None:
    nothing = (a_layer("a", 0.0, 16), a_layer("b", 0.0, 16), a_layer("c", 0.0, 16))
    assert watched(ALIVE, nothing, nothing) == []


def test_half_of_the_units_dead_is_said_once() -> None:
    thin = (a_layer("a", 0.5, 9), a_layer("b"), a_layer("c"))
    events = watched(ALIVE, thin, thin)
    assert kinds(events) == [(1, "units_died")]
    assert events[0].effect == pytest.approx(9 / 16)


def test_drift_is_said_at_each_power_of_ten_and_again_after_a_return() -> None:
    def front(size: float) -> tuple[LayerStep, ...]:
        return (a_layer("a", size), a_layer("b"), a_layer("c"))

    events = watched(front(1.0), front(0.2), front(0.05), front(0.06), front(0.005), front(1.0), front(0.05))
    assert kinds(events) == [(2, "balance_drifted"), (4, "balance_drifted"), (6, "balance_drifted")]
    assert "×0.05 since the start" in events[0].message
    assert "20 times less gradient" in events[0].message
    assert "more gradient" in watched(front(1.0), front(30.0))[0].message


def test_a_balance_that_evens_out_is_told_from_one_that_drifts_apart() -> None:
    def front(size: float) -> tuple[LayerStep, ...]:
        return (a_layer("a", size), a_layer("b"), a_layer("c"))

    assert kinds(watched(front(1e-4), front(1e-2))) == [(1, "balance_evened")]
    assert kinds(watched(front(1e-4), front(1e-6))) == [(1, "balance_drifted")]
    assert kinds(watched(front(1e-4), front(1e6))) == [(1, "balance_drifted")]


def test_a_change_of_all_gradients_alike_is_no_drift() -> None:
    low = tuple(replace(layer, gradient=1e-6) for layer in ALIVE)
    assert watched(ALIVE, low) == []


@given(st.lists(positive, min_size=2, max_size=9), st.floats(1e-6, 1e6), st.data())
def test_the_drift_is_the_ratio_of_the_balances(
    sizes: list[float], factor: float, data: st.DataObject
) -> None:
    start = {str(index): size for index, size in enumerate(sizes)}
    now = {name: data.draw(positive) for name in start}
    before, after, moved = balance(start), balance(now), drift(start, now)
    assert before is not None
    assert after is not None
    assert moved == pytest.approx(after / before, rel=1e-5)
    assert drift(start, {name: size * factor for name, size in start.items()}) == pytest.approx(1, rel=1e-5)


def test_the_balance_is_a_ratio_of_geometric_means_of_thirds() -> None:
    sizes = {"a": 1.0, "b": 100.0, "c": 7.0, "d": 7.0, "e": 10.0, "f": 10.0, "g": 1e3}
    assert balance(sizes) == pytest.approx((1.0 * 100.0) ** 0.5 / (10.0 * 1e3) ** 0.5)


def test_the_start_of_the_balance_waits_for_half_of_the_weight_layers() -> None:
    only_last = (a_layer("a", 0.0), a_layer("b", 0.0), a_layer("c"))
    watch = Watch()
    assert watch.balanced(only_last) == (None, None)
    assert watch.balanced(ALIVE) == (1.0, 1.0)
    assert watch.balanced((a_layer("a", 4.0), a_layer("b"), a_layer("c")))[1] == pytest.approx(4.0)


def a_step(kept: float, whole: float = 1.0, loss: float = 1.0) -> MonitorStep:
    parameters = (
        ParameterStep("a.weight", (4, 4), 1.0, 1.0, 1.0, kept, 1.0),
        ParameterStep("a.bias", (4,), 1.0, 1.0, 1.0, 0.0, 1.0),
    )
    return MonitorStep(0, loss, 0.1, (), parameters, kept=whole)


def test_a_forgotten_start_is_said_once_and_biases_do_not_count() -> None:
    events = watched(a_step(1.0), a_step(0.11), a_step(0.09), a_step(0.01), a_step(0.01, 0.05))
    assert kinds(events) == [(2, "start_forgotten"), (4, "start_no_longer_matters")]
    assert events[0].where == ("a.weight",)


def test_nan_is_said_once_until_all_is_finite_again() -> None:
    nan = float("nan")
    events = watched(ALIVE, (a_layer("a"), a_layer("b", nan), a_layer("c")), a_step(1.0, loss=nan), ALIVE)
    assert kinds(events) == [(1, "non_finite"), (3, "finite_again")]
    assert events[0].where == ("b",)


def test_a_layer_killed_in_training_is_confirmed_one_step_later() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *[layer for _ in range(3) for layer in (nn.Linear(16, 16), nn.ReLU())], nn.Linear(16, 2)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(64, 16)
    with Monitor(model, every=10) as monitor:
        for step in range(31):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
            if step == 14:
                with torch.no_grad():
                    model[2].bias.fill_(-1e4)
    assert [step.step for step in monitor.history] == [0, 10, 20, 21, 30]
    deaths = [event for event in monitor.events if event.kind == "layer_died"]
    assert [event.step for event in deaths] == [21]
    assert deaths[0].where == ("0", "1", "2", "3")
    assert "died at step 20: no gradient gets past '3'" in deaths[0].message


def test_a_training_that_goes_well_has_no_events() -> None:
    torch.manual_seed(0)
    layers = [layer for _ in range(4) for layer in (nn.Linear(32, 32), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(32, 4))
    for each in model:
        if isinstance(each, nn.Linear):
            nn.init.kaiming_normal_(each.weight)
            nn.init.zeros_(each.bias)
    x = torch.randn(512, 32)
    y = (x @ torch.randn(32, 4)).argmax(dim=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Monitor(model, every=10) as monitor:
        for step in range(101):
            rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    first, last = monitor.history[0], monitor.history[-1]
    assert last.loss is not None
    assert first.loss is not None
    assert last.loss < 0.5 * first.loss
    assert monitor.events == ()


def test_weights_drawn_anew_are_a_start_that_no_longer_matters() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    with Monitor(model, every=1) as monitor:
        for step in range(2):
            model(torch.randn(8, 64)).sum().backward()
            if step == 1:
                for p in model.parameters():
                    nn.init.normal_(p)
            monitor.step()
    assert [event.kind for event in monitor.events if "start" in event.kind] == [
        "start_forgotten",
        "start_no_longer_matters",
    ]
    assert monitor.history[0].kept == pytest.approx(1.0)
