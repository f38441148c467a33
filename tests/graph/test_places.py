"""Canonical names: what wrappers add is left out, ties keep the first name."""

from __future__ import annotations

import torch
from torch import nn

from goodinit.graph import places
from goodinit.graph.places import unwrapped


def names(model: nn.Module) -> list[str]:
    return [place.name for place in places(model)]


def test_names_are_those_of_the_bare_model_whatever_wraps_it() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2)))
    plain = ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    assert names(model) == plain == [name for name, _ in model.named_parameters()]
    assert names(torch.compile(model)) == plain
    assert names(nn.DataParallel(model)) == plain
    assert names(nn.DataParallel(torch.compile(model))) == plain
    inner = nn.Sequential(nn.Linear(2, 3), torch.compile(model[1]))
    assert names(inner) == plain


def test_an_attribute_called_module_is_an_ordinary_name() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2, bias=False)

    assert names(Holder()) == ["module.weight"]


def test_a_module_used_twice_is_one_place_with_two_names() -> None:
    shared = nn.Linear(2, 2, bias=False)
    (place,) = places(nn.Sequential(shared, nn.Sequential(shared)))
    assert place.name == "0.weight"
    assert place.aliases == ("1.0.weight",)


def test_ancestors_are_listed_root_first() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2, bias=False)))
    (place,) = places(model)
    assert place.uses[0].ancestors == (model, model[0])
    assert place.uses[0].module is model[0][0]


def test_a_cycle_of_modules_ends() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    model[0].add_module("parent", model)
    assert names(model) == ["0.weight"]


def test_unwrapping_stops_at_the_model_even_if_its_only_child_is_called_module() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert unwrapped(nn.DataParallel(torch.compile(model))) is model
