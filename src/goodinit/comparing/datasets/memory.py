"""Two tasks that a recurrent network solves only if it remembers."""

from __future__ import annotations

import math

import torch

from goodinit.comparing.datasets.data import Data, make
from goodinit.comparing.datasets.options import count, generator

__all__ = ["adding", "copy_memory"]

# Of the copy task: how many symbols to remember, of how many kinds.
_REMEMBERED, _SYMBOLS = 10, 8


def adding(*, length: int = 100, train: int = 2000, test: int = 1000, seed: int = 0) -> Data:
    """Return the adding task: which two numbers of a sequence are marked, and what is their sum?

    Each step has a number, uniform on [0, 1), and a mark, 1 at one random step of the first half and
    one of the second, else 0. Always answering 1 has mean squared error 1/6.

    Args:
        length: number of steps, at least 2.
        train: number of sequences to train on; `test` to test on.
        test: number of sequences to test on.
        seed: of the sequences.

    Returns:
        X of shape (sequences, length, 2), Y of shape (sequences, 1).

    >>> adding(length=5, train=3, test=2).train_x.shape
    torch.Size([3, 5, 2])

    Source: Hochreiter & Schmidhuber (1997), Long short-term memory, section 5.4, in the form of Le,
    Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified linear units, 4.1.
    """
    length, train, test = count("length", length, 2), count("train", train, 1), count("test", test, 1)
    drawn = generator(seed)
    total, half = train + test, length // 2
    numbers = torch.rand(total, length, generator=drawn, dtype=torch.float32)
    early = torch.randint(half, (total, 1), generator=drawn)
    late = torch.randint(half, length, (total, 1), generator=drawn)
    where = torch.cat([early, late], 1)
    marks = torch.zeros(total, length).scatter_(1, where, 1.0)
    x = torch.stack([numbers, marks], 2)
    y = numbers.gather(1, where).sum(1, keepdim=True)
    about = (
        f"Sum of the two marked numbers in a sequence of {length}; answering 1 has mean squared error 1/6. "
        f"Seed {seed}."
    )
    return make("adding", [(x[:train], y[:train]), (x[train:], y[train:])], about)


def copy_memory(
    *, length: int = 100, train: int = 2000, test: int = 1000, one_hot: bool = True, seed: int = 0
) -> Data:
    """Return the copying task: ten symbols of eight kinds, a delay, a signal, and then repeat them.

    Classes 0 to 7 are the symbols, 8 the blank, 9 the signal. Inputs are the symbols, length − 1 blanks,
    the signal and ten blanks; targets are length + 10 blanks, then the symbols. Without memory the
    best cross-entropy is 10·ln 8/(length + 20).

    Args:
        length: delay in steps, at least 1.
        train: number of sequences to train on; `test` to test on.
        test: number of sequences to test on.
        one_hot: inputs as vectors of ten; as integers, for an `Embedding`, if False.
        seed: of the sequences.

    Returns:
        X of shape (sequences, length + 20, 10), or (sequences, length + 20) as integers; Y of shape
        (sequences, length + 20).

    >>> copy_memory(length=5, train=3, test=2).train_x.shape
    torch.Size([3, 25, 10])

    Source: Hochreiter & Schmidhuber (1997), in the form of Arjovsky, Shah & Bengio (2016), Unitary
    evolution recurrent neural networks, section 5.1.
    """
    length, train, test = count("length", length, 1), count("train", train, 1), count("test", test, 1)
    drawn = generator(seed)
    blank, signal = _SYMBOLS, _SYMBOLS + 1
    symbols = torch.randint(_SYMBOLS, (train + test, _REMEMBERED), generator=drawn)
    steps = length + 2 * _REMEMBERED
    x, y = (torch.full((train + test, steps), blank) for _ in range(2))
    x[:, :_REMEMBERED] = symbols
    x[:, _REMEMBERED + length - 1] = signal
    y[:, -_REMEMBERED:] = symbols
    inputs = torch.nn.functional.one_hot(x, signal + 1).to(torch.float32) if one_hot else x
    floor = _REMEMBERED * math.log(_SYMBOLS) / steps
    about = (
        f"Repeat {_REMEMBERED} of {_SYMBOLS} symbols after {length} steps; without memory the best "
        f"cross-entropy is {floor:.3g}. Seed {seed}."
    )
    pairs = (inputs[:train], y[:train]), (inputs[train:], y[train:])
    return make("copy_memory", pairs, about, kind="sequence", classes=signal + 1)
