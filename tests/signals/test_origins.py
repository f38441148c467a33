"""Where NaN begins, as `check` tells it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from goodinit.signals import check


class Block(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.norm, self.function = nn.Linear(8, 8), nn.BatchNorm1d(8), function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.function(self.linear(x)))
        return out


def network(function: Callable[[Tensor], Tensor] = torch.tanh) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.Sequential(Block(torch.tanh), Block(function)), nn.Linear(8, 2))


def broken(model: nn.Module, *arguments: Any, **options: Any) -> Any:
    (finding,) = (each for each in check(model, *arguments, **options).findings if each.code == "GI107")
    return finding


@pytest.mark.parametrize("given", [True, False])
def test_a_function_call_in_a_nested_module_is_named(given: bool) -> None:
    model = network(lambda x: (x - 100).log())
    finding = broken(model, *([torch.randn(16, 8)] if given else []))
    assert finding.where == ("1.1",)
    assert finding.cause.endswith(": NaN begins in the operation log in '1.1'.")
    assert "'1.1' alone" in finding.cure


def test_inputs_are_told_from_targets() -> None:
    model = network(lambda x: (x - 100).log())
    pair = (torch.randn(16, 8), torch.randint(2, (16,)))
    assert broken(model, pair, loss=nn.functional.cross_entropy).where == ("1.1",)


def test_what_no_layer_shows_but_the_loss_does_is_traced_back_too() -> None:
    class Last(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = Last(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return (self.last(x) - 100).log()

    finding = broken(Ends(), torch.randn(16, 8), loss=torch.sum)
    assert (finding.where, "NaN begins in the operation log." in finding.cause) == (("Ends",), True)
    own = broken(nn.Linear(8, 4), torch.randn(16, 8), loss=lambda y: y.sum() * 0 + math.inf)
    assert own.where == ("loss",)


@pytest.mark.parametrize("name", ["1.0.linear.weight", "1.1.norm.running_var", "2.bias"])
def test_a_parameter_or_a_buffer_is_named(name: str) -> None:
    model = network().eval()
    with torch.no_grad():
        dict((*model.named_parameters(), *model.named_buffers()))[name].view(-1)[0] = math.nan
    kind = "buffer" if "running" in name else "parameter"
    finding = broken(model, torch.randn(16, 8))
    assert finding.cause.endswith(f": the {kind} '{name}' holds NaN.")
    assert finding.where == (name.rpartition(".")[0],)


def test_the_part_of_a_parametrized_weight_is_named() -> None:
    model = network()
    nn.utils.parametrizations.weight_norm(model[2])
    with torch.no_grad():
        model[2].parametrizations.weight.original0[0] = math.inf
    finding = broken(model, torch.randn(16, 8))
    assert "the parameter '2.parametrizations.weight.original0' holds infinity" in finding.cause


def test_a_batch_is_named_also_by_its_second_part() -> None:
    bad = torch.randn(16, 4)
    bad[3, 2] = math.nan
    finding = broken(nn.Bilinear(8, 4, 2), (torch.randn(16, 8), bad))
    assert finding.where == ("the batch",)
    assert "the example itself holds NaN in '[1]'" in finding.cause


def test_the_model_is_left_as_it_was() -> None:
    model = network(lambda x: (x - 100).log())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    broken(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
