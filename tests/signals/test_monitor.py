"""Monitor: what it measures, when, and that it leaves training as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import goodinit
from goodinit.errors import ArgumentError, WrongTypeError
from goodinit.records import MonitorEvent, MonitorStep
from goodinit.signals import Monitor


def net(depth: int = 3, width: int = 16) -> nn.Sequential:
    torch.manual_seed(1)
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 4))


def batches(count: int, width: int = 16) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    for index in range(count):
        size = 24 + index % 3
        yield torch.randn(size, width, generator=generator), torch.randint(4, (size,), generator=generator)


def train(
    model: nn.Module,
    steps: int,
    monitor: Monitor | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    call: Callable[..., Any] | None = None,
    zero_first: bool = True,
) -> nn.Module:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05)
    for x, y in batches(steps):
        loss = nn.functional.cross_entropy((call or model)(x), y)
        if zero_first:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not zero_first:
            optimizer.zero_grad()
        if monitor is not None:
            monitor.step(loss)
    return model


def hooks(model: nn.Module) -> int:
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    from torch.optim import optimizer

    here = len(optimizer._global_optimizer_pre_hooks)
    return here + sum(len(getattr(module, table)) for module in model.modules() for table in tables)


def layer(step: MonitorStep, name: str) -> Any:
    return next(each for each in step.layers if each.name == name)


def parameter(step: MonitorStep, name: str) -> Any:
    return next(each for each in step.parameters if each.name == name)


def test_every_nth_step_is_measured_and_numbered() -> None:
    model = net()
    with Monitor(model, every=4) as monitor:
        train(model, 10, monitor)
    assert [step.step for step in monitor.history] == [0, 4, 8]


def test_the_measured_sizes_are_those_of_a_plain_computation() -> None:
    model, (x, y) = net(), next(batches(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Monitor(model) as monitor:
        outputs = [x]
        for each in model:
            outputs.append(each(outputs[-1]))
            outputs[-1].retain_grad()
        # Only the last pass has a gradient; the layers were called one by one, not through the model.
        loss = nn.functional.cross_entropy(outputs[-1], y)
        loss.backward()
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        record = monitor.step(loss)
    assert record is not None
    assert record.loss == pytest.approx(loss.item(), rel=1e-6)
    assert record.learning_rate == 0.05
    assert [each.name for each in record.layers] == [str(index) for index in range(7)]
    for each, output in zip(record.layers, outputs[1:], strict=True):
        assert each.output == pytest.approx(float(output.detach().double().square().mean()), rel=1e-5, abs=0)
        assert each.gradient == pytest.approx(float(output.grad.double().square().mean()), rel=1e-5, abs=0)
        silent = output.detach() == 0 if each.kind == "ReLU" else output.grad == 0
        assert each.dead == int(silent.all(dim=0).sum())
    for each, old, (name, p) in zip(record.parameters, before, model.named_parameters(), strict=True):
        change = (p.detach() - old).double()
        assert each.name == name
        assert each.value == pytest.approx(float(p.detach().double().square().mean()), rel=1e-5, abs=0)
        assert each.gradient == pytest.approx(float(p.grad.double().square().mean()), rel=1e-5, abs=0)
        # At most 1024 elements: the sketch is the tensor itself.
        assert each.update == pytest.approx(float(change.square().mean()), rel=1e-4, abs=0)
        assert each.distance == pytest.approx(float(change.norm() / old.double().norm()), rel=1e-3)
        assert each.update_ratio == pytest.approx(float(change.norm() / p.detach().double().norm()), rel=1e-3)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_training_is_bit_identical_with_and_without(kind: Any) -> None:
    def run(every: int | None) -> list[torch.Tensor]:
        model = nn.Sequential(
            nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4)
        )
        torch.manual_seed(1)
        goodinit.initialize(model, "kaiming_normal")
        optimizer = kind(model.parameters(), lr=0.01)
        monitor = None if every is None else Monitor(model, every=every)
        train(model, 12, monitor, optimizer)
        return [*model.state_dict().values(), torch.randn(3)]

    plain = run(None)
    for every in (1, 5):
        watched = run(every)
        assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_hooks_are_there_only_for_the_measured_step() -> None:
    model = net()
    nothing = hooks(model)
    monitor = Monitor(model, every=3)
    counts = []
    for x, y in batches(5):
        counts.append(hooks(model) > nothing)
        nn.functional.cross_entropy(model(x), y).backward()
        monitor.step()
    assert counts == [True, False, False, True, False]
    monitor.close()
    assert hooks(model) == nothing


def test_an_exception_removes_the_hooks() -> None:
    model = net()
    nothing = hooks(model)
    monitor = Monitor(model, every=1)

    def failing() -> None:
        with monitor:
            train(model, 2, monitor)
            assert hooks(model) > nothing
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert hooks(model) == nothing
    assert len(monitor.history) == 2


def test_gradients_are_read_wherever_they_are_zeroed() -> None:
    records = []
    for zero_first in (True, False):
        model = net()
        with Monitor(model, every=2) as monitor:
            train(model, 3, monitor, zero_first=zero_first)
        records.append(monitor.history)
    assert records[0] == records[1]
    assert all(p.gradient is not None for step in records[0] for p in step.parameters)


def test_an_optimizer_that_torch_does_not_know_is_fine() -> None:
    model = net()
    with Monitor(model, every=1) as monitor:
        for x, y in batches(3):
            model.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
            record = monitor.step()
            assert record is not None
            for each in record.parameters:
                assert each.update == pytest.approx(0.01 * each.gradient, rel=1e-4, abs=0)


def test_a_closure_is_measured_after_it_ran() -> None:
    results = []
    for closed in ("not", "by place", "by name"):
        model, (x, y) = net(), next(batches(1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        # What an earlier step left behind must not be taken for this step's gradient.
        for p in model.parameters():
            p.grad = torch.full_like(p, 7.0)

        def closure(model: Any = model, optimizer: Any = optimizer, x: Any = x, y: Any = y) -> torch.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        with Monitor(model) as monitor:
            if closed == "not":
                closure()
                optimizer.step()
            elif closed == "by place":
                optimizer.step(closure)
            else:
                optimizer.step(closure=closure)
            optimizer.zero_grad()
            results.append(monitor.step())
    assert results[0] is not None
    assert results[0].parameters[0].gradient > 0
    assert results[0] == results[1] == results[2]


def test_accumulated_passes_are_one_step() -> None:
    model, whole = net(), list(batches(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with Monitor(model) as monitor:
        for x, y in whole:
            (nn.functional.cross_entropy(model(x), y) / 4).backward()
        optimizer.step()
        record = monitor.step()
    assert record is not None
    first = layer(record, "0")
    assert first.calls == 4
    joined = torch.cat([model[0](x) for x, _ in whole])  # after the step, so only nearly
    assert first.output == pytest.approx(joined.square().mean().item(), rel=0.2)


def test_passes_that_no_gradient_comes_back_to_are_ignored() -> None:
    expected, found = [], []
    for evaluate in (False, True):
        model = net()
        with Monitor(model) as monitor:
            if evaluate:
                model.eval()
                model(torch.full((5, 16), 100.0))  # gradients on, but nobody asks for them
                with torch.no_grad():
                    model(torch.full((5, 16), 100.0))
                model.train()
            x, y = next(batches(1))
            nn.functional.cross_entropy(model(x), y).backward()
            if evaluate:
                model(torch.full((5, 16), 100.0))
            (found if evaluate else expected).append(monitor.step())
    assert expected == found


def test_several_calls_in_one_pass_are_told_apart() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(8, 8), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.fc(self.act(self.fc(x)) - 100.0)) + self.fc(x)

    model = Shared()
    with torch.no_grad():
        model.fc.weight.copy_(torch.eye(8))
    with Monitor(model) as monitor:
        model(torch.randn(64, 8)).sum().backward()
        record = monitor.step()
    assert record is not None
    assert [(each.name, each.call) for each in record.layers] == [
        ("fc", 0),
        ("act", 0),
        ("fc", 1),
        ("act", 1),
        ("fc", 2),
    ]
    assert [each.dead for each in record.layers if each.name == "act"] == [0, 8]


def test_functional_activations_show_dead_units_by_their_gradient() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.first(x)))

    model = Functional()
    with torch.no_grad():
        model.first.bias[:3] = -1e3
    with Monitor(model) as monitor:
        model(torch.randn(64, 8)).square().sum().backward()
        record = monitor.step()
    assert record is not None
    assert layer(record, "first").dead == 3


def test_convolutions_count_channels_and_saturation_is_a_share() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Tanh())
    with torch.no_grad():
        model[0].bias[:2] = -1e3
        model[2].bias[:1] = 1e3
    with Monitor(model) as monitor:
        model(torch.randn(16, 3, 8, 8)).sum().backward()
        record = monitor.step()
    assert record is not None
    assert (layer(record, "1").dead, layer(record, "1").units) == (2, 6)
    assert layer(record, "3").saturated == pytest.approx(0.2, abs=0.05)


def test_a_loss_that_the_model_returns_is_taken() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": self.fc(x).square().mean()}

    model = Own()
    with Monitor(model) as monitor:
        loss = model(torch.ones(2, 4))["loss"]
        loss.backward()
        record = monitor.step()
    assert record is not None
    assert record.loss == pytest.approx(loss.item())


def test_a_measurement_that_fails_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()

    def broken(*_: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr("goodinit.signals.monitoring.listening.squared_norm", broken)
    with pytest.warns(UserWarning, match="planted"), Monitor(model, every=2) as monitor:
        train(model, 3, monitor)
    assert torch.equal(model[0].weight, train(net(), 3)[0].weight)


def test_a_writer_that_fails_is_left_out_and_training_goes_on() -> None:
    class Full:
        calls = 0

        def write(self, record: MonitorStep | MonitorEvent) -> None:
            self.calls += 1
            raise OSError("no space left")

        def close(self) -> None: ...

    model, writer = net(), Full()
    with pytest.warns(UserWarning, match="no space left"), Monitor(model, every=1, writers=writer) as monitor:
        train(model, 4, monitor)
    assert writer.calls == 1
    assert len(monitor.history) == 4


def test_memory_of_a_long_run_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodinit.signals.monitoring.monitor._MOST_STEPS", 20)
    model = nn.Linear(2, 1)
    with Monitor(model, every=1) as monitor:
        for index in range(300):
            model(torch.ones(2, 2)).sum().backward()
            monitor.step()
            assert len(monitor.history) <= 20, index
    steps = [step.step for step in monitor.history]
    assert (steps[0], steps[-1]) == (0, 299)
    assert steps == sorted(set(steps))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(WrongTypeError, match=r"model: expected a torch\.nn\.Module, got int"):
        Monitor(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"every: .* got 0"):
        Monitor(net(), every=0)
    with pytest.raises(ArgumentError, match=r"first_step: .* got -1"):
        Monitor(net(), first_step=-1)
    with pytest.raises(ArgumentError, match="no trainable parameters"):
        Monitor(net().requires_grad_(False))


def test_the_summary_says_what_changed() -> None:
    model = net()
    with Monitor(model, every=5) as monitor:
        assert monitor.summary() == "Sequential: no step measured yet."
        train(model, 11, monitor)
    text = monitor.summary()
    assert "Sequential: nothing went wrong that was measured. 3 measured steps, 0 to 10." in text
    assert "gradient balance, front over back" in text
    assert str(monitor.log) == text
