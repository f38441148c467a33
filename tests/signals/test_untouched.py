"""A probe leaves no trace: parameters, gradients, buffers, modes, flags, hooks, random generators."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from goodinit.errors import ArgumentError, ExampleError, TensorError
from goodinit.signals import probe
from goodinit.signals.probing.untouched import kept_model


class Everything(nn.Module):
    """Batch norm, dropout, spectral norm, frozen and unused parameters, a mode switched inside."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.body = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Dropout(0.3))
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
        self.frozen = nn.Linear(6, 2).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(2))
        self.fail = fail
        self.steps = 0
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.steps += 1
        self.last = x
        self.added = x.mean()
        self.replaced = torch.ones(2)
        self.body.eval()
        random.random()
        np.random.rand()
        x = self.spectral(self.body(self.norm(x)))
        if self.fail:
            raise RuntimeError("broken on purpose")
        return self.frozen(x)


def _snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "identity": [id(t) for t in (*model.parameters(), *model.buffers())],
        "grads": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "attributes": [
            {k: id(v) for k, v in vars(m).items() if k not in ("training", "_buffers")}
            for m in model.modules()
        ],
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "hooks": [
            (
                tuple(m._forward_hooks),
                tuple(m._forward_pre_hooks),
                tuple(m._backward_hooks),
                tuple(m._forward_hooks_always_called),
            )
            for m in model.modules()
        ]
        + [len(t._backward_hooks or ()) for t in (*model.parameters(), *model.buffers())],
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].copy(),
    }


def _assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before["values"].keys() == after["values"].keys()
    assert len(before["grads"]) == len(after["grads"])
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name
    for old, new in zip(before["grads"], after["grads"], strict=True):
        assert (old is None) == (new is None)
        assert old is None or (old[0] == new[0] and torch.equal(old[1], new[1]))
    for part in ("attributes", "identity", "modes", "flags", "hooks", "python"):
        assert before[part] == after[part], part
    assert torch.equal(before["torch"], after["torch"])
    assert np.array_equal(before["numpy"], after["numpy"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_grad", [True, False])
def test_a_probe_leaves_everything_as_it_was(training: bool, with_grad: bool) -> None:
    model = Everything().train(training)
    if with_grad:
        for p in model.parameters():
            if p.requires_grad:
                p.grad = torch.randn_like(p)
    before = _snapshot(model)
    seen = probe(model, torch.randn(5, 6))
    # The batch above drew from torch's generator before the probe began.
    before["torch"] = torch.get_rng_state()
    _assert_same(before, _snapshot(model))
    assert any(layer.gradient is not None for layer in seen.layers)


def test_the_generators_are_where_they_were() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    probe(model)
    assert torch.equal(torch.rand(3), wanted)


def test_an_exception_in_the_model_leaves_everything_as_it_was() -> None:
    model, batch = Everything(fail=True), torch.randn(5, 6)
    before = _snapshot(model)
    with pytest.raises(ExampleError, match="broken on purpose"):
        probe(model, batch)
    _assert_same(before, _snapshot(model))


def test_an_exception_in_the_loss_leaves_everything_as_it_was() -> None:
    def loss(output: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    model, batch = Everything(), torch.randn(5, 6)
    before = _snapshot(model)
    with pytest.raises(ArgumentError, match=r"loss: it failed on .*ZeroDivisionError"):
        probe(model, batch, loss=loss)
    _assert_same(before, _snapshot(model))


class _FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken on the way back")


def test_an_exception_in_the_backward_pass_leaves_everything_as_it_was() -> None:
    class Fails(Everything):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(_FailsBackward.apply(self.body[0](x)))

    model, batch = Fails(), torch.randn(5, 6)
    before = _snapshot(model)
    with pytest.raises(ExampleError, match="broken on the way back"):
        probe(model, batch)
    _assert_same(before, _snapshot(model))


def test_any_exception_on_the_way_back_is_one_error_that_names_it() -> None:
    model, batch = Everything(), torch.randn(5, 6)
    handle = model.frozen.register_full_backward_hook(lambda *_: {}["missing"])
    before = _snapshot(model)
    with pytest.raises(ExampleError, match=r"backward pass .* failed: KeyError"):
        probe(model, batch)
    _assert_same(before, _snapshot(model))
    handle.remove()


def _hang(model: nn.Module, where: str, run: Callable[..., None]) -> Any:
    if where == "forward":
        return model.body[0].register_forward_hook(run)
    if where == "before":
        return model.body[0].register_forward_pre_hook(run)
    return model.frozen.register_full_backward_hook(run)


@pytest.mark.parametrize("where", ["before", "forward", "backward"])
def test_an_exception_in_a_users_hook_leaves_everything_as_it_was_with_the_hook(where: str) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken hook")

    model, batch = Everything(), torch.randn(5, 6)
    _hang(model, where, fail)
    before = _snapshot(model)
    with pytest.raises(ExampleError, match="broken hook"):
        probe(model, batch)
    _assert_same(before, _snapshot(model))


def test_an_exception_in_a_later_batch_leaves_everything_as_it_was() -> None:
    model, batches = Everything(), [torch.randn(5, 6), torch.randn(5, 7)]
    before = _snapshot(model)
    with pytest.raises(ExampleError, match="rejected"):
        probe(model, batches=batches)
    _assert_same(before, _snapshot(model))


def test_a_layer_that_returns_its_parameter_keeps_no_hook_on_it() -> None:
    class Prompt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Parameter(torch.randn(3, 6))

        def forward(self) -> torch.Tensor:
            return self.tokens

    class Prompted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt, self.body = Prompt(), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x + self.prompt())

    model, batch = Prompted(), torch.randn(3, 6)
    before = _snapshot(model)
    layers = probe(model, batch).layers
    assert layers[0].name == "prompt"
    assert layers[0].gradient is not None
    _assert_same(before, _snapshot(model))


def test_the_users_batch_is_not_changed_by_a_model_that_overwrites_its_input() -> None:
    batch = torch.randn(4, 3)
    copy = batch.clone()
    probe(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3)), batch)
    assert torch.equal(batch, copy)
    assert not batch.requires_grad


