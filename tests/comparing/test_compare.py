"""What `compare` refuses before it trains, and the design of what it trains."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.batches import batches
from goodinit.comparing.schedules import factors
from goodinit.errors import (
    ArgumentError,
    ExampleError,
    GoodinitError,
    ModelSourceError,
    PlanMismatchError,
    UnknownNameError,
    WrongTypeError,
)
from goodinit.plans.build import plan
from goodinit.records.comparisons import Comparison


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def run(**changed: Any) -> Comparison:
    settings: dict[str, Any] = {
        "build": build, "plans": ["torch", "xavier_normal"], "data": data(), "seeds": 2, "steps": 2,
        "lr": 0.1, "engine": "sequential",
    }  # fmt: skip
    settings |= changed
    return compare(settings.pop("build"), settings.pop("plans"), settings.pop("data"), **settings)


def no_module() -> Any:
    return 3


def failing() -> nn.Module:
    raise OSError("no such weights")


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.a(x), x


class Spoiling(Pair):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        h = self.a(x).exp()
        h += 1
        return h


class Two(Pair):
    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        out: torch.Tensor = self.a(x + z)
        return out


X, Y = data()
SHARED = build()
BAD: list[tuple[dict[str, Any], type[GoodinitError], str]] = [
    ({"seeds": 0}, ArgumentError, "seeds must be at least 1, found 0"),
    ({"seeds": []}, ArgumentError, "seeds"),
    ({"seeds": [1, 1]}, ArgumentError, "seeds must differ from each other, found 1 twice"),
    ({"seeds": [-1]}, ArgumentError, "seeds"),
    ({"seeds": 1.5}, WrongTypeError, "seeds"),
    ({"steps": 0}, ArgumentError, "steps must be at least 1, found 0"),
    ({"batch_size": 0}, ArgumentError, "batch_size"),
    ({"lr": -1.0}, ArgumentError, "lr"),
    ({"lr": []}, ArgumentError, "lr"),
    ({"lr": [0.1, 0.1]}, ArgumentError, "lr must differ"),
    ({"lr": math.nan}, ArgumentError, "lr"),
    ({"lr": "fast"}, WrongTypeError, "lr"),
    ({"optimizer": "adm"}, UnknownNameError, "did you mean 'adam'"),
    ({"momentum": 1.0}, ArgumentError, "momentum"),
    ({"optimizer": "adam", "momentum": 0.9}, ArgumentError, "use betas"),
    ({"nesterov": True}, ArgumentError, "nesterov needs a momentum"),
    ({"weight_decay": -1.0}, ArgumentError, "weight_decay"),
    ({"decay": "matrices"}, ArgumentError, "there is none: give both"),
    ({"decay": "biases", "weight_decay": 0.1}, UnknownNameError, "none of all, matrices"),
    ({"decay": 0.1, "weight_decay": 0.1}, WrongTypeError, "decay must be .* found float"),
    ({"decay": lambda name: True, "weight_decay": 0.1}, ArgumentError, "yes or no .* raises TypeError"),
    ({"weight_decay": "0.1"}, WrongTypeError, "weight_decay must be a number, found str"),
    ({"momentum": None}, WrongTypeError, "momentum must be a number, found NoneType"),
    ({"betas": 0.9}, ArgumentError, "betas must be two numbers"),
    ({"betas": (0.9, "a")}, WrongTypeError, r"betas\[1\] must be a number"),
    ({"schedule": lambda step: "a"}, ArgumentError, "schedule must give a number .* raises ValueError"),
    ({"metric": lambda out, y: 1.0, "higher_is_better": "no"}, WrongTypeError, "must be True or False"),
    ({"plans": None}, WrongTypeError, "names of recipes, found NoneType"),
    ({"build": lambda: SHARED}, ModelSourceError, "a new model at each call, found .* 0.weight"),
    ({"optimizer": "adam", "betas": (0.9, 1.0)}, ArgumentError, "betas"),
    ({"optimizer": "adam", "eps": 0.0}, ArgumentError, "eps"),
    ({"loss": "msee"}, UnknownNameError, "did you mean 'mse'"),
    ({"metric": "acuracy"}, UnknownNameError, "did you mean 'accuracy'"),
    ({"metric": lambda out, y: 1.0}, ArgumentError, "higher_is_better"),
    ({"metric": lambda out, y: out, "higher_is_better": True}, ArgumentError, "one number"),
    ({"metric": "accuracy", "higher_is_better": False}, ArgumentError, "higher is better: leave it out"),
    ({"higher_is_better": True}, ArgumentError, "there is none: give both"),
    ({"loss": lambda out, y: (out - y).mean() * math.nan}, ArgumentError, "not a number at the start of any"),
    ({"seeds": np.array([[1]])}, WrongTypeError, "seeds"),
    ({"schedule": "cosin"}, UnknownNameError, "did you mean 'cosine'"),
    ({"schedule": lambda step: -1.0}, ArgumentError, r"schedule\(0\)"),
    ({"evaluations": [3]}, ArgumentError, "after the last step"),
    ({"engine": "compield"}, UnknownNameError, "did you mean 'compiled'"),
    ({"loss": lambda out, y: (out - y) ** 2}, ArgumentError, "must return one number, found shape"),
    ({"loss": lambda out, y: 1.0}, ArgumentError, "must return a tensor, found float"),
    ({"loss": lambda out, y: (out.detach() - y).mean()}, ArgumentError, "differentiable"),
    ({"loss": "cross_entropy"}, ArgumentError, "classes need"),
    ({"plans": {}}, ArgumentError, "at least one plan"),
    ({"plans": "torch"}, WrongTypeError, "names of recipes"),
    ({"plans": ["torch", "torch"]}, ArgumentError, "twice"),
    ({"plans": ["xavier_norml"]}, UnknownNameError, "did you mean 'xavier_normal'"),
    ({"plans": {"mine": plan(nn.Linear(2, 2), "torch")}}, PlanMismatchError, "plan 'mine'"),
    ({"build": build()}, WrongTypeError, "build"),
    ({"build": no_module}, ModelSourceError, "found int"),
    ({"build": failing}, ModelSourceError, "no such weights"),
    ({"build": nn.Tanh}, GoodinitError, "no trainable parameter"),
    ({"build": Spoiling}, ArgumentError, "the gradient of loss 'mse' cannot be computed: RuntimeError"),
    ({"build": Pair}, ExampleError, "one tensor, found tuple: let build"),
    ({"build": Two}, ExampleError, r"its only argument \(several are .* argument: 'z'"),
    ({"build": lambda: nn.Linear(3, 1)}, GoodinitError, "shape"),
    ({"data": (X[:-1], Y)}, ArgumentError, "29 inputs and 30 targets"),
    ({"data": (X / 0, Y)}, ArgumentError, "NaN or infinite"),
    ({"data": "s5"}, UnknownNameError, "s4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind", "message"), BAD, ids=[f"{next(iter(bad[0]))}-{at}" for at, bad in enumerate(BAD)]
)
def test_bad_input_is_refused_before_training_with_its_name(
    changed: dict[str, Any], kind: type[GoodinitError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The room offers the function under the module's name.
    monkeypatch.setattr(sys.modules["goodinit.comparing.compare"], "train_all", None)
    with pytest.raises(kind, match=message):
        run(**changed)


def test_good_input_is_not_refused() -> None:
    made = run(lr=[0.1, 0.2], loss=lambda out, y: (out - y).square().mean(), metric="l1")
    assert {(one.plan, one.lr, one.seed) for one in made.runs} == {
        (label, rate, seed) for label in ("torch", "xavier_normal") for rate in (0.1, 0.2) for seed in (0, 1)
    }
    assert made.metric == "l1"
    assert made.steps == (0, 1, 2)
    assert Comparison.from_json(made.to_json()) == made


def test_arrays_and_tensors_are_sequences_too() -> None:
    made = run(
        lr=np.array([0.1, 0.2]),
        seeds=torch.arange(2),
        evaluations=np.array([1]),
        steps=3,
        batch_size=np.int64(8),
    )
    assert (made.lrs, made.seeds, made.steps) == ((0.1, 0.2), (0, 1), (0, 1, 3))


def test_one_plan_whose_loss_is_no_number_is_counted_and_not_refused() -> None:
    broken = plan(build(), "torch").override({"2.bias": -1000.0})
    made = run(plans={"broken": broken, "other": "torch"}, loss=lambda out, y: (out + 100).log().mean())
    assert {(each.plan, each.outcome) for each in made.runs} == {
        ("broken", "diverged"),
        ("other", "finished"),
    }


def test_plans_at_a_seed_share_batches_and_what_they_keep() -> None:
    one = plan(build(), "torch")
    made = run(plans={"a": one, "b": one, "other": "xavier_normal"}, steps=5)
    by = {label: [each.train for each in made.runs if each.plan == label] for label in made.plans}
    assert by["a"] == by["b"]
    assert by["a"] != by["other"]
    assert by["a"][0] != by["a"][1]


def test_the_users_random_streams_are_left_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(engine="auto")
    assert torch.rand(3).equal(expected)


def test_a_pass_takes_every_example_once_and_steps_can_be_had_in_any_order() -> None:
    order = batches([3, 4], 20, 6)
    whole = order(0, 300)
    assert whole.shape == (2, 300, 6)
    for begin in (0, 3, 297):
        assert whole[0, begin : begin + 3].flatten().unique().numel() == 18
    assert not whole[0, :3].equal(whole[0, 3:6])
    assert not whole[0].equal(whole[1])
    fresh = batches([4], 20, 6)
    for first, last in ((250, 260), (2, 7), (299, 300)):
        assert fresh(first, last)[0].equal(whole[1, first:last])
    left_out = {
        tuple(sorted(set(range(20)) - set(whole[0, at : at + 3].flatten().tolist())))
        for at in range(0, 300, 3)
    }
    assert len(left_out) > 50


def test_shuffles_are_uniform() -> None:
    # 10,000 passes of 5 examples: who comes first is a multinomial; χ² with 4 degrees of freedom exceeds
    # 33.4 with probability 1e-6.
    first = batches([7], 5, 1)(0, 50_000)[0, ::5, 0]
    counts = torch.bincount(first, minlength=5).double()
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 33.4
    spoiled = torch.where(first == 4, torch.randint_like(first, 2) * 4, first)
    assert float(((torch.bincount(spoiled, minlength=5).double() - 2000) ** 2 / 2000).sum()) > 33.4


def test_schedules_begin_and_end_where_they_say() -> None:
    assert factors(None, 3) == (1.0, 1.0, 1.0)
    assert factors("linear", 100)[::99] == pytest.approx((1.0, 0.01))
    assert factors("cosine", 100)[::50] == pytest.approx((1.0, 0.5))
    assert factors("warmup", 100)[:6] == pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0, 1.0))
    assert factors(lambda step: 1 / (step + 1), 3) == pytest.approx((1, 1 / 2, 1 / 3))
