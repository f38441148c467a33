"""Points in the plane: the regression of the tutorials and three shapes that no straight line separates."""

from __future__ import annotations

import math

import torch

from goodinit.comparing.datasets.data import Data, make, split
from goodinit.comparing.datasets.options import count, generator, number

__all__ = ["circles", "s4", "spirals", "two_moons"]


def s4(*, seed: int = 420) -> Data:
    """Return the regression of the tutorials: y = 2·x₁² − x₂² + 0.01·N(0, 1), x of two standard normals.

    1,000 points, of which a random 700 are the training set. Drawn as the tutorials draw it after
    ``torch.manual_seed(seed)``: the features, the noise, then `random_split`.

    Args:
        seed: of points and split.

    >>> s4().train_y.shape
    torch.Size([700, 1])
    """
    drawn = generator(seed)
    x = torch.randn(1000, 2, generator=drawn, dtype=torch.float32)
    y = 2 * x[:, :1] ** 2 - x[:, 1:] ** 2
    y = y + 0.01 * torch.randn(1000, 1, generator=drawn, dtype=torch.float32)
    about = f"1,000 points, y = 2·x₁² − x₂² + 0.01·N(0, 1), 700 of them to train on, seed {seed}."
    return make("s4", split(x, y, 0.3, drawn), about)


def _shapes(name: str, about: str, curves: list[torch.Tensor], noise: float, drawn: torch.Generator) -> Data:
    """Add noise to one set of points for each class, standardize and split 70/30."""
    x = torch.cat(curves)
    x = x + noise * torch.randn(x.shape, generator=drawn, dtype=torch.float32)
    y = torch.cat([torch.full((len(points),), label) for label, points in enumerate(curves)])
    train, test = split(x, y, 0.3, drawn)
    mean, std = train[0].mean(0), train[0].std(0, correction=0)
    standard = (((part[0] - mean) / std, part[1]) for part in (train, test))
    return make(name, standard, about, classes=len(curves))


def _on_circle(angle: torch.Tensor) -> torch.Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)


def two_moons(*, size: int = 1000, noise: float = 0.1, seed: int = 0) -> Data:
    """Return two interleaved half circles of radius 1, the second turned and moved by (1, ½).

    Args:
        size: number of points in both classes together.
        noise: std of the noise, in radii, before the points are standardized.
        seed: of noise and split.

    >>> two_moons(size=100)
    Data('two_moons': 70 + 30 examples of shape (2,), classification, 2 outputs)

    Source: scikit-learn, `sklearn.datasets.make_moons`.
    """
    size, noise = count("size", size, 4), number("noise", noise)
    drawn = generator(seed)
    upper = _on_circle(torch.linspace(0, math.pi, size // 2))
    lower = torch.tensor([1.0, 0.5]) - _on_circle(torch.linspace(0, math.pi, size - size // 2))
    about = f"{size} points on two interleaved half circles with noise of std {noise:g}, seed {seed}."
    return _shapes("two_moons", about, [upper, lower], noise, drawn)


def circles(*, size: int = 1000, noise: float = 0.1, seed: int = 0) -> Data:
    """Return a circle of radius ½ inside one of radius 1.

    Args:
        size: number of points in both classes together.
        noise: std of the noise, in radii of the larger, before the points are standardized.
        seed: of noise and split.

    >>> circles(size=100).outputs
    2

    Source: scikit-learn, `sklearn.datasets.make_circles`.
    """
    size, noise = count("size", size, 4), number("noise", noise)
    drawn = generator(seed)
    turn = torch.linspace(0, 2 * math.pi, size // 2 + 1)[:-1]
    rest = torch.linspace(0, 2 * math.pi, size - size // 2 + 1)[:-1]
    about = f"{size} points on two concentric circles with noise of std {noise:g}, seed {seed}."
    return _shapes("circles", about, [_on_circle(turn), 0.5 * _on_circle(rest)], noise, drawn)


def spirals(*, size: int = 1000, noise: float = 0.05, turns: float = 1.5, seed: int = 0) -> Data:
    """Return two spirals, r = φ/φ_max, the second turned by half a turn.

    Args:
        size: number of points in both classes together.
        noise: std of the noise, in largest radii, before the points are standardized.
        turns: how often each winds around the centre; harder with each.
        seed: of noise and split.

    >>> spirals(size=100).outputs
    2

    Source: Lang & Witbrock (1988), Learning to tell two spirals apart.
    """
    size, noise, turns = count("size", size, 4), number("noise", noise), number("turns", turns)
    drawn = generator(seed)

    def arm(points: int) -> torch.Tensor:
        # Square roots spread points evenly over the arm's length, about r dφ.
        radius = torch.linspace(0.05, 1, points).sqrt()
        return radius[:, None] * _on_circle(2 * math.pi * turns * radius)

    about = f"{size} points on two spirals of {turns:g} turns with noise of std {noise:g}, seed {seed}."
    return _shapes("spirals", about, [arm(size // 2), -arm(size - size // 2)], noise, drawn)
