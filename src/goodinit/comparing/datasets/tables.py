"""The small sets that scikit-learn carries in its package: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import torch

from goodinit.comparing.datasets.data import Data, make, split
from goodinit.comparing.datasets.options import generator
from goodinit.errors import ArgumentError

__all__ = ["TABLES", "table"]

# Name -> what it is and where it comes from, as scikit-learn's descriptions say.
TABLES = {
    "digits": "1,797 images of handwritten digits, 8×8 (Alpaydin & Kaynak, 1998)",
    "iris": "150 flowers of three species, four measures each (Fisher, 1936)",
    "wine": "178 wines of three growers, thirteen measures each (Aeberhard & Forina, 1991)",
    "breast_cancer": "569 tumours, malignant or benign, thirty measures each (Street et al., 1993)",
    "diabetes": "442 patients, ten measures each, disease progression after a year (Efron et al., 2004)",
}


def table(name: str, *, image: bool = False, test: float = 0.3, seed: int = 0) -> Data:
    """Return one of scikit-learn's sets, standardized by its training set.

    Inputs have mean 0 and variance 1 over the training set: each measure by itself, and the pixels
    of digits all together, as they share a scale. The target of diabetes is standardized likewise.

    Args:
        name: one of `TABLES`.
        image: digits as (examples, 1, 8, 8), for convolutions, instead of (examples, 64).
        test: share of the examples for testing.
        seed: of the split.

    Raises:
        ArgumentError: if scikit-learn is not installed, `image` is asked of another set, or `test` is no
            share.

    >>> table("iris")
    Data('iris': 105 + 45 examples of shape (4,), classification, 3 outputs)
    """
    if image and name != "digits":
        raise ArgumentError(f"data {name!r} has no images: image=True is an option of 'digits'")
    bunch = _read(name)
    x = torch.from_numpy(bunch.data).double()
    y = torch.from_numpy(bunch.target)
    regression = name == "diabetes"
    if regression:
        y = y.double()[:, None]
    train, rest = split(x, y, test, generator(seed))
    every = None if name == "digits" else 0
    inputs = [_standard(part[0], train[0], every) for part in (train, rest)]
    if image:
        inputs = [part.reshape(-1, 1, 8, 8) for part in inputs]
    targets = [_standard(part[1], train[1], 0) if regression else part[1].long() for part in (train, rest)]
    labels = () if regression else tuple(str(label) for label in bunch.target_names)
    about = f"{TABLES[name]}, standardized; {test:.0%} for testing, seed {seed}. Shipped with scikit-learn."
    pairs = zip(inputs, targets, strict=True)
    return make(name, pairs, about, classes=len(labels) or None, labels=labels)


def _standard(values: torch.Tensor, train: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Subtract the training set's mean and divide by its std."""
    scale = train.std(dim, correction=0)
    return ((values - train.mean(dim)) / torch.where(scale > 0, scale, 1.0)).to(torch.float32)


def _read(name: str) -> Any:
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise ArgumentError(
            f"data {name!r} comes with scikit-learn, which is not installed: pip install 'goodinit[demo]'"
        ) from error
    # Diabetes as shipped is already scaled by all examples, the test set included.
    extra = {"scaled": False} if name == "diabetes" else {}
    return getattr(datasets, f"load_{name}")(**extra)
