"""Pictures as numbers: curves with bands, violins of weights and gradients, heat maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from goodinit.records import Grid, Line, ParameterSignal, Picture, Violin
from goodinit.signals import probe
from goodinit.signals.probing.moments import moments
from goodinit.signals.probing.sampling import histogram

__all__ = ["banded", "curve", "grid", "level", "violin", "violins", "weights_vp"]

# The band of a curve holds 80 % of the draws.
BAND = (0.1, 0.9)


def curve(label: str, x: Iterable[float], y: Iterable[float], *, theory: bool = False) -> Line:
    """Return a curve without a band.

    >>> curve("He", (1, 2), (1.0, 0.5), theory=True).y
    (1.0, 0.5)
    """
    return Line(label, tuple(map(float, x)), tuple(map(float, y)), theory=theory)


def level(label: str, x: Iterable[float], value: float) -> Line:
    """Return what theory puts at the same height everywhere."""
    ends = tuple(map(float, x))
    return Line(label, (ends[0], ends[-1]), (value, value), theory=True)


def banded(label: str, x: Iterable[float], samples: torch.Tensor) -> Line:
    """Return the median over draws at each point, with the band that holds 80 % of them.

    Args:
        label: what it shows.
        x: one number for each point.
        samples: a row for each draw, a column for each point.

    >>> banded("one", (1,), torch.tensor([[1.0], [2.0], [6.0]])).y
    (2.0,)
    """
    at = torch.tensor((BAND[0], 0.5, BAND[1]), dtype=torch.float64)
    low, middle, high = torch.quantile(samples.double(), at, dim=0).tolist()
    return Line(label, tuple(map(float, x)), tuple(middle), tuple(low), tuple(high))


def violin(label: str, values: torch.Tensor, group: str = "") -> Violin:
    """Return the distribution of a tensor's values.

    >>> violin("weight", torch.tensor([-1.0, 1.0])).moments.std
    1.0
    """
    flat = values.detach().reshape(-1).double().cpu()
    counted = histogram([flat])
    assert counted is not None, "a violin needs a finite value"
    return Violin(label, counted, moments(flat), group)


def grid(
    key: str,
    title: str,
    summary: str,
    values: Mapping[str, Mapping[str, float]],
    *,
    x: str,
    y: str,
    unit: str,
    middle: float | None = None,
) -> Picture:
    """Return a heat map of {row: {column: value}}, the first row at the top; see `Grid.middle`."""
    rows = list(values)[::-1]
    columns = list(next(iter(values.values())))
    cells = tuple(tuple(float(values[row][column]) for column in columns) for row in rows)
    return Picture(key, title, summary, x, y, grid=Grid(tuple(columns), tuple(rows), cells, unit, middle))


def weights_vp(
    model: nn.Module | Mapping[str, nn.Module],
    batch: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    seed: int = 0,
) -> tuple[Picture, Picture]:
    """Return violins of the weights of every layer, and of their gradients, for any model.

    Weights are the parameters of two dimensions or more. Violins of several models stand side by
    side where their parameters have the same names.

    Args:
        model: the model, or models by their labels; left as they were.
        batch: as for `goodinit.probe`; None makes one.
        loss: as for `goodinit.probe`; None differentiates a random linear functional.
        seed: of the batch and the functional, where these are made.

    Returns:
        The picture of weights and that of gradients; a weight that no gradient reached is absent there.

    Raises:
        ExampleError: if the model rejects the batch, or none can be made.

    >>> weights, gradients = weights_vp(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))
    >>> [violin.label for violin in gradients.violins]
    ['0.weight', '2.weight']
    """
    models = {"": model} if isinstance(model, nn.Module) else model
    seen = {label: probe(each, batch, loss=loss, seed=seed).parameters for label, each in models.items()}
    return (
        violins("weights", "Weights", seen, gradients=False),
        violins("gradients", "Gradients of the weights", seen, gradients=True),
    )


def violins(
    key: str, title: str, seen: Mapping[str, Sequence[ParameterSignal]], *, gradients: bool
) -> Picture:
    """Return violins of measured weights, or of their gradients, grouped by label.

    Args:
        key: the picture's name.
        title: its title.
        seen: parameters as `goodinit.probe` measured them, by label.
        gradients: whether to show the gradients instead of the values.
    """
    found = []
    for label, parameters in seen.items():
        for each in parameters:
            bins = each.gradient_histogram if gradients else each.histogram
            sums = each.gradient if gradients else each.value
            if len(each.shape) >= 2 and bins is not None and sums is not None:
                found.append(Violin(each.name, bins, sums, label))
    stds = [each.moments.std for each in found if each.moments.std > 0]
    spread = f"The widest has {max(stds) / min(stds):.3g} times the std of the narrowest." if stds else ""
    return Picture(key, title, spread, "layer", "gradient" if gradients else "weight", violins=tuple(found))
