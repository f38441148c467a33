"""What the author set on purpose stays; what only looks like it does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from goodinit.errors import ArgumentError, UncoveredError
from goodinit.graph.formulas import structure
from goodinit.initializers import Constant, Keep, Normal
from goodinit.plans import initialize, plan
from goodinit.recipes import RECIPES
from goodinit.recipes.intent import one_value


class Block(nn.Module):
    """A residual branch with what authors set: LayerScale, ReZero, zero-γ, zero last layer, class token."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.last = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.full((8,), 1e-4))
        self.alpha = nn.Parameter(torch.zeros(()))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.head = nn.Linear(8, 1)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.head.bias, -4.5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_constants_of_the_author_survive_every_recipe(recipe: str) -> None:
    model = Block()
    made = initialize(model, recipe)
    for name, value in {
        "norm.weight": 0.0,
        "last.weight": 0.0,
        "scale": 1e-4,
        "alpha": 0.0,
        "token": 0.0,
        "head.bias": -4.5,
    }.items():
        assert made[name].initializer == Constant(value)
        assert "author set it to" in made[name].why
        assert (dict(model.named_parameters())[name] == value).all()
    assert (model.first.weight != 0).all()


def test_a_single_random_number_is_no_intent() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    assert plan(model, "xavier_normal")["1.bias"].initializer == Constant(0.0)


def test_an_override_beats_the_author() -> None:
    made = plan(Block(), overrides={"last.weight": Normal(std=0.1)})
    assert made["last.weight"].initializer == Normal(std=0.1)


def test_blank_memory_is_no_intent() -> None:
    # to_empty often hands out zeros; a plan that kept them would be a dead network.
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    made = plan(model, "kaiming_normal")
    assert made["0.weight"].std == pytest.approx(0.5)
    assert made["1.weight"].initializer == Constant(1.0)


def test_frozen_parameters_are_kept() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    made = initialize(model)
    assert torch.equal(model[0].weight, before)
    assert made["0.weight"].initializer == Keep()
    assert "frozen" in made["0.weight"].why


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_parametrized_weights_are_kept(wrap) -> None:
    layer = wrap(nn.Linear(6, 6))
    model = nn.Sequential(layer, nn.Linear(6, 2))
    before = {name: value.clone() for name, value in layer.named_parameters() if "bias" not in name}
    made = initialize(model)
    for name, value in before.items():
        assert made[f"0.{name}"].initializer == Keep()
        assert "parametrized" in made[f"0.{name}"].why
        assert torch.equal(dict(layer.named_parameters())[name], value)


def test_buffers_are_kept() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4))
    model(torch.randn(10, 4) + 3)
    before = {name: value.clone() for name, value in model.named_buffers()}
    initialize(model)
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_tied_weights_stand_once_with_the_first_name() -> None:
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 20, bias=False))
    model[1].weight = model[0].weight
    made = initialize(model)
    assert [row.name for row in made] == ["0.weight"]
    assert made["1.weight"].aliases == ("1.weight",)
    assert "tied with 1.weight" in made["0.weight"].why
    assert made["0.weight"].std == pytest.approx(0.25)  # 1/√16: the head decides
    assert model[1].weight is model[0].weight


def test_uncovered_parameters_are_listed_with_the_way_to_cover_them() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 5))
            self.table = nn.Parameter(torch.zeros(7, 5))
            self.layer = nn.Linear(5, 5)

    with pytest.raises(UncoveredError) as caught:
        plan(Own(), "kaiming_normal")
    message = str(caught.value)
    assert "'kaiming_normal' has no rule for 2 parameters" in message
    assert "kernel  (3, 5)" in message
    assert "in Own" in message
    assert "all zero: a choice, or memory that nobody filled?" in message
    assert 'overrides={"kernel": goodinit.initializers.Normal(std=0.02)}' in message
    made = plan(Own(), overrides={"kernel": Normal(std=0.1), "table": "keep"})
    assert made["kernel"].std == 0.1
    assert made["table"].initializer == Keep()


def test_lazy_parameters_ask_for_a_batch() -> None:
    with pytest.raises(
        ArgumentError, match=r"0\.weight of LazyLinear is lazy.*run the model once on a batch"
    ):
        plan(nn.Sequential(nn.LazyLinear(3)))


def test_integer_parameters_are_kept() -> None:
    model = nn.Linear(2, 2)
    model.codes = nn.Parameter(torch.arange(4), requires_grad=False)
    assert "stored as torch.int64" in plan(model)["codes"].why


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_value_is_the_shortest_decimal_that_is_stored_the_same(dtype: torch.dtype) -> None:
    assert one_value(torch.full((3,), 0.1, dtype=dtype)) == 0.1
    assert one_value(torch.tensor([0.1, 0.2], dtype=dtype)) is None
    assert one_value(torch.full((2,), float("nan"), dtype=dtype)) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", ["torch", "orthogonal"])
