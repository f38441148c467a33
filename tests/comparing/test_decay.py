"""Weight decay for some of the parameters, against `torch.optim` with groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from goodinit.comparing import compare
from goodinit.comparing.batches import batches
from goodinit.comparing.datasets import as_data
from goodinit.comparing.members import built
from goodinit.errors import ArgumentError
from goodinit.plans.build import plan

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
DATA = X, X[:, :1] * X[:, 1:2] + 5
STEPS = 8


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1))


def matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.dim() >= 2


def first(name: str, parameter: torch.Tensor) -> bool:
    return name.startswith("0.")


RULES: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": ({"momentum": 0.5}, lambda groups: torch.optim.SGD(groups, 0.05, 0.5)),
    "adam": ({"optimizer": "adam", "eps": 1e-3}, lambda groups: torch.optim.Adam(groups, 0.05, eps=1e-3)),
    "adamw": ({"optimizer": "adamw", "eps": 1e-3}, lambda groups: torch.optim.AdamW(groups, 0.05, eps=1e-3)),
}


def by_hand(make: Callable[[Any], torch.optim.Optimizer], decayed: Callable[..., bool]) -> torch.Tensor:
    data = as_data(DATA)
    model = plan(build(), "torch").apply_(built(build, 1), seed=1)
    rule = make(
        [{"params": [p], "weight_decay": 0.4 * decayed(name, p)} for name, p in model.named_parameters()]
    )
    found = []
    for batch in batches([1], len(data.train_y), 8)(0, STEPS)[0]:
        rule.zero_grad()
        nn.functional.mse_loss(model(data.train_x[batch]), data.train_y[batch]).backward()
        rule.step()
        with torch.no_grad():
            found.append(nn.functional.mse_loss(model(data.train_x), data.train_y))
    return torch.stack(found)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("decay", "decayed"), [("matrices", matrix), (first, first)])
def test_decay_of_some_parameters_is_that_of_torchs_groups(
    engine: str, rule: str, decay: Any, decayed: Callable[..., bool]
) -> None:
    options, make = RULES[rule]
    made = compare(
        build, ["torch"], DATA, seeds=[0, 1], steps=STEPS, lr=0.05, batch_size=8, evaluations=STEPS,
        weight_decay=0.4, decay=decay, engine=engine, **options,
    )  # fmt: skip
    found = torch.tensor(made.runs[1].train[1:])
    torch.testing.assert_close(found, by_hand(make, decayed), rtol=2e-5, atol=1e-6)
    everywhere = by_hand(make, lambda name, parameter: True)
    assert not torch.allclose(found, everywhere, rtol=2e-5, atol=1e-6)


def test_the_settings_say_how_many_are_spared_and_a_journal_knows_which(tmp_path: Path) -> None:
    def run(**options: Any) -> Any:
        return compare(
            build, ["torch"], DATA, seeds=1, steps=2, lr=0.1, weight_decay=0.4, journal=tmp_path, **options
        )

    made = run(decay="matrices")
    assert made.settings["optimizer"] == "sgd, no momentum, weight_decay=0.4 (not of 4 parameters)"
    with pytest.raises(ArgumentError, match="without decay"):
        run(decay=lambda name, parameter: name in ("0.weight", "0.bias"))
    with pytest.raises(ArgumentError, match=r"optimizer = .*not of 4 parameters.*, found"):
        run(decay="all")
