"""The user's own data: what is taken, how it is read, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from goodinit.comparing.datasets import Data, as_data, load
from goodinit.errors import ArgumentError, GoodinitError, UnknownNameError, WrongTypeError

X, Y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20.0)[:, None]
CLASSES = torch.arange(20) % 3


class Items(Dataset[Any]):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Unsized(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return X[0], Y[0]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(X[0], Y[0])])


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_every_example_is_in_exactly_one_set_with_its_own_target(count: int, test: float, seed: int) -> None:
    x = torch.arange(float(count))[:, None]
    kept = int(count * (1 - test) + 1e-9)
    if not 0 < kept < count:
        with pytest.raises(ArgumentError, match="more examples or another share"):
            as_data((x, x), test=test, seed=seed)
        return
    data = as_data((x, 10 * x), test=test, seed=seed)
    assert len(data.train_x) == kept
    assert sorted(torch.cat([data.train_x, data.test_x]).flatten().tolist()) == list(range(count))
    assert torch.equal(data.train_y, 10 * data.train_x)
    assert torch.equal(data.test_y, 10 * data.test_x)


def test_the_split_is_random_and_follows_the_seed() -> None:
    one, again, other = (as_data((X, Y), seed=seed).train_y.flatten() for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert set(one.tolist()) != set(other.tolist())
    assert set(one.tolist()) != set(range(14))


@pytest.mark.parametrize(
    ("targets", "kind", "outputs", "shape"),
    [
        (Y, "regression", 1, (1,)),
        (Y.flatten(), "regression", 1, ()),
        (torch.randn(20, 2, 3), "regression", 6, (2, 3)),
        (CLASSES, "classification", 3, ()),
        (CLASSES.to(torch.uint8)[:, None], "classification", 3, ()),
        (CLASSES > 0, "classification", 2, ()),
        (torch.arange(80).reshape(20, 4) % 5, "sequence", 5, (4,)),
        (CLASSES - 100 * (CLASSES == 0), "classification", 3, ()),
    ],
)
def test_the_kind_is_read_off_the_targets(
    targets: torch.Tensor, kind: str, outputs: int, shape: tuple[int, ...]
) -> None:
    data = as_data((X, targets))
    assert (data.kind, data.outputs, tuple(data.train_y.shape[1:])) == (kind, outputs, shape)
    assert data.loss == ("mse" if kind == "regression" else "cross_entropy")
    assert data.train_y.dtype == (torch.float32 if kind == "regression" else torch.int64)


@pytest.mark.parametrize(
    "given_as",
    [
        lambda x, y: (x, y),
        lambda x, y: [x.numpy(), y.numpy()],
        lambda x, y: (x.double().numpy(), y.double().numpy().astype(">f8")),
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (x.requires_grad_(), y),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: Items(*zip(x.numpy(), y, strict=True)),
        lambda x, y: Items(*([a, b] for a, b in zip(x, y.tolist(), strict=True))),
    ],
)
def test_pairs_and_data_sets_of_any_spelling_give_the_same_data(given_as: Any) -> None:
    expected, found = as_data((X, Y), seed=5), as_data(given_as(X.clone(), Y.clone()), seed=5)
    for part in ("train_x", "train_y", "test_x", "test_y"):
        one, other = getattr(expected, part), getattr(found, part)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
        assert not other.requires_grad


def test_a_data_set_of_numbers_as_targets_is_read() -> None:
    data = as_data(Items(*((x, int(c)) for x, c in zip(X, CLASSES, strict=True))))
    assert (data.kind, data.outputs, data.name) == ("classification", 3, "Items")


def test_users_arrays_are_neither_changed_nor_shared() -> None:
    x, y = X.numpy().copy(), Y.numpy().copy()
    x.flags.writeable = False
    data = as_data((x, y))
    data.train_x.zero_()
    assert np.array_equal(x, X.numpy())


def test_tensors_keep_their_floating_point_type() -> None:
    assert as_data((X.double(), Y.half())).train_x.dtype == torch.float64


def test_names_and_records_keep_their_own_test_set() -> None:
    assert torch.equal(as_data("s4", test=0.5).train_x, load("s4").train_x)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ((X, Y[:-1]), "20 inputs and 19 targets"),
        ((X[:0], Y[:0]), "must have examples"),
        ((torch.tensor(1.0), torch.tensor(1.0)), "must have examples"),
        ((X[:, :0], Y), "have no values"),
        ((X.clone().index_fill_(0, torch.tensor([7]), torch.nan), Y), "3 values that are NaN.*example 7"),
        (
            (X, Y.clone().index_fill_(0, torch.tensor([2]), torch.inf)),
            "targets of data have 1 values.*example 2",
        ),
        ((X, CLASSES - 1), "7 are negative: count classes from 0"),
        ((X[:1], Y[:1]), "leaves 0 to train on and 1 to test on"),
        (Items(), "Items is empty"),
        (Items((X[0], Y[0]), (X[1, :2], Y[1])), r"differ in shape: x is \(3,\) in one and \(2,\) in another"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(data: Any, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        as_data(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (X, "found Tensor"),
        (None, "found NoneType"),
        ((X, Y, Y), "found a tuple of 3"),
        ((X, None), "Y must be a tensor or an array, found NoneType"),
        ((X, ["a"] * 20), "Y must hold numbers"),
        (([[1.0], [1.0, 2.0]], [1, 2]), "X must be a tensor or an array, found rows of different shapes"),
        ((X.to_sparse(), Y), "dense, real tensor"),
        ((X.to(torch.complex64), Y), "dense, real tensor"),
        ((X.to("meta"), Y), "tensor with values"),
        (Stream(), "an IterableDataset.*read it into tensors"),
        (DataLoader(TensorDataset(X, Y)), r"give its \.dataset"),
        (Unsized(), "Unsized has no length"),
        (Items({"x": X[0]}), r"pairs \(x, y\), found dict at 0"),
        (Items((X[0], Y[0]), (X[0], Y[0], 1)), "found 3 values at 1"),
        (Items((X[0], "cat")), "y of item 0 of Items must be a tensor or an array, found str"),
        ({"x": X}, "found dict"),
    ],
)
def test_what_is_no_data_is_refused_with_what_would_be(data: Any, told: str) -> None:
    with pytest.raises(WrongTypeError, match=told):
        as_data(data)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'iris'"):
        as_data("irsi")


@pytest.mark.parametrize("test", [0, 1, -0.1, 1.5, True, "0.3", None, float("nan")])
def test_a_share_for_testing_outside_its_domain_is_refused(test: Any) -> None:
    with pytest.raises(ArgumentError, match="test must be a share"):
        as_data((X, Y), test=test)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "ranking"}, "kind must be one of regression"),
        ({"kind": "classification"}, "does not fit kind='classification'"),
        ({"test_y": Y[:3]}, "the test set of 'own' has 6 inputs and 3 targets"),
        ({"test_x": X[:6, :2]}, r"shape \(3,\) in the training set and \(2,\) in the test set"),
        ({"train_x": X[:14] / 0}, "inputs of the train set of 'own' have 42 values that are NaN"),
        ({"train_y": None}, "targets of the train set of 'own' must be a tensor"),
    ],
)
def test_a_record_of_the_users_own_is_checked_like_everything_else(change: dict[str, Any], told: str) -> None:
    good = {"train_x": X[:14], "train_y": Y[:14], "test_x": X[14:], "test_y": Y[14:], "kind": "regression"}
    rest = {"name": "own", "loss": "mse", "metric": "mse", "outputs": 1, "about": "Own."}
    assert as_data(Data(**good, **rest)).name == "own"
    with pytest.raises(GoodinitError, match=told):
        as_data(Data(**{**good, **change}, **rest))
