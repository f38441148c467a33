"""Models of several inputs: a tuple is `model(*inputs)`, a dict `model(**inputs)`, with every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from goodinit.comparing import compare
from goodinit.comparing.batches import batches
from goodinit.comparing.datasets import as_data
from goodinit.comparing.members import built
from goodinit.errors import ArgumentError, ExampleError, WrongTypeError
from goodinit.plans.build import plan

IDS = torch.randint(0, 11, (60, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.rand(60, 5, generator=torch.Generator().manual_seed(1)) > 0.3
SCALE = torch.rand(60, generator=torch.Generator().manual_seed(2)) + 0.5
CLASSES = IDS[:, 0] % 3


class Masked(nn.Module):
    """The mean of the embeddings that a mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.out = nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        held = torch.where(mask[..., None], self.table(ids), 0.0).sum(1)
        out: torch.Tensor = self.out(torch.tanh(self.hidden(held * scale[:, None])))
        return out


class Placed(Masked):
    def forward(self, ids: torch.Tensor, rest: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        return super().forward(ids, rest[0], scale=rest[1])


class Items(Dataset[Any]):
    def __len__(self) -> int:
        return len(IDS)

    def __getitem__(self, index: int) -> Any:
        each = {"mask": MASK[index], "ids": IDS[index].numpy(), "scale": float(SCALE[index])}
        return each, int(CLASSES[index])


NAMED = {"ids": IDS, "mask": MASK, "scale": SCALE}
FORMS: dict[str, tuple[type[nn.Module], Any]] = {
    "dict": (Masked, (NAMED, CLASSES)),
    "arrays": (Masked, ({name: part.numpy() for name, part in NAMED.items()}, CLASSES.numpy())),
    "items": (Masked, Items()),
    "tuple in a tuple": (Placed, ((IDS, (MASK, SCALE)), CLASSES)),
}
STEPS = 9


def by_hand(mask: torch.Tensor) -> torch.Tensor:
    """Losses on the training set after each step of a plain loop, at seed 1."""
    data = as_data(({**NAMED, "mask": mask}, CLASSES))
    model = plan(Masked(), "torch").apply_(built(Masked, 1), seed=1)
    rule = torch.optim.SGD(model.parameters(), 0.2)
    found = []
    for batch in batches([1], len(data.train_y), 8)(0, STEPS)[0]:
        rule.zero_grad()
        rows = {name: part[batch] for name, part in data.train_x.items()}
        nn.functional.cross_entropy(model(**rows), data.train_y[batch]).backward()
        rule.step()
        with torch.no_grad():
            found.append(nn.functional.cross_entropy(model(**data.train_x), data.train_y))
    return torch.stack(found)


@pytest.mark.parametrize("form", FORMS)
def test_members_with_several_inputs_end_where_a_plain_loop_does(engine: str, form: str) -> None:
    build, data = FORMS[form]
    made = compare(
        build,
        ["torch"],
        data,
        seeds=[0, 1],
        steps=STEPS,
        lr=0.2,
        batch_size=8,
        evaluations=STEPS,
        engine=engine,
    )
    found = torch.tensor(made.runs[1].train[1:])
    torch.testing.assert_close(found, by_hand(MASK), rtol=2e-5, atol=1e-6)
    # The same check tells rows of a mask that belong to other examples.
    assert not torch.allclose(found, by_hand(MASK.roll(1, 0)), rtol=2e-5, atol=1e-6)


def test_recipes_that_trace_see_all_inputs() -> None:
    made = compare(Masked, ["auto"], (NAMED, CLASSES), seeds=1, steps=1, lr=0.1)
    assert made.runs[0].outcome == "finished"


def test_a_journal_of_another_second_input_is_refused(tmp_path: Path) -> None:
    def run(scale: torch.Tensor) -> object:
        data = ({**NAMED, "scale": scale}, CLASSES)
        return compare(Masked, ["torch"], data, seeds=1, steps=2, lr=0.1, journal=tmp_path)

    assert run(SCALE) == run(SCALE)
    with pytest.raises(ArgumentError, match="data ="):
        run(SCALE + 1)


def test_parts_of_an_example_and_its_target_stay_together() -> None:
    number = torch.arange(20)
    data = as_data(((number, number[:, None] * 10.0), number.float()))
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert x[0].equal(y.long())
        assert x[1][:, 0].equal(10 * y)
    assert repr(data) == "Data('(X, Y)': 14 + 6 examples of shape ((), (1,)), regression, 1 outputs)"


def test_tuples_of_numbers_are_one_input() -> None:
    assert as_data((((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), (0, 1, 0)), test=0.5).train_x.shape == (1, 2)


class Ragged(Items):
    def __getitem__(self, index: int) -> Any:
        return ({"ids": IDS[index]} if index < 3 else {"ids": IDS[index], "mask": MASK[index]}), 0


class Broken(Items):
    def __getitem__(self, index: int) -> Any:
        raise OSError("no such disk")


class Triples(Items):
    def __getitem__(self, index: int) -> Any:
        return IDS[index], MASK[index], 0


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (((IDS, SCALE / 0), CLASSES), ArgumentError, r"inputs\[1\] of data have 60 values that are NaN"),
        (((IDS, SCALE[:9]), CLASSES), ArgumentError, r"9 inputs\[1\] and 60 targets"),
        (({"ids": IDS, "scale": torch.ones(())}, CLASSES), ArgumentError, r"inputs\['scale'\] of shape \(\)"),
        (({"ids": IDS, "mask": None}, CLASSES), WrongTypeError, r"X\['mask'\] must be a tensor or an array"),
        (({}, CLASSES), ArgumentError, "empty dict"),
        (Ragged(), ArgumentError, "x is {'ids': .5,.} in one and .* in another"),
        (Broken(), ArgumentError, "item 0 of Broken cannot be read: OSError: no such disk"),
        (Triples(), WrongTypeError, "3 values at 0: several inputs are a tuple or a dict"),
        ((NAMED, {"y": CLASSES}), WrongTypeError, "Y must be a tensor or an array, found dict"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused_by_their_place(data: Any, kind: Any, told: str) -> None:
    with pytest.raises(kind, match=told):
        as_data(data)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (
            {"ids": IDS, "mask": MASK},
            r"called as model\(\*\*inputs\), .*'ids': \(32, 5\).* argument: 'scale'",
        ),
        ((IDS, MASK), r"called as model\(\*inputs\), a batch of shapes \(\(32, 5\), \(32, 5\)\) raises"),
        (np.ones((60, 5)), r"its only argument \(several are a tuple or a dict of inputs\), raises"),
    ],
)
def test_a_model_that_takes_other_inputs_is_refused_with_how_it_was_called(x: Any, told: str) -> None:
    with pytest.raises(ExampleError, match=told):
        compare(Masked, ["torch"], (x, CLASSES), seeds=1, steps=1, lr=0.1)


class Overwriting(nn.Module):
    """Halves its input, in place or not."""

    in_place = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x.mul_(0.5) if self.in_place else x * 0.5)
        return out


class Leaving(Overwriting):
    in_place = False


def overwriting(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return output.sub_(target.mul_(0.5)).square().mean()


def leaving(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target * 0.5).square().mean()


@pytest.mark.parametrize("engine", ["sequential", "auto"], indirect=True)
def test_what_writes_into_inputs_outputs_or_targets_changes_no_other_score(engine: str) -> None:
    x = torch.rand(60, 5, generator=torch.Generator().manual_seed(3))
    data = as_data((x, x[:, :1]))
    kept = data.train_x.clone(), data.test_y.clone()
    found = [
        compare(
            build,
            ["torch"],
            data,
            seeds=2,
            steps=4,
            lr=0.1,
            evaluations=2,
            loss=loss,
            metric="l1",
            engine=engine,
        )
        for build, loss in ((Leaving, leaving), (Overwriting, leaving), (Leaving, overwriting))
    ]
    for other in found[1:]:
        for one, two in zip(found[0].runs, other.runs, strict=True):
            for name in ("train", "test", "metric"):
                assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-5)
    assert data.train_x.equal(kept[0])
    assert data.test_y.equal(kept[1])
