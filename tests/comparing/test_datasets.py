"""Every set that `load` knows: its shapes, its definition, and that it is the same each time."""

from __future__ import annotations

import dataclasses
import math
import sys

import pytest
import torch

from goodinit.comparing.datasets import Data, as_data, dataset_names, load
from goodinit.comparing.datasets.characters import ALPHABET
from goodinit.errors import ArgumentError, UnknownNameError, WrongTypeError

PARTS = ("train_x", "train_y", "test_x", "test_y")
SMALL = {
    "adding": {"length": 20, "train": 40, "test": 10},
    "copy_memory": {"length": 6, "train": 40, "test": 10},
    "characters": {"length": 16, "train": 40, "test": 10},
}

every_set = pytest.mark.parametrize("name", dataset_names())


def small(name: str, **options: object) -> Data:
    return load(name, **{**SMALL.get(name, {}), **options})


def same(one: Data, other: Data) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS)


@every_set
def test_a_set_is_the_same_each_time_and_another_with_another_seed(name: str) -> None:
    assert same(small(name, seed=3), small(name, seed=3))
    assert not same(small(name, seed=3), small(name, seed=4))


@every_set
def test_loading_leaves_torchs_own_randomness_alone(name: str) -> None:
    before = torch.get_rng_state()
    small(name)
    assert torch.equal(torch.get_rng_state(), before)


@every_set
def test_a_set_passes_the_checks_of_users_own_data(name: str) -> None:
    data = small(name)
    assert as_data(data) is data
    assert data.train_x.shape[1:] == data.test_x.shape[1:]
    assert data.about.endswith(".")


@every_set
def test_a_model_with_as_many_outputs_as_the_set_says_takes_the_usual_loss(name: str) -> None:
    data = small(name)
    steps = data.train_y.shape[1:] if data.kind == "sequence" else ()
    output = torch.zeros(len(data.train_y), *steps, data.outputs)
    if data.loss == "mse":
        assert output.shape == data.train_y.shape
    else:
        loss = torch.nn.functional.cross_entropy(output.flatten(0, -2), data.train_y.flatten())
        assert loss.item() == pytest.approx(math.log(data.outputs), rel=1e-5)
        assert len(data.labels) in (0, data.outputs)


@every_set
def test_values_have_the_default_type_of_torch(name: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        wide = small(name)
    finally:
        torch.set_default_dtype(torch.float32)
    narrow = small(name)
    for part in PARTS:
        one, other = getattr(wide, part), getattr(narrow, part)
        assert one.dtype == (torch.float64 if other.is_floating_point() else torch.int64)
        assert torch.allclose(one.float(), other.float(), atol=1e-5)


def test_s4_is_what_the_tutorials_draw_after_manual_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(420)
        features = torch.randn(1000, 2)
        labels = torch.mm(torch.pow(features, 2), torch.tensor([[2.0], [-1.0]])) + torch.randn(1000, 1) * 0.01
        pairs = torch.utils.data.TensorDataset(features, labels)
        train, test = torch.utils.data.random_split(pairs, [700, 300])
    data = load("s4")
    for part, x, y in ((train, data.train_x, data.train_y), (test, data.test_x, data.test_y)):
        assert torch.equal(x, features[part.indices])
        assert torch.allclose(y, labels[part.indices], atol=1e-6)


def test_the_noise_of_s4_is_a_hundredth() -> None:
    # 1,000 normals: their std is within 4.9/√2000 = 11 % of 0.01 but once in 1e6 seeds.
    data = load("s4")
    x, y = torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])
    noise = y - 2 * x[:, :1] ** 2 + x[:, 1:] ** 2
    assert noise.std().item() == pytest.approx(0.01, rel=0.11)


@pytest.mark.parametrize("length", [2, 3, 7, 50])
def test_adding_is_the_sum_of_the_two_marked_numbers_one_in_each_half(length: int) -> None:
    data = load("adding", length=length, train=500, test=50)
    numbers, marks = data.train_x.unbind(2)
    assert torch.allclose((numbers * marks).sum(1, keepdim=True), data.train_y)
    half = length // 2
    assert (marks[:, :half].sum(1) == 1).all()
    assert (marks[:, half:].sum(1) == 1).all()
    assert (marks.sum(0) > 0).all()


def test_always_answering_one_to_adding_has_an_error_of_a_sixth() -> None:
    # (u + v − 1)² has mean 1/6 and std √(7/180) = 0.197: 4.9 of it over √20,000 is 0.007.
    data = load("adding", length=4, train=20_000, test=1)
    assert (data.train_y - 1).square().mean().item() == pytest.approx(1 / 6, abs=0.007)


