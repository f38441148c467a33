"""Every engine trains as a plain PyTorch loop does, or says why it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.batches import batches
from goodinit.comparing.engines.compiled import building, pointwise
from goodinit.comparing.members import built
from goodinit.errors import ArgumentError
from goodinit.plans.build import plan
from goodinit.records.comparisons import Comparison

Pair = tuple[torch.Tensor, torch.Tensor]
needs_compiler = pytest.mark.usefixtures("compiler")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tanh_net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))


def regression() -> Pair:
    x = numbers(50, 2)
    return x, 2 * x[:, :1] ** 2 - x[:, 1:] ** 2


def images() -> Pair:
    return numbers(40, 2, 6, 6), torch.arange(40) % 3


def symbols() -> Pair:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randint(0, 7, (40, 4), generator=generator) for _ in range(2))  # type: ignore[return-value]


class Language(nn.Module):
    """Symbols in, symbols out."""

    def __init__(self, body: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.table, self.body, self.out = nn.Embedding(7, 8), body(), nn.Linear(8, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.body(self.table(x))
        out: torch.Tensor = self.out(found[0] if isinstance(found, tuple) else found)
        return out


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=2), nn.GELU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3),
    )  # fmt: skip


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Pair]]] = {
    "convolutional": (convolutional, images),
    "recurrent": (lambda: Language(lambda: nn.LSTM(8, 8, batch_first=True)), symbols),
    "attention": (
        lambda: Language(lambda: nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)),
        symbols,
    ),
    "gated": (
        lambda: nn.Sequential(
            nn.Linear(2, 6), nn.GLU(), nn.ELU(), nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 1)
        ),
        regression,
    ),
    "double": (lambda: tanh_net().double(), regression),
}


def losses(made: Comparison) -> torch.Tensor:
    return torch.tensor([[*run.train, *run.test] for run in made.runs], dtype=torch.float64)


def plain_loop(
    make: Callable[..., torch.optim.Optimizer], factor: Callable[[int], float], steps: int
) -> list[float]:
    """Train tanh_net by hand: seed 1, rate 0.02, batches of 8; return the loss after each step."""
    from goodinit.comparing.datasets import as_data

    data = as_data(regression())
    model = plan(tanh_net(), "xavier_normal").apply_(built(tanh_net, 1), seed=1)
    rule = make(model.parameters(), lr=0.02)
    order = batches([1], len(data.train_x), 8)(0, steps)[0]
    found = []
    for step in range(steps):
        for group in rule.param_groups:
            group["lr"] = 0.02 * factor(step)
        rule.zero_grad()
        nn.functional.mse_loss(model(data.train_x[order[step]]), data.train_y[order[step]]).backward()
        rule.step()
        with torch.no_grad():
            found.append(nn.functional.mse_loss(model(data.train_x), data.train_y).item())
    return found


RULES: dict[str, tuple[dict[str, Any], Callable[..., torch.optim.Optimizer], Callable[[int], float]]] = {
    "sgd": ({}, torch.optim.SGD, lambda step: 1.0),
    "nesterov": (
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.02, "schedule": "cosine"},
        lambda p, lr: torch.optim.SGD(p, lr, 0.9, nesterov=True, weight_decay=0.02),
        lambda step: 0.5 * (1 + math.cos(math.pi * step / 12)),
    ),
    "adam": (
        {
            "optimizer": "adam",
            "weight_decay": 0.1,
            "betas": (0.8, 0.9),
            "eps": 1e-3,
            "schedule": lambda t: 1 / (t + 1),
        },
        lambda p, lr: torch.optim.Adam(p, lr, (0.8, 0.9), 1e-3, 0.1),
        lambda step: 1 / (step + 1),
    ),
    "adamw": (
        {"optimizer": "adamw", "weight_decay": 0.3, "schedule": "linear"},
        lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.3),
        lambda step: 1 - step / 12,
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_member_ends_where_a_plain_loop_with_torchs_optimizer_does(engine: str, rule: str) -> None:
    options, make, factor = RULES[rule]
    made = compare(
        tanh_net, ["torch", "xavier_normal"], regression(), seeds=[4, 1], steps=12, lr=[0.01, 0.02],
        batch_size=8, evaluations=12, engine=engine, **options,
    )  # fmt: skip
    (run,) = [run for run in made.runs if (run.plan, run.lr, run.seed) == ("xavier_normal", 0.02, 1)]
    expected = torch.tensor(plain_loop(make, factor, 12))
    torch.testing.assert_close(torch.tensor(run.train[1:]), expected, rtol=2e-5, atol=1e-6)
    # The same check tells a rate that is off by one step of the schedule, or by 1 %.
    wrong = torch.tensor(plain_loop(make, lambda step: factor(step) * 1.01, 12))
    assert not torch.allclose(torch.tensor(run.train[1:]), wrong, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", ["stacked", "compiled"], indirect=True)
def test_members_trained_together_end_as_those_trained_one_after_another(engine: str, name: str) -> None:
    build, data = MODELS[name]
    one, other = (
        compare(
            build,
            ["torch"],
            data(),
            seeds=2,
            steps=5,
            lr=0.05,
            batch_size=8,
            evaluations=1,
            momentum=0.5,
            engine=each,
        )
        for each in ("sequential", engine)
    )
    torch.testing.assert_close(losses(one), losses(other), rtol=1e-4, atol=1e-6)
    assert losses(one)[:, 0].ne(losses(one)[:, 1]).all()


def test_members_do_not_depend_on_their_company() -> None:
    many = compare(
        tanh_net, ["torch", "xavier_normal"], regression(), seeds=3, steps=6, lr=[0.1, 0.2], engine="stacked"
    )
    alone = compare(tanh_net, ["xavier_normal"], regression(), seeds=[2], steps=6, lr=0.2, engine="stacked")
    (run,) = [run for run in many.runs if (run.plan, run.lr, run.seed) == ("xavier_normal", 0.2, 2)]
    torch.testing.assert_close(
        torch.tensor(run.train), torch.tensor(alone.runs[0].train), rtol=1e-5, atol=1e-6
    )


@needs_compiler
def test_more_members_than_lanes_and_more_than_a_chunk_keep_their_places() -> None:
    made = compare(
        tanh_net, ["torch"], regression(), seeds=70, steps=4, lr=[0.1], engine="compiled", evaluations=1
    )
    plain = compare(
        tanh_net,
        ["torch"],
        regression(),
        seeds=[0, 17, 63, 64, 69],
        steps=4,
        lr=[0.1],
        engine="sequential",
        evaluations=1,
    )
    places = [[run.seed for run in made.runs].index(run.seed) for run in plain.runs]
    torch.testing.assert_close(losses(made)[places], losses(plain), rtol=1e-5, atol=1e-6)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        out: torch.Tensor = self.b(h.relu() if h.mean() > 0 else h.tanh())
        return out


class Counting(Branching):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.b(self.a(x) * self.calls)
        return out


class Preparing(Branching):
    ready = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        out: torch.Tensor = self.b(h if self.ready else h + 0.0)
        self.ready = True
        return out


def test_what_a_model_does_at_its_first_call_alone_keeps_no_member_from_being_stacked() -> None:
    made = compare(Preparing, ["torch"], regression(), seeds=2, steps=3, lr=0.1)
    assert made.notes[0] == "engine: stacked"


def test_what_a_model_counts_starts_anew_for_each_member() -> None:
    runs = [
        compare(Counting, labels, regression(), seeds=2, steps=4, lr=1e-4).runs
        for labels in (["torch"], ["xavier_normal", "torch"])
    ]
    assert runs[0] == tuple(run for run in runs[1] if run.plan == "torch")


@needs_compiler
def test_a_wrong_operation_is_noticed_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pointwise._ARITHMETIC, "tanh", lambda x: f"m_tanh({x}*splat((T)1.01))")
    with pytest.raises(ArgumentError, match="disagrees with plain PyTorch"):
        compare(tanh_net, ["torch"], regression(), seeds=2, steps=3, lr=0.1, engine="compiled")


def test_without_a_compiler_members_are_stacked_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    building.compiler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    try:
        made = compare(tanh_net, ["torch"], regression(), seeds=2, steps=500, lr=0.01, evaluations=1)
    finally:
        building.compiler.cache_clear()
    assert made.notes[0] == "engine: stacked"
    assert "no C++ compiler" in made.notes[1]


@needs_compiler
def test_a_compiler_that_takes_too_long_is_given_up_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(building, "PATIENCE", 0.001)
    made = compare(tanh_net, ["torch"], regression(), seeds=2, steps=500, lr=0.01, evaluations=1)
    assert made.notes[0] == "engine: stacked"
    assert "took more than 0.001 s to compile" in made.notes[1]
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_long_runs_are_compiled_and_repeat_to_the_bit() -> None:
    runs = [
        compare(tanh_net, ["torch"], regression(), seeds=3, steps=600, lr=0.05, momentum=0.9)
        for _ in range(2)
    ]
    assert runs[0].notes[0] == "engine: compiled"
    assert runs[0] == runs[1]


def test_a_diverging_member_is_recorded_and_leaves_the_others_alone() -> None:
    made = compare(
        tanh_net, ["torch"], regression(), seeds=2, steps=8, lr=[0.01, 1e30], evaluations=4, engine="stacked"
    )
    calm = compare(
        tanh_net, ["torch"], regression(), seeds=2, steps=8, lr=0.01, evaluations=4, engine="stacked"
    )
    for run in made.runs:
        if run.lr == 0.01:
            assert run.outcome == "finished"
            assert run.failed_at is None
        else:
            assert run.outcome == "diverged"
            assert run.failed_at == 2
            assert math.isfinite(run.train[0])
            assert all(map(math.isnan, run.train[1:] + run.test[1:] + run.metric[1:]))
    kept = [run for run in made.runs if run.lr == 0.01]
    torch.testing.assert_close(
        torch.tensor([run.train for run in kept]), losses(calm)[:, :5].float(), rtol=1e-5, atol=0
    )


def test_a_network_whose_output_became_constant_is_dead() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))

    dead = plan(build(), "torch").override({"0.bias": -100.0})
    made = compare(build, {"dead": dead, "alive": "torch"}, regression(), seeds=2, steps=3, lr=0.01)
    assert {(run.plan, run.outcome) for run in made.runs} == {("dead", "dead"), ("alive", "finished")}
