"""Running a model once: it is left as it was, real tensors where they must be, and errors that help."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.graph import trace


class Busy(nn.Module):
    """A module that changes everything it can while it runs."""

    def __init__(self, fail: bool = False, concrete: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("count", torch.zeros(3))
        self.table = torch.ones(4)
        self.calls: list[int] = []
        self.cache: Tensor | None = None
        self.fail, self.concrete = fail, concrete

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        self.count += 1
        self.count = self.count * 2
        self.table.add_(1)
        x = nn.functional.dropout(x, 0.5) * random.random() * np.random.rand()
        self.cache = self.norm(self.linear(x))
        self.linear.weight.mul_(2)
        self.linear.bias.data = self.linear.bias.data * 2
        self.norm.running_mean.data = self.norm.running_mean.data + 1
        x.mul_(3)
        if self.concrete and bool(self.cache.sum() > 1e9):
            return x
        if self.fail:
            raise ValueError("out of order")
        return self.cache


def state_of(model: Busy) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "table": model.table}
    return {
        "ids": {name: id(tensor) for name, tensor in tensors.items()},
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "grads": {name: p.grad for name, p in model.named_parameters()},
        "training": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "attributes": [sorted(module.__dict__) for module in model.modules()],
        "calls": list(model.calls),
        "cache": model.cache,
        "call": nn.Module.__call__,
        "rng": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "grad": torch.is_grad_enabled(),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("concrete", [False, True])
def test_the_model_and_the_generators_are_left_as_they_were(fail: bool, concrete: bool) -> None:
    torch.manual_seed(0)
    model, x = Busy(fail, concrete), torch.rand(5, 4)
    model.norm.eval()
    model.linear.weight.grad = torch.ones(4, 4)
    kept, before = x.clone(), state_of(model)
    if fail:
        with pytest.raises(ExampleError):
            trace(model, x)
    else:
        assert trace(model, x).ran == ("real" if concrete else "fake")
    after = state_of(model)
    for key in before:
        assert same(before[key], after[key]), key
    assert torch.equal(x, kept)


def test_the_comparison_of_states_sees_a_model_that_ran() -> None:
    model = Busy()
    before = state_of(model)
    with torch.no_grad():
        model(torch.rand(5, 4))
    after = state_of(model)
    changed = {key for key in before if not same(before[key], after[key])}
    assert changed == {"ids", "values", "calls", "cache", "rng"}


def test_control_flow_on_values_runs_on_real_tensors_and_says_so() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plus, self.minus = nn.Linear(3, 4), nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.plus(x) if x.sum() > 0 else self.minus(x)
            return out

    model = Branching()
    up, down = trace(model, torch.ones(2, 3)), trace(model, -torch.ones(2, 3))
    assert (up.ran, down.ran) == ("real", "real")
    assert "real tensors" in up.notes[0]
    assert up.unreached == ("minus.weight", "minus.bias")
    assert down.unreached == ("plus.weight", "plus.bias")
    assert "never reached by the example: minus.weight" in str(up)
    with torch.device("meta"):
        bare = Branching()
    assert "random values" in trace(bare, torch.ones(2, 3)).notes[1]


def test_numpy_in_a_model_runs_on_real_tensors() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(np.tanh(self.linear(x).numpy()))

    graph = trace(Outside(), torch.ones(2, 3))
    assert graph.ran == "real"
    assert graph["linear.weight"][0].fan_in == 3.0


@pytest.mark.parametrize(
    "example",
    [
        torch.rand(2, 3),
        (torch.rand(2, 3),),
        [torch.rand(2, 3)],
        {"input": torch.rand(2, 3)},
        lambda: torch.rand(2, 3),
        lambda: {"input": torch.rand(2, 3)},
        torch.empty(2, 3, device="meta"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_form_of_example_will_do(example: Any, device: str) -> None:
    model = nn.Linear(3, 4, device=device)
    graph = trace(model, example)
    assert (graph["weight"][0].fan_in, graph["weight"][0].fan_out, graph.ran) == (3.0, 4.0, "fake")


def test_fake_tensors_will_do_as_an_example() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(2, 3)
    assert trace(nn.Linear(3, 4), x)["weight"][0].fan_in == 3.0


def test_an_example_that_the_model_rejects_says_what_and_how_to_go_on() -> None:
    with pytest.raises(ExampleError) as caught:
        trace(nn.Linear(3, 4), torch.rand(2, 5))
    message = str(caught.value)
    for part in ("Linear", "float32(2, 5)", "cannot be multiplied (2x5 and 3x4)", "another example"):
        assert part in message
    with pytest.raises(ExampleError, match=r"wrong=float32\(2, 3\)"):
        trace(nn.Linear(3, 4), {"wrong": torch.rand(2, 3)})


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(WrongTypeError, match="model is a int"):
        trace(3, torch.rand(2))  # type: ignore[arg-type]
    with pytest.raises(WrongTypeError, match="example is a int"):
        trace(nn.Linear(3, 4), 3)
    with pytest.raises(ArgumentError, match="'weight' is lazy"):
        trace(nn.LazyLinear(4), torch.rand(2, 3))


def test_a_batch_of_one_is_traced_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    graph = trace(model, torch.rand(1, 3))
    assert "evaluation mode" in graph.notes[0]
    assert model[1].training


def test_compiled_models_are_traced_as_what_they_compile() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    whole = trace(torch.compile(model), torch.rand(2, 3))
    part = trace(nn.Sequential(torch.compile(model[0]), model[1], model[2]), torch.rand(2, 3))
    plain = trace(model, torch.rand(2, 3))
    for graph in (whole, part):
        assert [(u.name, u.fan_in, u.sink.kind) for u in graph] == [
            (u.name, u.fan_in, u.sink.kind) for u in plain
        ]


def test_writing_into_slices_is_followed() -> None:
    class Slices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Linear(3, 2), nn.Linear(3, 4), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            out = x.new_empty(len(x), 6)
            out[:, :2] = torch.relu(self.left(x))
            out[:, 2:] = torch.relu(self.right(x))
            done: Tensor = self.last(out)
            return done

    source = trace(Slices(), torch.rand(5, 3))["last.weight"][0].source
    assert (source.kind, set(source.weights)) == ("weight", {"left.weight", "right.weight"})
    assert source.activation is not None
    assert source.activation.name == "relu"


def test_inference_mode_inside_a_model_hides_nothing() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                out: Tensor = torch.relu(self.linear(x))
            return out

    use = trace(Inside(), torch.rand(2, 3))["linear.weight"][0]
    assert (use.op, use.fan_in, use.fan_out) == ("matmul", 3.0, 4.0)


def test_an_example_is_made_for_a_stem_that_is_registered_behind_its_heads() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(6, 3) for _ in range(4))
            self.stem = nn.Conv2d(1, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x)).mean((2, 3))
            return torch.cat([head(x) for head in self.heads], -1)

    graph = trace(Backwards())
    assert graph.unreached == ()
    assert graph.example == "float32(32, 1, 32, 32), made for Conv2d 'stem'"


class Nested(nn.Module):
    """A module that writes to what lies deeper in its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.kept = {"seen": [1], "kinds": ({1}, {"last": 0})}
        self.generator, self.config = torch.Generator().manual_seed(3), SimpleNamespace(kind=None)

    def forward(self, x: Tensor) -> Tensor:
        self.kept["seen"].append(2)
        self.kept["kinds"][0].add(2)
        self.kept["kinds"][1]["last"] = 5
        self.config.kind = "vectors"
        return self.linear(x) + torch.rand((), generator=self.generator)


def test_what_lies_deeper_in_attributes_is_put_back_too() -> None:
    model = Nested()
    state = model.generator.get_state()
    trace(model, torch.randn(2, 4))
    assert model.kept == {"seen": [1], "kinds": ({1}, {"last": 0})}
    assert model.config.kind is None
    assert torch.equal(model.generator.get_state(), state)
    model(torch.randn(2, 4))
    assert model.kept["seen"] == [1, 2]
    assert model.config.kind == "vectors"
