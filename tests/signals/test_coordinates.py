"""Exponents of width: the standard parametrization grows, a maximal-update one does not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.records import CoordinateCheck
from goodinit.signals.coordinates import coordinate_check

WIDTHS = [64, 128, 256, 512]
BASE = 64
X = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 4, (32,), generator=torch.Generator().manual_seed(1))


def standard(width: int) -> nn.Sequential:
    """He's normal initialisation, no biases at the start."""
    sizes = [(16, width), (width, width), (width, 4)]
    model = nn.Sequential()
    for at, (fan_in, fan_out) in enumerate(sizes):
        layer = nn.Linear(fan_in, fan_out)
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
        nn.init.zeros_(layer.bias)
        model.append(layer)
        if at < len(sizes) - 1:
            model.append(nn.ReLU())
    return model


def maximal(width: int) -> nn.Sequential:
    """Yang et al. 2022, Table 3: the output's variance falls as 1/fan_in², by hand."""
    model = standard(width)
    nn.init.normal_(model[-1].weight, std=1 / width)
    return model


def rates(model: nn.Sequential, **by_role: float) -> Iterator[dict[str, object]]:
    for at, layer in enumerate(model[::2]):
        role = ("input", "hidden", "output")[at]
        yield {"params": [layer.weight], "lr": by_role[role]}
        yield {"params": [layer.bias], "lr": by_role["output_bias" if role == "output" else "input"]}


def maximal_adam(model: nn.Sequential) -> torch.optim.Optimizer:
    lr, ratio = 1e-2, model[0].out_features / BASE
    return torch.optim.Adam(
        list(rates(model, input=lr, hidden=lr / ratio, output=lr / ratio, output_bias=lr))
    )


def maximal_sgd(model: nn.Sequential) -> torch.optim.Optimizer:
    lr, ratio = 0.1, model[0].out_features / BASE
    return torch.optim.SGD(list(rates(model, input=lr * ratio, hidden=lr, output=lr / ratio, output_bias=lr)))


def slopes(check: CoordinateCheck) -> dict[str, float]:
    return {layer.name: layer.change_slope for layer in check.layers if layer.change_slope is not None}


def test_under_adam_the_standard_parametrization_grows_with_width() -> None:
    """Each hidden unit's change is a sum of width aligned terms of the size of the learning rate: slope 1."""
    check = coordinate_check(standard, WIDTHS, (X, Y), optimizer="adam", lr=1e-3, steps=1, seeds=4)
    found = slopes(check)
    assert found["0"] == pytest.approx(0.0, abs=0.1)
    assert found["2"] == pytest.approx(1.0, abs=0.25)
    assert found["4"] > 0.7
    assert [finding.code for finding in check.findings] == ["GI126"]
    finding = check.findings[0]
    assert set(finding.where) == {"2", "3", "4"}
    assert finding.interval is not None
    assert finding.interval[0] > check.tolerance
    assert "fan_in" in finding.cure


@pytest.mark.parametrize("optimizer", [maximal_adam, maximal_sgd])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_maximal_update_parametrization_is_flat(optimizer: object, steps: int) -> None:
    check = coordinate_check(maximal, WIDTHS, (X, Y), optimizer=optimizer, steps=steps, seeds=4)  # type: ignore[arg-type]
    assert check.healthy, str(check)
    assert all(abs(slope) < 0.2 for slope in slopes(check).values())
    # The output at the start falls as 1/√width, which muP allows.
    assert check.layers[-1].output_slope == pytest.approx(-0.5, abs=0.35)


def test_one_rate_too_many_is_found() -> None:
    """The planted fault: muP for Adam, but the hidden layer's rate is not divided by the width."""

    def forgotten(model: nn.Sequential) -> torch.optim.Optimizer:
        lr, ratio = 1e-2, model[0].out_features / BASE
        return torch.optim.Adam(list(rates(model, input=lr, hidden=lr, output=lr / ratio, output_bias=lr)))

    check = coordinate_check(maximal, WIDTHS, (X, Y), optimizer=forgotten, steps=1, seeds=4)
    assert check.findings
    assert "2" in check.findings[0].where
    assert "0" not in check.findings[0].where


def test_under_sgd_the_first_layer_of_the_standard_parametrization_fades() -> None:
    """Yang and Hu 2021: the gradient of the first layer falls as 1/√width for one output."""

    def build(width: int) -> nn.Sequential:
        model = standard(width)
        for layer in (model[2], model[4]):
            layer.weight.requires_grad_(False)
        return model

    check = coordinate_check(build, WIDTHS, (X, Y), optimizer="sgd", lr=1e-2, steps=1, seeds=8)
    assert slopes(check)["0"] == pytest.approx(-0.5, abs=0.2)
    assert any("fade" in finding.cause for finding in check.findings)


