"""How large a recurrent layer's state is, and how alike it is from step to step, at infinite width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from goodinit.errors import ArgumentError, UnknownNameError, did_you_mean

__all__ = ["RecurrentStates", "recurrent_states"]

Array = NDArray[np.float64]

# Gates of each kind: what the input and the hidden state each give a Gaussian pre-activation.
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_BENT: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}
# So many units give second moments to about 2 %.
_UNITS = 4096
# After so many steps a state is taken to have settled.
_MOST_STEPS = 160


@dataclass(frozen=True)
class RecurrentStates:
    """Covariances between the steps of a recurrent layer's hidden state and of its cell state.

    Attributes:
        hidden: E[h_s h_t], steps × steps.
        cell: E[c_s c_t] of an LSTM, else that of the hidden state.
    """

    hidden: Array
    cell: Array

    @property
    def moments(self) -> tuple[float, ...]:
        """The second moment of the hidden state after each step."""
        return tuple(float(moment) for moment in np.diagonal(self.hidden))


def recurrent_states(
    kind: str,
    steps: int,
    *,
    forget_bias: float = 0.0,
    horizon: float | None = None,
    nonlinearity: str = "tanh",
    inputs: Array | None = None,
) -> RecurrentStates:
    """Return the covariances of a recurrent layer's states from step to step, from a zero state.

    In the limit of infinite width the pre-activations of a gate are a Gaussian process over steps,

        E[a_s a_t] = inputs_st + E[h_(s−1) h_(t−1)],

    the same for all units, independent for all gates; units follow it through the layer's own
    equations, and their mean products give the next step's covariances.

    Args:
        kind: ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
        steps: how many steps, at least 1; beyond 160 the last one repeats.
        forget_bias: mean pre-activation of an LSTM's forget gate.
        horizon: of chrono biases, which replace `forget_bias`: b_f = ln u and b_i = −ln u with u
            uniform on [1, horizon − 1]; ln u for the update gate of a GRU. None for none.
        nonlinearity: of an RNN, ``"tanh"`` or ``"relu"``.
        inputs: steps × steps, the covariance that the input gives every pre-activation; None for
            inputs of second moment 1 that are independent from step to step.

    Returns:
        The covariances, steps × steps; a projection of gain 1 leaves them as they are.

    Raises:
        UnknownNameError: for another kind or nonlinearity.
        ArgumentError: for less than one step, or `inputs` of another shape.

    >>> [round(moment, 2) for moment in recurrent_states("LSTM", 3, forget_bias=1.0).moments]
    [0.03, 0.04, 0.04]

    Source: Sompolinsky, Crisanti & Sommers (1988); for gates Chen, Pennington & Schoenholz (2018) and
    Gilboa et al. (2019), here followed through time by samples of units.
    """
    for name, value, known in (("kind", kind, tuple(_GATES)), ("nonlinearity", nonlinearity, tuple(_BENT))):
        if value not in known:
            raise UnknownNameError(
                f"recurrent_states: {name} must be one of {', '.join(known)}, found {value!r}"
                f"{did_you_mean(value, known)}"
            )
    if steps < 1:
        raise ArgumentError(f"recurrent_states: steps must be at least 1, found {steps!r}")
    if inputs is not None and inputs.shape != (steps, steps):
        raise ArgumentError(f"recurrent_states: inputs must be {steps} × {steps}, found shape {inputs.shape}")
    followed = min(steps, _MOST_STEPS)
    given = b"" if inputs is None else np.ascontiguousarray(inputs[:followed, :followed], float).tobytes()
    hidden, cell = _followed(kind, followed, forget_bias, horizon, nonlinearity, given)
    at = np.minimum(np.arange(steps), followed - 1)
    return RecurrentStates(hidden[np.ix_(at, at)], cell[np.ix_(at, at)])


@lru_cache(maxsize=64)
def _followed(
    kind: str, steps: int, forget_bias: float, horizon: float | None, nonlinearity: str, given: bytes
) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    gates = _GATES[kind]
    inward = rng.standard_normal((steps, gates * _UNITS))
    if given:
        inward = _root(np.frombuffer(given).reshape(steps, steps)) @ inward
    remember = np.full(_UNITS, forget_bias if kind == "LSTM" else 0.0)
    write = np.zeros(_UNITS)
    if horizon is not None:
        remember = np.log(1 + (horizon - 2) * (rng.permutation(_UNITS) + 0.5) / _UNITS)
        write = -remember if kind == "LSTM" else write
    hidden, cell = np.zeros((steps, _UNITS)), np.zeros((steps, _UNITS))
    process = _Process(steps, gates * _UNITS, rng)
    before = held = np.zeros(_UNITS)
    for step in range(steps):
        recurrent = process.next(hidden[:step]).reshape(gates, _UNITS)
        own = inward[step].reshape(gates, _UNITS)
        if kind == "LSTM":
            first, second, third, last = own + recurrent
            held = _sigmoid(second + remember) * held + _sigmoid(first + write) * np.tanh(third)
            before = _sigmoid(last) * np.tanh(held)
        elif kind == "GRU":
            update = _sigmoid(own[1] + recurrent[1] + remember)
            new = np.tanh(own[2] + _sigmoid(own[0] + recurrent[0]) * recurrent[2])
            before = held = (1 - update) * new + update * before
        else:
            before = held = _BENT[nonlinearity](own[0] + recurrent[0])
        hidden[step], cell[step] = before, held
    return hidden @ hidden.T / _UNITS, cell @ cell.T / _UNITS


class _Process:
    """Samples of a Gaussian process with the covariance of states, one step after another."""

    def __init__(self, steps: int, size: int, rng: np.random.Generator) -> None:
        self.root = np.zeros((steps, steps))
        self.drawn = np.zeros((steps, size))
        self.rng = rng

    def next(self, states: Array) -> Array:
        """Return the value at the next step, from the states of all units at all steps before it."""
        from scipy.linalg import solve_triangular

        at = len(states) - 1
        if at < 0:
            return np.zeros(self.drawn.shape[1])
        covariance = states @ states[at] / states.shape[1]
        root = self.root
        if at:
            root[at, :at] = solve_triangular(root[:at, :at], covariance[:at], lower=True)
        # A part of the last step's own is left even where rounding says otherwise.
        left = covariance[at] - root[at, :at] @ root[at, :at]
        root[at, at] = np.sqrt(max(left, 1e-6 * covariance[at], 1e-30))
        self.drawn[at] = self.rng.standard_normal(self.drawn.shape[1])
        return np.asarray(root[at, : at + 1] @ self.drawn[: at + 1], dtype=np.float64)


def _root(covariance: Array) -> Array:
    """A symmetric root of a covariance, whatever its rank."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T, dtype=np.float64)


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)
