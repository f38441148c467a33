"""What becomes of one input in a plain network of finite width that no scale holds.

Where errors in the second moment grow, the infinite-width map says nothing of a real network:
the scatter of the first layers is blown up until the signal is lost. But one input's way
through random weights is a Markov chain that can be drawn exactly without drawing weights:
given the signal x that a layer reads, W x is Gaussian (or, for Haar-orthogonal W, uniform on a
sphere), and given x and W x, the rest of Wᵀ g depends on the lengths of x and g alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from goodinit.errors import ArgumentError
from goodinit.theory.activations import Activation, ActivationLike, activation
from goodinit.theory.gaussian import moments

__all__ = ["Forecast", "forecast"]

Array = NDArray[np.float64]

RANGE = 3.0  # the factor within which a signal counts as held, as in `operating_point`
# Numbers drawn for one forecast: some tenths of a second. A mean over 64 chains has an error of
# about 4 % where the horizon scatters by a third of itself.
_BUDGET, _FEWEST, _MOST = 3_000_000, 64, 2000
_LOST = 1e12  # beyond this factor a signal is no longer followed


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of one input in a plain network, over draws of weights and inputs.

    Attributes:
        depth: number of layers.
        layers: mean number of first layers whose second moment (the mean square over the units of
            one input's pre-activations) lies within a factor of 3 of what it should be.
        fell: share of inputs whose second moment is below that range in the last layer.
        rose: share of inputs whose second moment is above it, or overflowed.
        gradient: typical (median) factor by which the gradient's second moment changes on the way
            back from layer `over` to the first, for a random functional of layer `over`.
        over: `depth` where most signals are in range to the end; else `layers` rounded, at least 1: the
            layers in which there is a signal to differentiate.
        correlation: typical (median) cosine between the pre-activations of two independent inputs in
            the last layer; NaN where signals are lost before.
    """

    depth: int
    layers: float
    fell: float
    rose: float
    gradient: float
    over: int
    correlation: float


