"""Second moments through the time steps of torch's recurrent layers.

Gates are Gaussian: the variance of a pre-activation is the measured squares of its weights times
the second moments of what enters, its mean the measured biases. `theory.recurrence` does the same
for layers that are yet to be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from goodinit.signals.expectations.expected import Expected, spread

Array = NDArray[np.float64]

__all__ = ["Course", "course", "sequence"]

# Gauss–Hermite nodes: sigmoid and tanh of Gaussians of variance up to some tens to a few 1e-3.
_NODES = 40
# Squared relative error of gates that are no Gaussians and of states that depend on their own past: some 10 %
# in simulation, 30 % where a forget gate stays open for tens of steps.
_GATES, _PLAIN = 0.12**2, 0.05**2
# The gate that is written: the third of an LSTM's (input, forget, cell, output) and of a GRU's.
_NEW = 2


@dataclass(frozen=True)
class Course:
    """What a sequence is expected to be, by step and unit: second moments, means, and lag-one correlation.

    Attributes:
        q: second moments over draws of the weights, shape (T, units).
        m: the means that biases make, (T, units).
        alike: correlation with the step before, (T,).
    """

    q: Tensor
    m: Tensor
    alike: Tensor


def course(
    module: nn.RNNBase, entering: Course, states: Sequence[Tensor] = ()
) -> tuple[Course, tuple[Tensor, ...]]:
    """Return what leaves a recurrent layer, and the second moments of its last states.

        RNN   E[h′²] = E[φ(a)²]
        LSTM  c′ = σ(a_f) c + σ(a_i) tanh(a_g),  h′ = σ(a_o) tanh(c′)
        GRU   h′ = (1 − σ(a_z)) tanh(a_n) + σ(a_z) h

    with a ~ N(b, Σ w² E[x²] + Σ r² E[h²]) for every gate, and E[c′²], E[h′²] from the products' means and
    second moments, where terms of different steps are as alike as the steps of the input are.

    Args:
        module: nn.RNN, nn.LSTM or nn.GRU.
        entering: the input, mean over the batch.
        states: second moments of the initial states, (layers · directions, units) each; none are zeros.

    Returns:
        The output's course, and for every state (h, and c of an LSTM) (layers · directions, units).

    Source: Chen, Pennington and Schoenholz 2018; Gilboa et al. 2019, for Gaussian weights without biases.
    """
    both = 2 if module.bidirectional else 1
    ends: list[list[Tensor]] = []
    for layer in range(module.num_layers):
        found: list[Course] = []
        for turn in range(both):
            at = layer * both + turn
            begin = [state[at] for state in states]
            came = _reversed(entering) if turn else entering
            made, last = _ran(module, f"l{layer}{'_reverse' if turn else ''}", came, begin)
            found.append(_reversed(made) if turn else made)
            ends.append(last)
        entering = Course(
            torch.cat([each.q for each in found], 1),
            torch.cat([each.m for each in found], 1),
            torch.stack([each.alike for each in found]).mean(dim=0),
        )
        if module.training and module.dropout and layer < module.num_layers - 1:
            entering = Course(entering.q / (1 - module.dropout), entering.m, entering.alike)
    return entering, tuple(torch.stack(list(states)) for states in zip(*ends, strict=True))


def sequence(
    module: nn.RNNBase, x: Expected, known: bool, shape: torch.Size, states: Sequence[Tensor] = ()
) -> tuple[Expected, tuple[Expected, ...], Tensor]:
    """Return what is expected of a recurrent layer's output, of its last states, and of every time step.

    Args:
        module: nn.RNN, nn.LSTM or nn.GRU.
        x: what is expected of the input.
        known: whether the input is data, so that it shows itself how alike its steps are.
        shape: of the output.
        states: the initial states, as the module takes them.
    """
    time = 1 if module.batch_first and x.q.ndim == 3 else 0
    batch = 1 - time
    steps = [part.detach().movedim(time, 0) for part in (x.q, x.m, x.p)]
    begin = [state.detach().cpu().double().square() for state in states]
    if x.q.ndim == 3:
        steps, begin = [part.mean(dim=1) for part in steps], [state.mean(dim=1) for state in begin]
    if known:
        alike = _alike(x.m.movedim(time, 0).flatten(1))
        ends = [alike, alike]
    else:
        shared = (steps[2].sum(1) / steps[0].sum(1).clamp_min(1e-300)).clamp(0, 1)
        ends = [shared, torch.ones_like(shared)]
    low, high = (course(module, Course(steps[0], steps[1], end), begin) for end in ends)
    gap = (
        x.gap + abs(math.log(max(float(high[0].q.mean()), 1e-300) / max(float(low[0].q.mean()), 1e-300))) / 2
    )
    fuzz = x.fuzz + (_PLAIN if isinstance(module, nn.RNN) else _GATES)

    def of(q: Tensor, m: Tensor, like: torch.Size) -> Expected:
        q, m = q.expand(like).clone().requires_grad_(), m.expand(like)
        part = m.reshape(-1, like[-1]).mean(0) ** 2
        units = float(like[-1])
        return Expected(
            q, m, part.expand(like), -1, units, s=spread(x) + 2 / units, gap=gap, fuzz=fuzz, normal=False
        )

    means, q = low[0].m, (low[0].q * high[0].q).sqrt()
    placed = [part.unsqueeze(batch) if len(shape) == 3 else part for part in (q, means)]
    last = []
    for one, other in zip(low[1], high[1], strict=True):
        state = (one * other).sqrt()
        like = torch.Size((len(state), shape[batch], state.shape[1])) if len(shape) == 3 else state.shape
        state = state.unsqueeze(1) if len(shape) == 3 else state
        last.append(of(state, torch.zeros_like(state), like))
    return of(placed[0], placed[1], shape), tuple(last), q.mean(dim=1)


def _alike(values: Tensor) -> Tensor:
    """Return the cosine between every step and the one before, 0 for the first."""
    size = values.square().sum(1).sqrt()
    norm = (size[1:] * size[:-1]).clamp_min(1e-300)
    return torch.cat([values.new_zeros(1), (values[1:] * values[:-1]).sum(1) / norm])


def _reversed(given: Course) -> Course:
    # What is alike with the step before is, backwards, with the step after.
    return Course(given.q.flip(0), given.m.flip(0), given.alike.roll(-1).flip(0))


def _ran(
    module: nn.RNNBase, name: str, given: Course, begin: Sequence[Tensor]
) -> tuple[Course, list[Tensor]]:
    """Run one layer in one direction."""
    read = {
        leaf: getattr(module, f"{leaf}_{name}").detach().cpu().double()
        for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        if hasattr(module, f"{leaf}_{name}")
    }
    gates = read["weight_hh"].shape[0] // module.hidden_size
    zero = torch.zeros(gates * module.hidden_size, dtype=torch.float64)
    outer, inner = read.get("bias_ih", zero).chunk(gates), read.get("bias_hh", zero).chunk(gates)
    from_input = (given.q @ read["weight_ih"].square().T).chunk(gates, dim=1)
    back = read["weight_hh"].square()
    project = read["weight_hr"].square() if "weight_hr" in read else None
    size = torch.zeros(back.shape[1], dtype=torch.float64) if not begin else begin[0]
    kept = torch.zeros(module.hidden_size, dtype=torch.float64) if len(begin) < 2 else begin[1]
    mean = torch.zeros(module.hidden_size, dtype=torch.float64)
    rows: list[tuple[Tensor, Tensor, float]] = []
    same = 0.0
    for step in range(len(given.q)):
        from_state = (back @ size).chunk(gates)
        # What the newly written part is made of: of the input, and of the state, as alike as each is.
        part, rest = float(from_input[_NEW % gates][step].mean()), float(from_state[_NEW % gates].mean())
        alike = (part * float(given.alike[step]) + rest * same) / max(part + rest, 1e-300)
        terms = [(outer[g] + inner[g], from_input[g][step] + from_state[g]) for g in range(gates)]
        if isinstance(module, nn.LSTM):
            write, forget, new, out = (
                _means(function, *term)
                for function, term in zip((_sigmoid, _sigmoid, _tanh, _sigmoid), terms, strict=True)
            )
            entering = (write[0] * new[0], write[1] * new[1])
            mean, kept, same = _joined((mean, kept), forget, entering, forget[0] * write[0], new, alike)
            told = _means(_tanh, mean, (kept - mean**2).clamp_min(0))
            q, m = out[1] * told[1], out[0] * told[0]
            if project is not None:
                q, m = project @ q, torch.zeros(len(project), dtype=torch.float64)
            size = q
        elif isinstance(module, nn.GRU):
            reset, update = _means(_sigmoid, *terms[0]), _means(_sigmoid, *terms[1])
            spread = (reset[1] - reset[0] ** 2).clamp_min(0) * inner[2] ** 2
            new = _means(
                _tanh,
                outer[2] + reset[0] * inner[2],
                from_input[2][step] + reset[1] * from_state[2] + spread,
            )
            entering = ((1 - update[0]) * new[0], (1 - 2 * update[0] + update[1]) * new[1])
            mean, size, same = _joined((mean, size), update, entering, update[0] - update[1], new, alike)
            q, m = size, mean
        else:
            function = _tanh if module.mode == "RNN_TANH" else _relu
            m, q = _means(function, *terms[0])
            size, same = q, 0.0
        rows.append((q, m, same))
    last = [size, kept] if isinstance(module, nn.LSTM) else [size]
    return (
        Course(
            torch.stack([q for q, _, _ in rows]),
            torch.stack([m for _, m, _ in rows]),
            torch.tensor([same for _, _, same in rows], dtype=torch.float64),
        ),
        last,
    )


def _joined(
    old: tuple[Tensor, Tensor],
    keep: tuple[Tensor, Tensor],
    entering: tuple[Tensor, Tensor],
    together: Tensor,
    new: tuple[Tensor, Tensor],
    alike: float,
) -> tuple[Tensor, Tensor, float]:
    """Return mean and second moment of keep · old + write · new, and how alike it is to the old.

    Args:
        old: mean and second moment of the state.
        keep: the same of the gate that keeps it.
        entering: the same of write · new.
        together: E[keep · write].
        new: mean and second moment of what is written.
        alike: correlation between what is written at two steps.
    """
    mean = keep[0] * old[0] + entering[0]
    scatter = ((old[1] - old[0] ** 2).clamp_min(0) * (new[1] - new[0] ** 2).clamp_min(0)).sqrt()
    cross = together * (old[0] * new[0] + alike * scatter)
    size = (keep[1] * old[1] + entering[1] + 2 * cross).clamp_min(0)
    write = together / keep[0].clamp_min(1e-12)
    shared = keep[0] * old[1] + write * (old[0] * new[0] + alike * scatter)
    norm = math.sqrt(float(size.mean()) * float(old[1].mean()))
    return mean, size, min(float(shared.mean()) / norm, 1.0) if norm > 0 else 0.0


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0))


def _tanh(x: Array) -> Array:
    return np.asarray(np.tanh(x))


def _means(function: Callable[[Array], Array], mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """E[φ(a)] and E[φ(a)²] for a ~ N(mean, variance), for each of many."""
    nodes, weights = _hermite()
    at = mean.numpy()[:, None] + np.sqrt(variance.numpy())[:, None] * nodes
    value = function(np.clip(at, -300, 300) if function is _sigmoid else at)
    return torch.from_numpy(value @ weights), torch.from_numpy(value**2 @ weights)


@cache
def _hermite() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / math.sqrt(2 * math.pi)
