"""Monitor among checkpointing, mixed precision, copies, compiled code, data parallelism, odd parameters."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint

from goodinit.records import LayerStep, MonitorStep, ParameterStep
from goodinit.signals import Monitor


def net() -> nn.Sequential:
    torch.manual_seed(1)
    hidden = [layer for _ in range(3) for layer in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(16, 4))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(24, 16, generator=generator), torch.randint(4, (24,), generator=generator)


def train(
    model: nn.Module, steps: int, monitor: Monitor | None = None, call: Callable[..., Any] | None = None
) -> nn.Module:
    optimizer, (x, y) = torch.optim.SGD(model.parameters(), lr=0.05), batch()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy((call or model)(x), y)
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(loss)
    return model


def layer(step: MonitorStep, name: str) -> LayerStep:
    return next(each for each in step.layers if each.name == name)


def parameter(step: MonitorStep, name: str) -> ParameterStep:
    return next(each for each in step.parameters if each.name == name)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_are_counted_once(reentrant: bool) -> None:
    records = []
    for checkpointed in (False, True):
        model, (x, y) = net(), batch()
        x.requires_grad_()

        def run(x: torch.Tensor, model: Any = model) -> torch.Tensor:
            return model[2:4](model[:2](x))  # type: ignore[no-any-return]

        with Monitor(model) as monitor:
            middle = checkpoint(run, x, use_reentrant=reentrant) if checkpointed else run(x)
            nn.functional.cross_entropy(model[4:](middle), y).backward()
            records.append(monitor.step())
    plain, other = records
    assert plain is not None
    assert other is not None
    assert [each.name for each in other.layers] == [each.name for each in plain.layers]
    assert other == plain


def test_a_gradient_scaler_is_divided_out() -> None:
    class Scaler:
        def get_scale(self) -> float:
            return 1024.0

    results = []
    for scaler in (None, Scaler()):
        model, (x, y) = net(), batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with Monitor(model, scaler=scaler) as monitor:
            loss = nn.functional.cross_entropy(model(x), y)
            (loss * (1024.0 if scaler else 1.0)).backward()
            for p in model.parameters():
                p.grad /= 1024.0 if scaler else 1.0
            optimizer.step()
            results.append(monitor.step(loss))
    # A power of two: exact, so that the records are equal.
    assert results[0] == results[1]


def test_torch_s_own_scaler_and_autocast_work() -> None:
    model, (x, y) = net(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with Monitor(model, every=1, scaler=scaler) as monitor:
        for bad in (False, True):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss * (math.inf if bad else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            monitor.step(loss)
    first, second = monitor.history
    assert (first.skipped, second.skipped) == (False, True)
    assert parameter(first, "0.weight").gradient < 1.0
    assert layer(first, "6").gradient < 1.0
    # A step that the scaler skips is mixed precision at work, not an event.
    assert monitor.events == ()


def test_copies_and_pickles_of_a_listening_model_are_plain_models() -> None:
    model, (x, _) = net(), batch()
    with Monitor(model) as monitor:
        twin = copy.deepcopy(model)
        stored = pickle.dumps(model)
        stream = io.BytesIO()
        torch.save(model, stream)
        stream.seek(0)
        assert b"goodinit" not in stored
        for other in (twin, pickle.loads(stored), torch.load(stream, weights_only=False)):
            assert torch.equal(other(x), model(x))
            other(x).sum().backward()
        assert monitor.step() is not None
    assert monitor.history[0].layers == ()


def test_a_forgotten_monitor_hears_nothing() -> None:
    model, (x, y) = net(), batch()
    monitor = Monitor(model)
    listener = monitor._listener
    assert listener is not None
    held = listener._passes
    del monitor, listener
    gc.collect()
    nn.functional.cross_entropy(model(x), y).backward()
    assert held[0].calls == []


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_parts_show_their_parameters_only(whole: bool) -> None:
    torch._dynamo.reset()
    model, counter = net(), CompileCounter()
    if whole:
        compiled: nn.Module = torch.compile(model, backend=counter)
        expected: list[str] = []
    else:
        compiled = nn.Sequential(torch.compile(model[:2], backend=counter), *model[2:])
        expected = [str(index) for index in range(1, 6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Monitor(compiled, every=2) as monitor:
            train(compiled, 3, monitor)
    first, second = monitor.history
    assert [each.name for each in first.layers] == [each.name for each in second.layers] == expected
    assert [p.name for p in first.parameters] == [
        name.replace("_orig_mod.", "") for name, _ in compiled.named_parameters()
    ]
    assert all(p.gradient is not None and p.update is not None for p in second.parameters)
    assert any("compiled" in note for note in monitor.log.notes)
    assert counter.frame_count == 1, "coming and going of hooks must not compile again"


def test_a_compiled_training_function_is_not_disturbed() -> None:
    model = net()
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: model(x), backend="eager", fullgraph=True)
    with Monitor(model, every=2) as monitor:
        train(model, 3, monitor, call=compiled)
    assert torch.equal(model[0].weight, train(net(), 3)[0].weight)
    assert all(p.update is not None for p in monitor.history[1].parameters)
    assert monitor.history[0].layers == ()


def test_data_parallel_wrappers_keep_canonical_names(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain, wrapped = net(), nn.parallel.DistributedDataParallel(net())
        histories = []
        for model in (plain, wrapped):
            with Monitor(model, every=2) as monitor:
                train(model, 3, monitor)
            histories.append(monitor.history)
        names = [each.name for each in histories[0][0].layers]
        assert [each.name for each in histories[1][0].layers] == names
        assert [p.name for p in histories[1][0].parameters] == [p.name for p in histories[0][0].parameters]
        assert histories[1][1].drift == pytest.approx(histories[0][1].drift)
    finally:
        torch.distributed.destroy_process_group()


def test_lazy_frozen_sparse_and_half_precision_parameters_are_no_trouble() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(50, 8, sparse=True)
            self.lazy = nn.LazyLinear(8)
            self.frozen = nn.Linear(8, 8).requires_grad_(False)
            self.short = nn.Linear(8, 8, dtype=torch.bfloat16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.short(self.frozen(self.lazy(self.table(x))).bfloat16())

    model = Mixed()
    optimizer = None
    with Monitor(model, every=1) as monitor:
        for _ in range(3):
            loss = model(torch.arange(6)).float().square().sum()
            optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.01)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)
    names = {p.name for p in monitor.history[-1].parameters}
    assert names == {"table.weight", "lazy.weight", "lazy.bias", "short.weight", "short.bias"}
    last = parameter(monitor.history[-1], "table.weight")
    assert last.gradient == pytest.approx(float(model.table.weight.grad.to_dense().square().mean()), rel=1e-4)
    assert parameter(monitor.history[-1], "lazy.weight").kept is not None
    assert monitor.log.notes == ()


def test_layers_inside_a_function_transform_are_left_out() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(torch.func.vmap(lambda row: self.inner(row))(x))

    model = Mapped()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Monitor(model, every=1) as monitor:
        model(torch.randn(3, 4)).square().mean().backward()
        optimizer.step()
        monitor.step()
    assert [layer.name for layer in monitor.history[0].layers] == ["outer"]
    assert monitor.log.notes == ()