@pytest.mark.parametrize("length", [1, 5, 30])
def test_copying_repeats_the_symbols_after_the_signal(length: int) -> None:
    data = load("copy_memory", length=length, train=50, test=5, one_hot=False)
    x, y = data.train_x, data.train_y
    assert x.shape == y.shape == (50, length + 20)
    assert (x == 9).sum(1).eq(1).all()
    signal = (x == 9).int().argmax(1)
    # The delay: the signal comes `length` steps after the last symbol, the answer right behind it.
    assert (signal == 9 + length).all()
    assert torch.equal(y[:, -10:], x[:, :10])
    assert (y[:, :-10] == 8).all()
    assert set(x[:, :10].unique().tolist()) == set(range(8))
    vectors = load("copy_memory", length=length, train=50, test=5).train_x
    assert torch.equal(vectors.argmax(2), x)
    assert (vectors.sum(2) == 1).all()


def test_characters_are_source_code_whose_targets_are_one_ahead() -> None:
    data = load("characters", length=200, train=200, test=50)
    text = ["".join(ALPHABET[i] for i in row) for row in data.train_x.tolist()]
    assert sum("self." in window for window in text) > 20
    assert torch.equal(data.train_x[:, 1:], data.train_y[:, :-1])
    assert len(ALPHABET) == len(set(ALPHABET)) == data.outputs == 98


def test_no_window_of_characters_is_in_both_sets_or_twice() -> None:
    data = load("characters", length=100, train=2000, test=500)
    train, test = ({tuple(row) for row in part.tolist()} for part in (data.train_x, data.test_x))
    assert not train & test
    assert len(train) > 1990  # a few windows of blanks or of tables may be alike


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_tables_are_standardized_by_their_training_set_alone(name: str) -> None:
    data = load(name)
    dim = None if name == "digits" else 0
    assert data.train_x.double().mean(dim).abs().max() < 1e-5
    assert (data.train_x.double().std(dim, correction=0) - 1).abs().max() < 1e-5
    assert data.test_x.double().mean(dim).abs().max() > 1e-4
    if name == "diabetes":
        assert data.train_y.double().std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_digits_are_images_for_convolutions_when_asked() -> None:
    flat, images = load("digits"), load("digits", image=True)
    assert images.train_x.shape == (1257, 1, 8, 8)
    assert torch.equal(images.test_x.flatten(1), flat.test_x)
    assert flat.labels == tuple("0123456789")


@pytest.mark.parametrize("name", ["two_moons", "circles", "spirals"])
def test_no_straight_line_separates_the_shapes_but_neighbours_do(name: str) -> None:
    data = load(name)
    x = torch.cat([data.train_x, torch.ones(len(data.train_x), 1)], 1)
    line = torch.linalg.lstsq(x, 2.0 * data.train_y[:, None] - 1).solution
    assert ((x @ line).flatten().gt(0) == data.train_y.bool()).float().mean() < 0.9
    nearest = torch.cdist(data.test_x, data.train_x).argmin(1)
    assert (data.train_y[nearest] == data.test_y).float().mean() > 0.95


def test_options_of_the_shapes_take_effect() -> None:
    assert len(load("circles", size=10).train_x) == 7
    assert not same(load("spirals", turns=1.0), load("spirals", turns=2.0))
    lone = [
        torch.cdist(data.test_x, data.train_x).min(1).values.max()
        for data in (load("two_moons", noise=noise) for noise in (0.0, 0.1))
    ]
    assert lone[0] < 0.05 < lone[1]


def test_an_unknown_set_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"'digit' is none of s4, .*did you mean 'digits'"):
        load("digit")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "adding",
            {"lenght": 5},
            r"no option 'lenght' \(did you mean 'length'\?\): its options are length, train",
        ),
        ("s4", {"image": True}, "no option 'image'"),
        ("iris", {"image": True}, "image=True is an option of 'digits'"),
        ("adding", {"length": 1}, "length must be at least 2, found 1"),
        ("copy_memory", {"train": 0}, "train must be at least 1, found 0"),
        ("spirals", {"noise": -1.0}, "noise must be a finite number of at least 0"),
        ("iris", {"test": 1.0}, "test must be a share between 0 and 1"),
        ("iris", {"test": 0.999}, "leaves 0 to train on and 150 to test on"),
        ("characters", {"length": 1000, "train": 100}, r"test=1000 windows of 1000 characters do not fit"),
        ("s4", {"seed": -1}, "seed must be at least 0, found -1"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        load(name, **options)


@pytest.mark.parametrize("options", [{"length": 2.5}, {"seed": "a"}, {"train": None}])
def test_options_of_a_wrong_type_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(WrongTypeError, match=next(iter(options))):
        load("adding", **options)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ArgumentError, match=r"'wine' comes with scikit-learn.*goodinit\[demo\]"):
        load("wine")
    load("s4")


def test_a_data_record_shows_what_matters() -> None:
    assert repr(load("s4")) == "Data('s4': 700 + 300 examples of shape (2,), regression, 1 outputs)"
    assert dataclasses.is_dataclass(Data)
