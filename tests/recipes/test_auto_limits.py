"""Where no scale holds a plain chain: `auto` mirrors it, or says beforehand what will happen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

import goodinit
from goodinit.initializers import Constant, LooksLinear, Normal, Orthogonal
from goodinit.plans import Plan, plan
from goodinit.recipes import auto

Scalar = Callable[[torch.Tensor], torch.Tensor]


class Function(nn.Module):
    def __init__(self, function: Scalar) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def plain(function: Scalar, width: int, depth: int, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=bias), Function(function)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def planned(model: nn.Sequential, recipe: object = "auto") -> Plan:
    return plan(model, recipe, example=torch.zeros(2, model[0].in_features))


def signals(model: nn.Sequential, seed: int, inputs: int = 16) -> list[torch.Tensor]:
    """The pre-activations of all layers but the output."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(inputs, model[0].in_features, generator=generator)
    found = []
    for layer in model[:-2]:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            found.append(x)
    return found


def first_and_last_gradient(found: list[torch.Tensor], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Second moments, for each input, of the gradient of a random functional of the last layer."""
    g = torch.randn(found[-1].shape, generator=torch.Generator().manual_seed(seed))
    (back,) = torch.autograd.grad((found[-1] * g).sum(), found[0])
    return back.double().square().mean(1), g.double().square().mean(1)


POLYNOMIALS = {
    "x²": lambda x: x * x,
    "relu³": lambda x: torch.relu(x) ** 3,
    "x³": lambda x: x**3,
    "x⁴": lambda x: x**4,
    "cosh": torch.cosh,
    "exp": torch.exp,
    "x·sin x": lambda x: x * torch.sin(x),
    "softplus²": lambda x: nn.functional.softplus(x) ** 2,
}


@pytest.mark.parametrize("function", POLYNOMIALS.values(), ids=POLYNOMIALS.keys())
@pytest.mark.parametrize(("width", "depth"), [(64, 10), (128, 40)])
def test_mirrored_pairs_hold_what_no_scale_holds(function: Scalar, width: int, depth: int) -> None:
    model = plain(function, width, depth)
    made = planned(model)
    assert all(isinstance(row.initializer, LooksLinear) for row in made if len(row.shape) == 2)
    assert not any("no scale holds" in row.why for row in made)

    def spans() -> tuple[float, float]:
        found = signals(model, 0)
        moments = [float(h.detach().double().square().mean()) for h in found]
        first, last = first_and_last_gradient(found, 0)
        return max(moments) / min(moments), float(first.mean() / last.mean())

    made.apply_(model, seed=1)
    signal, gradient = spans()
    assert signal < 3
    assert 0.1 < gradient < 10
    model = plain(function, width, depth)  # anew, for biases that stay are planned for
    made = planned(model, auto(draws="orthogonal"))  # the planted fault: the same layers without mirrors
    made.apply_(model, seed=1)
    signal, gradient = spans()
    assert not (signal < 3 and 0.1 < gradient < 10)


def test_the_bias_of_the_pairs_wins_over_zeros_and_says_why() -> None:
    model = plain(lambda x: x * x, 32, 10)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    made = planned(model)
    assert made["0.bias"].initializer == made["18.bias"].initializer == Constant(1.0)
    assert made["20.bias"].initializer == Constant(0.0)  # the output has no activation
    assert "run 1 ± the signal" in made["0.bias"].why
    assert "mirrored in signs around the biases (1)" in made["2.weight"].why


def test_a_short_chain_that_holds_is_left_alone() -> None:
    made = planned(plain(lambda x: x * x, 64, 2))
    assert isinstance(made["2.weight"].initializer, Normal)
    assert "no scale holds" not in made["2.weight"].why


@pytest.mark.parametrize(
    ("width", "bias", "recipe"), [(65, True, "auto"), (64, False, "auto"), (64, True, auto(draws="normal"))]
)
def test_what_cannot_be_mirrored_is_said_with_numbers_and_a_cure(width: int, bias: bool, recipe) -> None:
    made = planned(plain(lambda x: x**3, width, 20, bias), recipe)
    costs = [row.why for row in made if "no scale holds" in row.why]
    assert len(costs) >= 20
    assert re.search(
        r"within a factor of 3 for the first \d\.\d layers, then to vanish or overflow", costs[0]
    )
    assert "normalization, residual connections or another activation would help" in costs[0]
    assert ("plain layers of even widths with biases" in costs[0]) == (recipe == "auto")


def announced(made: Plan, pattern: str) -> float:
    found = [match for row in made if (match := re.search(pattern, row.why))]
    assert found, made["2.weight"].why
    return float(found[0][1])


@pytest.mark.parametrize(
    ("function", "width", "depth"),
    [
        (lambda x: x**3, 64, 60),
        (lambda x: x * x.abs(), 256, 12),
        (lambda x: torch.relu(x) ** 2, 64, 30),
        (torch.cosh, 512, 10),
    ],
)
def test_the_layers_for_which_a_signal_lasts_are_those_announced(
    function: Scalar, width: int, depth: int
) -> None:
    model = plain(function, width, depth, bias=False)
    made = planned(model)
    said = announced(made, r"for the first ([\d.]+) layers")
    first = made["0.weight"]
    q = first.std**2 * first.fan_in

    def lasts(by: float = 1.0) -> float:
        counts = []
        for seed in range(max(8, 1536 // width)):
            made.apply_(model, seed=seed)
            with torch.no_grad():
                model[0].weight.mul_(by)
                ratio = torch.stack([h.double().square().mean(1) for h in signals(model, seed)]) / q
            counts.append(((ratio >= 1 / 3) & (ratio <= 3)).double().cumprod(0).sum(0))
        return float(torch.cat(counts).mean())

    assert lasts() == pytest.approx(said, rel=0.2)
    assert lasts(1.3) != pytest.approx(said, rel=0.2)  # the planted fault: a first layer that is too large


@pytest.mark.parametrize(
    ("function", "width", "depth"),
    [(lambda x: torch.sin(x) ** 2, 64, 40), (lambda x: x * torch.sin(x), 128, 12)],
)
def test_the_gradient_grows_as_announced(function: Scalar, width: int, depth: int) -> None:
    model = plain(function, width, depth, bias=False)
    made = planned(model)
    said = math.log(announced(made, r"predicted to change ×([\d.e+-]+)"))

    def grows(by: float = 1.0) -> float:
        logs = []
        for seed in range(12):
            made.apply_(model, seed=seed)
            with torch.no_grad():
                for layer in model[2:-2:2]:
                    layer.weight.mul_(by)
            first, last = first_and_last_gradient(signals(model, seed), seed)
            logs.append((first / last).log())
        return float(torch.cat(logs).median())

    assert grows() == pytest.approx(said, rel=0.2)
    assert grows(1.25) != pytest.approx(said, rel=0.2)  # the planted fault


@pytest.mark.parametrize("function", [nn.functional.elu, torch.relu])
def test_inputs_become_as_alike_as_announced(function: Scalar) -> None:
    model = plain(function, 65, 50)
    made = planned(model)
    assert isinstance(made["2.weight"].initializer, Orthogonal)
    said = announced(made, r"make inputs alike: .* end with correlation ([\d.]+)")

    def alike(layers: int) -> float:
        found = []
        for seed in range(40):
            made.apply_(model, seed=seed)
            unit = nn.functional.normalize(signals(model, seed)[layers - 1].detach().double())
            found.append((unit @ unit.T)[~torch.eye(16, dtype=torch.bool)])
        return float(torch.cat(found).median())

    assert 1 - alike(50) == pytest.approx(1 - said, rel=0.2)
    assert 1 - alike(8) != pytest.approx(1 - said, rel=0.2)  # the planted fault: not as deep


@pytest.mark.parametrize("activation", [nn.ELU, nn.Sigmoid, nn.LogSigmoid])
def test_deep_chains_of_even_width_keep_inputs_apart(activation: type[nn.Module]) -> None:
    model = plain(activation(), 64, 60)

    def correlation() -> float:
        unit = nn.functional.normalize(signals(model, 0)[-1].detach().double())
        return float((unit @ unit.T)[~torch.eye(16, dtype=torch.bool)].mean())

    planned(model).apply_(model, seed=1)
    assert abs(correlation()) < 0.1
    goodinit.plan(model, auto(draws="orthogonal"), example=torch.zeros(2, 64)).apply_(model, seed=1)
    assert correlation() > 0.2  # the planted fault
