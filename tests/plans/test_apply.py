"""Carrying out a plan: the same bits whatever the order, wrapper, device or neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodinit.errors import ArgumentError, PlanMismatchError, TensorError
from goodinit.initializers import Blocks, Constant, DeltaOrthogonal, Normal, Orthogonal, Uniform, fill_
from goodinit.plans import initialize, plan


def model() -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(64, 4))


def values(of: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in of.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_seed_fixes_every_value_whatever_torch_drew_before() -> None:
    first, second = model(), model()
    initialize(first, seed=3)
    torch.rand(7)
    initialize(second, seed=3)
    assert same(values(first), values(second))
    initialize(second, seed=4)
    assert not torch.equal(first[0].weight, second[0].weight)


def test_each_value_is_that_of_fill_under_its_name() -> None:
    made_for = model()
    made = initialize(made_for, "lecun_normal", seed=5)
    alone = fill_(torch.empty(4, 64), Normal(0.0, 0.125), seed=5, name="3.weight")
    assert made["3.weight"].initializer == Normal(0.0, 0.125)
    assert torch.equal(made_for[3].weight, alone)


def test_inserting_a_layer_leaves_the_others_unchanged() -> None:
    def build(extra: bool) -> nn.ModuleDict:
        layers = {"a": nn.Linear(4, 4), **({"b": nn.Linear(4, 4)} if extra else {}), "c": nn.Linear(4, 4)}
        return nn.ModuleDict(layers)

    small, large = build(False), build(True)
    initialize(small)
    initialize(large)
    kept = {name: value for name, value in values(large).items() if not name.startswith("b")}
    assert same(values(small), kept)


def test_wrappers_do_not_change_values() -> None:
    plain, wrapped = model(), torch.compile(model())
    initialize(plain, "orthogonal", seed=1)
    initialize(wrapped, "orthogonal", seed=1)
    assert same(values(plain), values(wrapped._orig_mod))


def test_training_state_and_torch_streams_are_left_alone() -> None:
    made_for = model().eval()
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in made_for.named_buffers()}
    assert plan(made_for).apply_(made_for) is made_for
    assert torch.equal(state, torch.get_rng_state())
    assert not made_for.training
    assert all(torch.equal(before[name], value) for name, value in made_for.named_buffers())
    assert all(value.requires_grad and value.is_leaf for value in made_for.parameters())


def test_low_precision_models_hold_the_rounded_values() -> None:
    wide, narrow = model(), model().to(torch.bfloat16)
    initialize(wide, seed=2)
    initialize(narrow, seed=2)
    for name, value in values(narrow).items():
        assert torch.equal(value, values(wide)[name].to(torch.bfloat16))


def test_the_torch_engine_repeats_torchs_own_stream() -> None:
    # Known values of torch.manual_seed(1) and xavier normal on a 4×3 weight.
    layer = nn.Linear(3, 4, bias=False)
    made = plan(layer, "xavier_normal")
    torch.manual_seed(1)
    made.apply_(layer, engine="torch")
    rows = [[0.3535, 0.1427, 0.0330], [0.3321, -0.2416, -0.0888], [-0.8140, 0.2040, -0.5493]]
    expected = torch.tensor([*rows, [-0.3010, -0.4769, -0.0311]])
    torch.testing.assert_close(layer.weight.detach(), expected, atol=5e-5, rtol=0)
    by_hand = nn.Linear(3, 4, bias=False)
    torch.manual_seed(1)
    with torch.no_grad():
        by_hand.weight.normal_(0, 2**0.5 / 7**0.5)
    torch.testing.assert_close(layer.weight, by_hand.weight, atol=0, rtol=1e-6)


class TestMeta:
    def test_meta_parameters_become_real_with_the_values_of_a_real_model(self) -> None:
        real = model()
        initialize(real, seed=9)
        with torch.device("meta"):
            meta = model()
        initialize(meta, seed=9)
        assert same(values(real), values(meta))
        assert torch.equal(meta[1].running_var, torch.ones(8))
        assert meta[1].num_batches_tracked.dtype == torch.int64
        meta(torch.randn(2, 3, 10))

    def test_ties_survive(self) -> None:
        with torch.device("meta"):
            tied = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
            tied[1].weight = tied[0].weight
        initialize(tied)
        assert tied[1].weight is tied[0].weight
        assert not tied[0].weight.is_meta

    def test_a_kept_meta_parameter_is_an_error(self) -> None:
        with torch.device("meta"):
            frozen = nn.Linear(2, 2).requires_grad_(False)
        with pytest.raises(TensorError, match=r"weight is to be kept, but on the meta device"):
            initialize(frozen)
        assert frozen.weight.is_meta

    def test_a_buffer_that_only_its_model_knows_is_an_error_before_anything_is_made(self) -> None:
        with torch.device("meta"):
            rotary = nn.Sequential(nn.Linear(2, 2))
            rotary.register_buffer("frequencies", torch.ones(2))
        with pytest.raises(TensorError, match=r"buffers on the meta device.*frequencies"):
            initialize(rotary)
        assert rotary[0].weight.is_meta


class TestMismatch:
    def test_names_and_shapes_that_differ_are_listed_and_nothing_is_written(self) -> None:
        made = plan(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}))
        other = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 4), "c": nn.Linear(1, 1)})
        del other["a"].bias
        before = values(other)
        with pytest.raises(PlanMismatchError) as caught:
            made.apply_(other)
        message = str(caught.value)
        assert "in the plan, not in the model: a.bias" in message
        assert "in the model, not in the plan: c.weight, c.bias" in message
        assert "b.weight: (3, 2) in the plan, (4, 2) in the model" in message
        assert same(before, values(other))

    def test_a_parameter_that_cannot_be_filled_is_named_before_anything_is_written(self) -> None:
        bad = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        bad[1].weight = nn.Parameter(torch.zeros(1).expand(2, 2))
        before = bad[0].weight.clone()
        with pytest.raises(TensorError, match=r"1\.weight: cannot fill a tensor whose elements share memory"):
            initialize(bad, overrides={"1.weight": Normal()})
        assert torch.equal(before, bad[0].weight)

    def test_what_torch_has_not_is_refused_before_anything_is_written(self) -> None:
        conv = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Conv1d(2, 2, 3))
        made = plan(conv, overrides={"1.weight": DeltaOrthogonal()})
        before = conv[0].weight.clone()
        with pytest.raises(ArgumentError, match=r"1\.weight: torch\.nn\.init has nothing like"):
            made.apply_(conv, engine="torch")
        assert torch.equal(before, conv[0].weight)

    def test_engine_and_seed_are_checked(self) -> None:
        with pytest.raises(ArgumentError, match="engine must be 'goodinit' or 'torch', found 'numpy'"):
            plan(model()).apply_(model(), engine="numpy")
        with pytest.raises(ArgumentError, match="seed"):
            plan(model()).apply_(model(), seed=-1)


def test_progress_reports_every_element() -> None:
    counts: list[int] = []
    made_for = model()
    plan(made_for).apply_(made_for, progress=counts.append)
    assert sum(counts) == sum(value.numel() for value in made_for.parameters())


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        (Normal(std=1e39), r"3\.weight: std must be finite"),
        (Constant(1e39), r"3\.weight: Constant: 1e\+39 is beyond the range of torch\.float32"),
        (Blocks(((2, Normal()), (2, Uniform(0, 1e39)))), r"3\.weight: high must be finite"),
    ],
)
def test_numbers_that_the_dtype_cannot_hold_stop_before_anything_is_written(initializer, words: str) -> None:
    target = model()
    before = values(target)
    with pytest.raises(ArgumentError, match=words):
        plan(target, overrides={"3.weight": initializer}).apply_(target)
    assert same(before, values(target))


@pytest.mark.parametrize(
    ("initializer", "dtype"),
    [
        (Orthogonal(), torch.bfloat16),
        (Normal(), torch.float8_e5m2),
        (Blocks(((2, Normal()), (2, DeltaOrthogonal()))), torch.float32),
    ],
)
def test_what_torch_cannot_do_is_refused_before_anything_is_written(initializer, dtype: torch.dtype) -> None:
    target = nn.Sequential(nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3)).to(dtype)
    before = {name: value.float() for name, value in values(target).items()}
    made = plan(target, "torch", overrides={"1.weight": initializer})
    state = torch.get_rng_state()
    with pytest.raises((ArgumentError, TensorError), match="use engine='goodinit'"):
        made.apply_(target, engine="torch")
    assert same(before, {name: value.float() for name, value in values(target).items()})
    assert torch.equal(state, torch.get_rng_state())


def test_inference_tensors_are_filled_where_torch_lets_them_be() -> None:
    with torch.inference_mode():
        target = nn.Linear(700, 700)  # large enough for several threads
        made = plan(target)
        made.apply_(target, seed=3)
        assert made.verify(target, seed=3)
    with pytest.raises(TensorError, match=r"weight was made under torch\.inference_mode"):
        made.apply_(target)