def forecast(
    function: ActivationLike | Sequence[ActivationLike],
    width: int | Sequence[int],
    depth: int | None = None,
    *,
    q: float | Sequence[float] = 1.0,
    inputs: int | None = None,
    orthogonal: bool = False,
    samples: int | None = None,
    seed: int = 0,
) -> Forecast:
    """Return what becomes of a standard-normal input in a plain network of finite width.

    h_l = σ_l √(mean x_l²) g,  x_{l+1} = φ(h_l),  σ_l² = q_l / E[φ(√q_{l−1} z)²],  g ~ N(0, I)

    and g / √(mean g²) in place of g for orthogonal weights. Drawn, not approximated: the only
    error is that of a mean over `samples` chains.

    Args:
        function: what `activation` takes; or a list of them, one for each layer.
        width: units of the layers, one number for all or one for each.
        depth: number of layers; not needed with one width per layer.
        q: second moment that the weights should hold, one for all layers or one for each.
        inputs: length of the input vector; None for the width of the first layer.
        orthogonal: whether weights are Haar-orthogonal; else independent Gaussian.
        samples: chains to draw; None for 64 to 2,000, by the size of the network.
        seed: seed of the draws.

    Raises:
        ArgumentError: if an argument is out of range, or as `moments`.

    >>> found = forecast("square", 256, 50)  # the second moment doubles every error
    >>> 4 < found.layers < 6, found.fell + found.rose
    (True, 1.0)
    >>> forecast("tanh", 256, 20, q=0.1).layers
    20.0

    Source: conditioning on one product, as in Bayati and Montanari (2011), section 3; the
    forward chain of Hanin and Nica (2020) with any activation.
    """
    widths = [width] * (depth or 0) if isinstance(width, int) else list(width)
    count = len(widths)
    if not widths or min(widths) < 1 or (depth is not None and depth != count):
        raise ArgumentError(
            f"width is {width!r} and depth {depth!r}; give one width and a depth of at least 1, "
            "or one width of at least 1 per layer"
        )
    listed = isinstance(function, list | tuple)
    functions = [activation(item) for item in (function if listed else [function] * count)]
    moments_held = [float(item) for item in (q if isinstance(q, Sequence) else [q] * count)]
    if len(functions) != count or len(moments_held) != count or min(moments_held) <= 0:
        raise ArgumentError(
            f"{count} layers need {count} functions and positive values of q (or one for all), found "
            f"{len(functions)} and {moments_held!r}"
        )
    if any(item.gated or item.random for item in functions):
        raise ArgumentError("a forecast follows functions of one variable; found a gated or random one")
    most = max(widths) * count
    samples = min(max(_BUDGET // most, _FEWEST), _MOST) if samples is None else samples
    layers = tuple(
        _Layer(given, units, reads, held, _reads(before, previous))
        for given, units, reads, held, before, previous in zip(
            functions,
            widths,
            [inputs or widths[0], *widths],
            moments_held,
            [None, *functions],
            [1.0, *moments_held],
            strict=False,
        )
    )
    return _forecast(layers, orthogonal, samples, seed)


def _reads(before: Activation | None, q: float) -> float:
    """Return the second moment that a layer is made for: the data's, or that of φ before it."""
    return 1.0 if before is None else moments(before, q).second_moment


@dataclass(frozen=True)
class _Layer:
    """A weight of `units` × `reads` that turns a second moment `arriving` into q, and φ after it."""

    function: Activation
    units: int
    reads: int
    q: float
    arriving: float

    def phi(self, h: Array) -> Array:
        with torch.no_grad():
            return np.asarray(self.function(torch.from_numpy(h)).numpy(), dtype=np.float64)

    def slope(self, h: Array) -> Array:
        step = 1e-5 * self.q**0.5  # rounding and curvature are both far below what sampling leaves
        return np.asarray((self.phi(h + step) - self.phi(h - step)) / (2 * step))

    @property
    def gain(self) -> float:
        """Of an orthogonal map: the factor of lengths along its rows or columns, whichever are fewer."""
        return float((self.q / self.arriving * max(self.units, self.reads) / self.reads) ** 0.5)

    def forward(self, x: Array, orthogonal: bool, draw: np.random.Generator) -> Array:
        """Draw W x."""
        g = draw.standard_normal((len(x), self.units))
        length = np.linalg.norm(x, axis=1, keepdims=True)
        if not orthogonal:
            return np.asarray(length * (self.q / self.arriving / self.reads) ** 0.5 * g)
        norm = (g * g).sum(axis=1, keepdims=True) + _hidden(self.reads - self.units, len(x), draw)
        return np.asarray(self.gain * length * g / np.sqrt(norm))

    def forward_pair(
        self, x: Array, y: Array, orthogonal: bool, draw: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw W x and W y for one W."""
        lengths = [np.linalg.norm(item, axis=1, keepdims=True) for item in (x, y)]
        cosine = np.clip((x * y).sum(axis=1, keepdims=True) / (lengths[0] * lengths[1]), -1.0, 1.0)
        sine = np.sqrt(1.0 - cosine**2)
        g = draw.standard_normal((len(x), self.units))
        across = draw.standard_normal((len(x), self.units))
        if not orthogonal:
            scale = (self.q / self.arriving / self.reads) ** 0.5
            return np.asarray(scale * lengths[0] * g), np.asarray(
                scale * lengths[1] * (cosine * g + sine * across)
            )
        # Two orthonormal vectors of the larger side's dimension, of which the units see a part.
        dropped = draw.standard_normal((2, len(x), max(self.reads - self.units, 0)))
        g, across = np.hstack([g, dropped[0]]), np.hstack([across, dropped[1]])
        g /= np.linalg.norm(g, axis=1, keepdims=True)
        across -= g * (g * across).sum(axis=1, keepdims=True)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        first = self.gain * lengths[0] * g
        second = self.gain * lengths[1] * (cosine * g + sine * across)
        return np.asarray(first[:, : self.units]), np.asarray(second[:, : self.units])

    def backward(self, g: Array, h: Array, x: Array, orthogonal: bool, draw: np.random.Generator) -> Array:
        """Draw Wᵀ g, given that W x = h."""
        length = np.linalg.norm(x, axis=1, keepdims=True)
        unit = x / length
        along = (h * g).sum(axis=1, keepdims=True) / length
        rest = draw.standard_normal(x.shape)
        rest -= unit * (unit * rest).sum(axis=1, keepdims=True)
        squares = (g * g).sum(axis=1, keepdims=True)
        if not orthogonal:
            return np.asarray(along * unit + rest * np.sqrt(squares * self.q / self.arriving / self.reads))
        free = (rest * rest).sum(axis=1, keepdims=True)
        if self.units <= self.reads:
            wanted = np.maximum(self.gain**2 * squares - along**2, 0.0)
        else:  # what of g lies outside the image of W is lost
            outside = np.maximum(squares - (along * length) ** 2 / (h * h).sum(axis=1, keepdims=True), 0.0)
            lost = _hidden(self.units - self.reads, len(x), draw)
            wanted = self.gain**2 * outside * free / (free + lost)
        return np.asarray(along * unit + rest * np.sqrt(wanted / free))


def _hidden(dimensions: int, count: int, draw: np.random.Generator) -> Array | float:
    """Draw the squared length of the coordinates that a projection drops."""
    return draw.chisquare(dimensions, (count, 1)) if dimensions > 0 else 0.0


@lru_cache(maxsize=64)
def _forecast(layers: tuple[_Layer, ...], orthogonal: bool, samples: int, seed: int) -> Forecast:
    with np.errstate(all="ignore"):
        horizon, ended = _follow(layers, orthogonal, samples, np.random.default_rng([seed, 0]))
        mean = float(horizon.mean())
        lost = float((~((ended >= 1 / RANGE) & (ended <= RANGE))).mean())
        over = len(layers) if lost < 0.5 else max(round(mean), 1)
        most = max(layer.units for layer in layers) * over  # two numbers for each are kept
        gradient = _back(
            layers[:over], orthogonal, max(min(samples, _BUDGET // most), 4), np.random.default_rng([seed, 1])
        )
        # The distance to 1 scatters by factors, so its median takes more pairs.
        pairs = min(4 * samples, _MOST)
        correlation = _pair(layers, orthogonal, pairs, np.random.default_rng([seed, 2]))
    return Forecast(
        depth=len(layers),
        layers=mean,
        fell=float((ended < 1 / RANGE).mean()),
        rose=float((~(ended <= RANGE)).mean()),
        gradient=gradient,
        over=over,
        correlation=correlation,
    )


def _follow(
    layers: tuple[_Layer, ...], orthogonal: bool, samples: int, draw: np.random.Generator
) -> tuple[Array, Array]:
    """Return for every chain the layers within range, and the last second moment over its q."""
    horizon, ended = np.zeros(samples), np.ones(samples)
    alive, inside = np.arange(samples), np.ones(samples, dtype=bool)
    x = draw.standard_normal((samples, layers[0].reads))
    for layer in layers:
        h = layer.forward(x, orthogonal, draw)
        ratio = (h * h).mean(axis=1) / layer.q
        ended[alive] = ratio
        inside[alive] &= (ratio >= 1 / RANGE) & (ratio <= RANGE)
        horizon[alive] += inside[alive]
        kept = (ratio > 1 / _LOST) & (ratio < _LOST)
        alive = alive[kept]
        if not alive.size:
            break
        x = layer.phi(h[kept])
    return horizon, ended


def _pair(layers: tuple[_Layer, ...], orthogonal: bool, samples: int, draw: np.random.Generator) -> float:
    """Return the median cosine between two independent inputs in the last layer."""
    one, other = draw.standard_normal((2, samples, layers[0].reads))
    cosine = np.full(samples, math.nan)
    for layer in layers:
        one, other = layer.forward_pair(one, other, orthogonal, draw)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = (one * other).sum(axis=1) / lengths
        if np.isfinite(cosine).mean() < 0.5:
            return math.nan
        one, other = layer.phi(one), layer.phi(other)
    return float(np.median(cosine)) if np.isfinite(cosine).all() else math.nan


def _back(layers: tuple[_Layer, ...], orthogonal: bool, samples: int, draw: np.random.Generator) -> float:
    """Return the median factor of the gradient's second moment from the last of some layers to the first."""
    read, made = [], []
    x = draw.standard_normal((samples, layers[0].reads))
    for layer in layers:
        h = layer.forward(x, orthogonal, draw)
        read.append(x)
        made.append(h)
        x = layer.phi(h)
    g = draw.standard_normal(made[-1].shape)
    start = (g * g).mean(axis=1)
    for index in range(len(layers) - 1, 0, -1):
        back = layers[index].backward(g, made[index], read[index], orthogonal, draw)
        g = back * layers[index - 1].slope(made[index - 1])
    ratio = (g * g).mean(axis=1) / start
    ratio = ratio[~np.isnan(ratio)]  # chains whose signal is lost already
    return float(np.median(ratio)) if ratio.size else math.nan
