"""Making, saving, comparing and changing plans."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from goodinit.errors import (
    ArgumentError,
    OverrideError,
    PlanFileError,
    UncoveredError,
    UnknownNameError,
    WrongTypeError,
)
from goodinit.initializers import Blocks, Constant, KaimingNormal, Keep, Normal, Orthogonal, Uniform, ZeroRows
from goodinit.plans import Plan, plan


def model() -> nn.Module:
    return nn.Sequential(
        nn.Embedding(10, 8, padding_idx=0), nn.LSTM(8, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)
    )


def test_a_plan_has_one_row_with_a_reason_for_every_parameter() -> None:
    made = plan(model(), "xavier_normal")
    assert [row.name for row in made] == [name for name, _ in model().named_parameters()]
    assert len(made) == 11
    row = made["2.weight"]
    assert (row.shape, row.fan_in, row.fan_out) == ((8, 8), 8.0, 8.0)
    assert row.std == pytest.approx(0.125**0.5)
    assert row.why.startswith("Linear: each output sums 8 inputs")


def test_planning_reads_the_model_only() -> None:
    made_for = model()
    before = {name: value.clone() for name, value in made_for.state_dict().items()}
    state = torch.get_rng_state()
    plan(made_for)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in made_for.state_dict().items())


def test_adding_a_layer_changes_no_other_row() -> None:
    small = nn.ModuleDict({"a": nn.Linear(4, 4), "z": nn.Linear(4, 4)})
    large = nn.ModuleDict({"a": nn.Linear(4, 4), "m": nn.Linear(4, 4), "z": nn.Linear(4, 4)})
    assert [entry[0] for entry in plan(small).diff(plan(large))] == ["m.weight", "m.bias"]


def test_a_saved_plan_is_read_back_equal(tmp_path) -> None:
    made = plan(model(), "orthogonal", overrides={"4.bias": 0.5})
    assert made.save(tmp_path / "deep" / "plan.json") == tmp_path / "deep" / "plan.json"
    assert Plan.load(tmp_path / "deep" / "plan.json") == made
    assert not made.diff(Plan.load(tmp_path / "deep" / "plan.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(goodinit="report"), "no goodinit plan"),
        (lambda value: value.update(format=99), "plan format 99; this version reads format 1"),
        (lambda value: value.update(algorithm="goodinit-0"), "random algorithm 'goodinit-0'"),
        (lambda value: value.pop("rows"), "a list of rows, found none"),
        (lambda value: value["rows"][0].pop("shape"), r"row '0\.weight': no field 'shape'"),
        (lambda value: value["rows"][1]["initializer"].update(kind="Norml"), "did you mean 'Normal'"),
        (lambda value: value["rows"][1]["initializer"].update(std=-1), "std must be at least 0, found -1"),
        (lambda value: value["rows"].append(value["rows"][0]), "'0.weight' stands in two rows"),
        (
            lambda value: value["rows"][0].update(initializer={"kind": "Orthogonal"}, shape=[3]),
            "needs a tensor of at least 2 dimensions",
        ),
    ],
)
def test_a_broken_plan_file_is_named_with_its_fault(tmp_path, change, message: str) -> None:
    value = json.loads(plan(model(), "lecun_normal").to_json())
    change(value)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(value))
    with pytest.raises(PlanFileError, match=message) as caught:
        Plan.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not JSON"), (b"\xff\xfe", "utf-8"), (b"[]", "no goodinit plan"), (None, "No such file")],
)
def test_an_unreadable_plan_file_is_named(tmp_path, content: bytes | None, message: str) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlanFileError, match=message):
        Plan.load(path)


def test_diff_names_what_is_filled_differently() -> None:
    changes = plan(model(), "xavier_normal").diff(plan(model(), "xavier_uniform"))
    assert {name for name, _, _ in changes} == {
        name for name, p in model().named_parameters() if p.dim() == 2 and name != "0.weight"
    }


class TestOverrides:
    def test_exact_names_globs_and_expressions_are_matched(self) -> None:
        made = plan(
            model(), overrides={"*.bias": 0.1, "re:[24]\\.weight": Normal(std=0.02), "4.bias": "keep"}
        )
        assert made["2.bias"].initializer == Constant(0.1)
        assert made["2.weight"].std == made["4.weight"].std == 0.02
        assert made["4.bias"].initializer == Keep()
        assert made["4.bias"].why == "override by name"
        assert made["2.weight"].why == "override 're:[24]\\\\.weight'"

    def test_fans_of_the_rule_serve_the_override(self) -> None:
        made = plan(nn.Conv2d(8, 8, 3, groups=8), overrides={"weight": KaimingNormal()})
        assert made["weight"].std == pytest.approx((2 / 9) ** 0.5)

    def test_a_padding_row_stays_zero_unless_it_is_named(self) -> None:
        made = plan(model(), overrides={"0.weight": Normal(std=0.02)})
        assert made["0.weight"].initializer == ZeroRows(Normal(std=0.02), (0,))
        assert "padding row 0 stays zero" in made["0.weight"].why
        blocks = Blocks(((1, Constant(1.0)), (9, Constant(2.0))))
        assert plan(model(), overrides={"0.weight": blocks})["0.weight"].initializer == blocks

    def test_an_alias_names_the_tied_weight(self) -> None:
        tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        tied[1].weight = tied[0].weight
        assert plan(tied, overrides={"1.weight": 1.0})["0.weight"].initializer == Constant(1.0)

    def test_a_name_with_brackets_is_taken_literally_first(self) -> None:
        odd = nn.Module()
        odd.register_parameter("w[0]", nn.Parameter(torch.ones(2)))
        assert plan(odd, overrides={"w[0]": 2.0})["w[0]"].initializer == Constant(2.0)

    @pytest.mark.parametrize(
        ("overrides", "error", "message"),
        [
            ({"2.wieght": 0.0}, OverrideError, r"matches no parameter \(did you mean '2.weight'\?\)"),
            ({"*.gamma": 0.0}, OverrideError, r"'\*\.gamma' matches no parameter.*names are like 0\.weight"),
            ({"re:(": 0.0}, OverrideError, "not a regular expression"),
            (
                {"2.weight": "zeros"},
                OverrideError,
                "expected an Initializer, a number or 'keep', found 'zeros'",
            ),
            ({"2.bias": Orthogonal()}, OverrideError, r"cannot fill 2\.bias \(8,\): Orthogonal needs"),
            ({"3.weight": KaimingNormal()}, OverrideError, r"cannot fill 3\.weight .* needs fan_in"),
            ([("2.bias", 0.0)], WrongTypeError, "must be a mapping"),
        ],
    )
    def test_bad_overrides_are_refused(self, overrides, error, message: str) -> None:
        with pytest.raises(error, match=message):
            plan(model()).override(overrides)

    def test_a_misspelt_override_is_named_before_what_it_fails_to_cover(self) -> None:
        own = nn.Module()
        own.kernel = nn.Parameter(torch.randn(3, 3))
        with pytest.raises(OverrideError, match=r"'kernal' matches no parameter \(did you mean 'kernel'\?\)"):
            plan(own, overrides={"kernal": 1.0})

    def test_overriding_leaves_the_first_plan_as_it_was(self) -> None:
        first = plan(model())
        second = first.override({"2.weight": Uniform(-1, 1)})
        assert first["2.weight"].initializer != second["2.weight"].initializer


def test_an_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no recipe .* \(did you mean 'kaiming_normal'\?\)"):
        plan(model(), "kaimingnormal")
    with pytest.raises(WrongTypeError, match="recipe must be a name or a Recipe, found 3"):
        plan(model(), 3)
    with pytest.raises(WrongTypeError, match=r"model must be a torch\.nn\.Module, found dict"):
        plan({})


def test_two_names_with_one_key_are_refused(monkeypatch) -> None:
    from goodinit.errors import ArgumentError
    from goodinit.plans import build

    monkeypatch.setattr(build, "derive_key", lambda seed, name: len(name))
    with pytest.raises(ArgumentError, match=r"'0\.weight' and '1\.weight' share one key"):
        plan(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", 5, "name must be text, found 5"),
        ("name", [], "name must be text"),
        ("shape", "12", "shape must be a list, found '12'"),
        ("shape", [-4], "shape must hold whole numbers from 0, found -4"),
        ("fan_in", "x", "fan_in must be a number, found 'x'"),
        ("fan_out", -1, "fan_out must be at least 0, found -1"),
        ("why", None, "why must be text, found None"),
        ("aliases", "ab", "aliases must be a list, found 'ab'"),
        ("initializer", {"kind": "Normal", "std": 10**400}, "std must fit a float"),
    ],
)
def test_a_row_that_was_spoilt_by_hand_is_refused_by_field(field: str, value: object, words: str) -> None:
    text = json.loads(plan(nn.Linear(2, 2)).to_json())
    text["rows"][0][field] = value
    with pytest.raises(PlanFileError, match=words):
        Plan.from_json(json.dumps(text))


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(PlanFileError, match="not JSON"):
        Plan.from_json("[" * 100_000)


@pytest.mark.parametrize("overrides", ["bias", [("bias", 0)], 5])
def test_overrides_must_be_a_mapping(overrides: object) -> None:
    with pytest.raises(WrongTypeError, match="overrides must be a mapping"):
        plan(nn.Linear(2, 2), overrides=overrides)


def test_a_pattern_must_be_text_and_a_constant_a_float() -> None:
    with pytest.raises(OverrideError, match="override 1: a pattern is a string, found int"):
        plan(nn.Linear(2, 2), overrides={1: 0.0})
    with pytest.raises(ArgumentError, match="value must fit a float"):
        plan(nn.Linear(2, 2), overrides={"bias": 10**400})


def test_an_exact_name_covers_nothing_else_even_if_it_reads_as_a_glob() -> None:
    owner = nn.Linear(2, 2)
    owner.register_parameter("a[0]", nn.Parameter(torch.ones(2)))
    owner.register_parameter("a0", nn.Parameter(torch.randn(2, 2)))
    with pytest.raises(UncoveredError, match="a0"):
        plan(owner, overrides={"a[0]": 0.0})


def test_a_plan_names_the_model_inside_its_wrappers_and_no_other() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    assert plan(Net()).model == "Net"
    assert plan(nn.DataParallel(Net())).model == "Net"
