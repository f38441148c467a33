"""The record of a data set, its checks, and the split into training and test set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from goodinit.comparing.inputs import Batch, Inputs, leaves, rows, shapes
from goodinit.errors import ArgumentError, WrongTypeError

__all__ = ["KINDS", "Data", "checked", "make", "split"]

# Kind -> default loss and metric.
KINDS = {
    "regression": ("mse", "mse"),
    "classification": ("cross_entropy", "accuracy"),
    # Most steps of a sequence may be easy (the blanks of copying), which hides the rest in an accuracy.
    "sequence": ("cross_entropy", "cross_entropy"),
}

# Targets that torch's cross-entropy leaves out (its default ignore_index).
_IGNORED = -100


@dataclass(frozen=True, eq=False)
class Data:
    """A training and a test set, and what is usually asked of them.

    Attributes:
        name: of the set.
        train_x: inputs, shape (examples, ...); a tuple or a dict of several.
        train_y: targets: floating point of any shape for regression; int64 of shape (examples,) for
            classification, and (examples, steps) for a sequence.
        test_x: inputs of the test set; `test_y` its targets.
        kind: ``"regression"``, ``"classification"`` or ``"sequence"`` (a class for each step).
        loss: name of the usual loss; `metric` of the usual metric.
        outputs: what a model has to return for an example (for each step of a sequence): the number
            of classes, or of regression targets.
        about: a sentence that says what it is and where it comes from.
        labels: what each class is called, where classes have names.
    """

    name: str
    train_x: Inputs
    train_y: torch.Tensor
    test_x: Inputs
    test_y: torch.Tensor
    kind: str
    loss: str
    metric: str
    outputs: int
    about: str
    labels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sizes = f"{len(self.train_y)} + {len(self.test_y)} examples"
        each = shapes(self.train_x, 1)
        return f"Data({self.name!r}: {sizes} of shape {each}, {self.kind}, {self.outputs} outputs)"


def make(
    name: str,
    parts: Iterable[Batch],
    about: str,
    *,
    kind: str | None = None,
    classes: int | None = None,
    labels: tuple[str, ...] = (),
) -> Data:
    """Put a `Data` together; what is not said follows from the targets.

    Args:
        name: of the set.
        parts: inputs and targets of the training set, and of the test set.
        about: a sentence.
        kind: see `Data`; read off the targets where it is None.
        classes: how many; counted where it is None.
        labels: names of the classes.
    """
    train, test = parts
    y = train[1]
    if kind is None:
        kind = "regression" if y.is_floating_point() else "classification" if y.dim() == 1 else "sequence"
    if kind == "regression":
        outputs = math.prod(y.shape[1:])
    else:
        outputs = classes if classes is not None else int(max(part[1].max() for part in (train, test))) + 1
    return Data(name, *train, *test, kind, *KINDS[kind], max(1, outputs), about, labels)


def split(x: Inputs, y: torch.Tensor, test: float, generator: torch.Generator) -> tuple[Batch, Batch]:
    """Split examples at random into a training and a test set.

    The training set is the first int(n·(1 − test)) of a random permutation, which is what
    `torch.utils.data.random_split` does with the same generator.

    Raises:
        ArgumentError: if the share is not in (0, 1) or leaves one of the two sets empty.
    """
    if isinstance(test, bool) or not isinstance(test, int | float) or not 0 < test < 1:
        raise ArgumentError(f"test must be a share between 0 and 1 of the examples, found {test!r}")
    # 1 − 0.3 is a little below 0.7 in binary; n·0.7 would then lose an example.
    count = len(y)
    kept = math.floor(count * (1 - test) + 1e-9)
    if not 0 < kept < count:
        raise ArgumentError(
            f"test={test} of {count} examples leaves {kept} to train on and {count - kept} to test on: "
            "give more examples or another share"
        )
    order = torch.randperm(count, generator=generator)
    # An index on the CPU takes rows of a tensor anywhere.
    train, rest = rows((x, y), order[:kept]), rows((x, y), order[kept:])
    return train, rest


def checked(data: Data) -> Data:
    """Return `data` if models can be trained on it.

    Raises:
        WrongTypeError: if a part is no ordinary tensor, or inputs or targets have a type of no use.
        ArgumentError: for an empty set, different lengths, values that are not finite, negative classes,
            or a kind that does not exist or does not fit the targets.
    """
    if data.kind not in KINDS:
        raise ArgumentError(f"kind must be one of {', '.join(KINDS)}, found {data.kind!r}")
    for part in ("train", "test"):
        x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
        check_pair(x, y, f"the {part} set of {data.name!r}")
        if (data.kind == "regression") != y.is_floating_point():
            raise ArgumentError(
                f"targets of the {part} set of {data.name!r} are {y.dtype}, which does not fit "
                f"kind={data.kind!r}: floating-point targets are for regression, integers for classes"
            )
    one, other = shapes(data.train_x, 1), shapes(data.test_x, 1)
    if one != other:
        raise ArgumentError(
            f"inputs of {data.name!r} have shape {one} in the training set and "
            f"{other} in the test set: both must be alike"
        )
    return data


def check_pair(x: Inputs, y: torch.Tensor, where: str) -> None:
    """Raise unless these are inputs and targets that models can be trained on."""
    parts = {f"inputs{place}": tensor for place, tensor in leaves(x).items()}
    if not parts:
        raise ArgumentError(f"inputs of {where} are an empty {type(x).__name__}: give one tensor or more")
    for what, tensor in (*parts.items(), ("targets", y)):
        if not isinstance(tensor, torch.Tensor):
            raise WrongTypeError(f"{what} of {where} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_meta or tensor.is_quantized:
            raise WrongTypeError(
                f"{what} of {where} must be a dense, real tensor with values, found {tensor.dtype} "
                f"({tensor.layout}, on {tensor.device})"
            )
    for what, tensor in parts.items():
        if tensor.dim() == 0 or y.dim() == 0 or len(tensor) == 0 or len(y) == 0:
            raise ArgumentError(
                f"{where} must have examples along the first dimension, found {what} of shape "
                f"{tuple(tensor.shape)} and targets of shape {tuple(y.shape)}"
            )
        if len(tensor) != len(y):
            raise ArgumentError(
                f"{where} has {len(tensor)} {what} and {len(y)} targets: one target for each input"
            )
    for what, tensor in (*parts.items(), ("targets", y)):
        if tensor.numel() == 0:
            raise ArgumentError(f"{what} of {where} have no values: their shape is {tuple(tensor.shape)}")
        wrong = ~torch.isfinite(tensor)
        if wrong.any():
            row = int(wrong.reshape(len(tensor), -1).any(1).nonzero()[0])
            raise ArgumentError(
                f"{what} of {where} have {int(wrong.sum())} values that are NaN or infinite, the first in "
                f"example {row}: remove or replace them"
            )
    if not y.is_floating_point():
        negative = (y < 0) & (y != _IGNORED)
        if negative.any():
            raise ArgumentError(
                f"targets of {where} are integers, so classes, and {int(negative.sum())} are negative: count "
                "classes from 0, or give floating-point targets for regression"
            )