def test_the_record_survives_json_and_prints() -> None:
    check = coordinate_check(standard, [8, 16, 32], (X, Y), seeds=2, steps=1)
    assert CoordinateCheck.from_json(check.to_json()) == check
    text = str(check)
    assert "widths 8, 16, 32" in text
    assert text.count(" to ") >= 2 * len(check.layers)
    assert len(check.losses) == 3
    assert len(check.losses[0]) == 2


def test_dropout_masks_are_no_change() -> None:
    def build(width: int) -> nn.Sequential:
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(16, width), nn.Linear(width, 4))

    def frozen(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.0)

    check = coordinate_check(build, [8, 16, 32], (X, Y), optimizer=frozen, seeds=2)
    assert all(change == 0 for layer in check.layers for change in layer.change)
    assert all(layer.change_slope is None for layer in check.layers)
    assert check.healthy


def test_training_that_diverges_at_some_widths_is_found_and_at_all_is_refused() -> None:
    def breaks_when_wide(model: nn.Module) -> torch.optim.Optimizer:
        wide = model[0].out_features > 16
        return torch.optim.SGD(model.parameters(), lr=1e30 if wide else 1e-2)

    check = coordinate_check(standard, [8, 16, 32], (X, Y), optimizer=breaks_when_wide, seeds=2)
    assert [finding.code for finding in check.findings] == ["GI126"]
    assert check.findings[0].effect == math.inf
    assert "NaN or infinity at width 32, at a rate that the other widths bear" in check.findings[0].cause
    assert "updates of" in str(check)
    assert CoordinateCheck.from_json(check.to_json()).findings == check.findings
    with pytest.raises(ArgumentError, match="lr: training ends in NaN or infinity at every width"):
        coordinate_check(standard, [8, 16, 32], (X, Y), optimizer="sgd", lr=1e30, seeds=2)


def test_intervals_too_wide_to_tell_are_counted_in_the_sentence() -> None:
    check = coordinate_check(standard, [16, 32, 64], (X, Y), optimizer="adam", lr=1e-3, steps=1, seeds=2)
    wide = [layer for layer in check.layers if max(map(abs, layer.change_interval or (0.0,))) > 0.2]
    assert check.healthy
    assert wide
    assert f"the intervals of {len(wide)} of {len(check.layers)} layers are too wide to tell" in " ".join(
        str(check).split()
    )


def test_the_random_generator_is_put_back() -> None:
    state = torch.get_rng_state()
    one = coordinate_check(standard, [8, 16, 32], (X, Y), seeds=2, steps=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.randn(3)
    assert coordinate_check(standard, [8, 16, 32], (X, Y), seeds=2, steps=1) == one


def test_a_float_target_takes_the_squared_error_and_a_model_may_bring_its_own_loss() -> None:
    check = coordinate_check(standard, [8, 16, 32], (X, torch.randn(32, 4)), seeds=2, steps=1)
    assert all(value > 0 for row in check.losses for value in row)

    class Own(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.net = standard(width)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            out = self.net(x)
            return {"loss": out.square().mean(), "out": out}

    assert coordinate_check(Own, [8, 16, 32], X, seeds=2, steps=1).layers[0].name == "net.0"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"widths": [8, 16]}, ArgumentError, "widths: give at least three"),
        ({"widths": [8, 32, 16]}, ArgumentError, "rising"),
        ({"widths": 64}, WrongTypeError, "widths: expected whole numbers such as"),
        ({"widths": [8.0, 16.0, 32.0]}, WrongTypeError, "widths: expected whole numbers such as"),
        ({"data": (X[:, :3], Y)}, ExampleError, "data: Sequential of width 8 rejected its inputs"),
        ({"steps": 0}, ArgumentError, "steps: expected an integer of at least 1, got 0"),
        ({"seeds": 1}, ArgumentError, "seeds"),
        ({"lr": -1.0}, ArgumentError, "lr: expected a positive number"),
        ({"confidence": 1.0}, ArgumentError, "confidence"),
        ({"optimizer": "lion"}, ArgumentError, "'lion' is not known"),
        ({"optimizer": lambda model: 3}, WrongTypeError, "returned a int"),
        ({"data": X}, ArgumentError, "loss: none is known"),
        ({"data": (X, [1, 2])}, WrongTypeError, "targets are a list"),
        ({"build": lambda width: 3}, WrongTypeError, "build: expected a torch.nn.Module"),
        (
            {"build": lambda width: nn.Sequential(*[nn.Linear(16, 16) for _ in range(1 + (width > 8))])},
            ArgumentError,
            "differ in more than width",
        ),
    ],
)
def test_mistakes_are_named(changes: dict[str, object], error: type[Exception], words: str) -> None:
    given = {"build": standard, "widths": [8, 16, 32], "data": (X, Y), "seeds": 2, "steps": 1, **changes}
    with pytest.raises(error, match=words):
        coordinate_check(given.pop("build"), given.pop("widths"), given.pop("data"), **given)  # type: ignore[arg-type]