def test_hooks_that_users_hang_on_gradient_accumulation_do_not_run() -> None:
    model = nn.Linear(3, 3)
    ran: list[str] = []
    model.weight.register_post_accumulate_grad_hook(lambda p: ran.append("step"))
    probe(model)
    assert not ran
    assert model.weight.grad is None


def test_it_works_inside_no_grad_and_inference_mode() -> None:
    model = nn.Linear(3, 3)
    with torch.no_grad():
        assert probe(model).layers[0].gradient is not None
        assert not torch.is_grad_enabled()


def test_tensors_made_in_inference_mode_are_copied_as_a_batch_and_refused_as_parameters() -> None:
    with torch.inference_mode():
        batch, target, made = torch.randn(4, 3), torch.randint(0, 3, (4,)), nn.Linear(3, 3)
    model = nn.Linear(3, 3)
    assert probe(model, batch).layers[0].gradient is not None
    seen = probe(model, (batch, target), loss=nn.functional.cross_entropy)
    assert seen.parameters[0].gradient.second_moment > 0
    with pytest.raises(TensorError, match=r"'weight' was made inside torch.inference_mode\(\)"):
        probe(made, torch.randn(4, 3))


def test_the_comparison_above_sees_a_change() -> None:
    model = Everything()
    before = _snapshot(model)
    model(torch.randn(5, 6))
    with pytest.raises(AssertionError):
        _assert_same(before, _snapshot(model))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.register_forward_hook(lambda *_: None),
        lambda m: m.body.append(nn.Tanh()),
        lambda m: setattr(m, "count_of_calls", 1),
        lambda m: delattr(m, "steps"),
        lambda m: m.frozen.weight.requires_grad_(True),
        lambda m: m.register_parameter("extra", nn.Parameter(torch.ones(1))),
        lambda m: m.eval(),
    ],
)
def test_kept_model_undoes_what_a_forward_pass_may_change(change: Callable[[Everything], Any]) -> None:
    model = Everything()
    before = _snapshot(model)
    with kept_model(model):
        change(model)
        changed = _snapshot(model)
        with pytest.raises(AssertionError):
            _assert_same(before, changed)
    _assert_same(before, _snapshot(model))


def test_a_loss_that_is_a_module_is_left_as_it_was_too() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.zeros(2))

        def forward(self, output: torch.Tensor) -> torch.Tensor:
            self.centre = 0.9 * self.centre + output.detach().mean(0)
            self.centre += 1
            return (output - self.centre).square().mean()

    loss = Centred()
    held = loss.centre
    probe(nn.Linear(4, 2), torch.randn(3, 4), loss=loss)
    assert loss.centre is held
    assert not held.any()


def test_kept_model_restores_a_replaced_buffer_object() -> None:
    model = nn.BatchNorm1d(2)
    held = model.running_mean
    with kept_model(model):
        model.running_mean = torch.full((2,), 7.0)
        model.num_batches_tracked.add_(3)
    assert model.running_mean is held
    assert int(model.num_batches_tracked) == 0