def test_hooks_on_any_parameter_are_seen(recipe: str) -> None:
    recurrent = nn.utils.weight_norm(nn.LSTM(4, 8), "weight_hh_l0")
    pruned = prune.l1_unstructured(nn.Linear(4, 4), "bias", 0.5)
    rows = plan(nn.Sequential(recurrent, pruned), recipe)
    for name in ("0.weight_hh_l0_g", "0.weight_hh_l0_v", "1.bias_orig"):
        assert rows[name].initializer == Keep()
        assert "reparametrized" in rows[name].why
    assert rows["0.weight_ih_l0"].initializer.writes


def test_a_name_that_only_looks_like_a_hook_is_no_hook() -> None:
    module = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    module.bias_g = nn.Parameter(torch.ones(3))
    assert plan(module)["bias_v"].initializer.writes


def test_a_slope_that_prelu_was_made_with_stays() -> None:
    assert plan(nn.PReLU(init=0.1))["weight"].initializer == Constant(0.1)
    assert plan(nn.PReLU())["weight"].initializer == Constant(0.25)


STRUCTURES = {
    "identity": torch.eye(3).flatten(),
    "large identity": torch.eye(300).flatten(),
    "one-hot": torch.tensor([0.0, 1.0, 0.0]),
    "filter": torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16,
    "copies": torch.arange(1.0, 9.0).log().repeat(16, 1),
    "range": torch.arange(4.0),
    "spread": torch.linspace(3, 6, 9),
    "powers": 2.0 ** -torch.arange(16),
}


@pytest.mark.parametrize("numbers", STRUCTURES.values(), ids=STRUCTURES)
def test_numbers_that_no_law_draws_stay(numbers: torch.Tensor) -> None:
    layer = nn.Linear(7, numbers.numel())
    flat = numbers.flatten()
    with torch.no_grad():
        layer.bias.copy_(flat)
    model = nn.Sequential(layer, nn.Linear(numbers.numel(), 2))
    made = initialize(model)
    assert made["0.bias"].initializer == Keep()
    assert "author set it" in made["0.bias"].why
    assert torch.equal(layer.bias, flat)
    assert made["1.bias"].initializer == Constant(0.0)
    assert structure(numbers.to(torch.bfloat16)) is not None or numbers.numel() < 10


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn]
)
def test_drawn_numbers_are_no_structure(dtype: torch.dtype) -> None:
    # No numbers of a law repeat, lie in order or are evenly spaced so by chance: below 1e-6 for each.
    torch.manual_seed(0)
    for count in (2, 3, 4, 8, 9, 12, 64, 5000, 70_000):
        for drawn in (torch.randn(count), torch.rand(count) - 0.5, 1e-3 * torch.randn(count)):
            assert structure(drawn.to(dtype)) is None


def test_weights_that_goodinit_drew_are_no_structure() -> None:
    mirrored = nn.Sequential(*(layer for _ in range(60) for layer in (nn.Linear(64, 64), nn.ReLU())))
    first = initialize(mirrored, example=torch.zeros(2, 64), seed=0)
    again = plan(mirrored, example=torch.zeros(2, 64))
    assert [row.initializer for row in again] == [row.initializer for row in first]


class Turned(nn.Module):
    """A transformation of the input that is made of it and begins as the identity, as in PointNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 36)
        self.head = nn.Linear(6, 8)
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            self.last.bias.copy_(torch.eye(6).flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.last(torch.relu(self.first(x.mean(1)))).view(-1, 6, 6)
        return self.head(x @ made)


def test_a_transformation_that_begins_as_the_identity_still_does() -> None:
    model, x = Turned(), torch.randn(64, 10, 6)
    initialize(model, example=x, seed=0)
    with torch.no_grad():
        assert torch.equal(model(x), model.head(x))
        assert 0.3 < float(model(x).square().mean()) < 3


def test_one_value_is_read_where_a_distributed_tensor_gives_no_elements() -> None:
    class Older(torch.Tensor):
        """As a distributed tensor of torch 2.7."""

        def __getitem__(self, index: object) -> torch.Tensor:
            raise NotImplementedError("aten.select.int does not have a sharding strategy registered")

        def full_tensor(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    assert one_value(torch.full((3, 4), 0.5).as_subclass(Older)) == 0.5
    assert one_value(torch.arange(12.0).view(3, 4).as_subclass(Older)) is None
