"""Next-character prediction on a real text that every machine has: Python's own standard library."""

from __future__ import annotations

import importlib.util
import platform
from functools import lru_cache

import torch

from goodinit.comparing.datasets.data import Data, make
from goodinit.comparing.datasets.options import count, generator
from goodinit.errors import ArgumentError

__all__ = ["ALPHABET", "characters"]

# Fixed, so that a model has as many outputs under every version of Python. The last one stands for
# every other character.
ALPHABET = "\n\t" + "".join(map(chr, range(32, 127))) + "\N{REPLACEMENT CHARACTER}"

# Modules that are one file of Python source from 3.10 on. Test text comes from files of their own.
_TRAIN = (
    "argparse", "ast", "bdb", "calendar", "configparser", "copy", "csv", "difflib", "doctest", "enum",
    "ftplib", "functools", "gettext", "heapq", "inspect", "optparse", "pickle", "random", "shutil",
    "smtplib", "socket", "ssl", "statistics", "subprocess", "tarfile", "threading", "trace", "typing",
)  # fmt: skip
_TEST = ("ipaddress", "mailbox", "pdb", "tempfile", "textwrap", "uuid")


def characters(*, length: int = 64, train: int = 4000, test: int = 1000, seed: int = 0) -> Data:
    """Return windows of the standard library's sources, to predict each next character.

    The text is that of the running Python, so it differs a little from version to version; the
    alphabet (tab, newline, printable ASCII, and one class for the rest) does not. Training and test
    windows come from different modules.

    Args:
        length: characters in a window.
        train: number of windows to train on; `test` to test on.
        test: number of windows to test on.
        seed: which windows.

    Returns:
        X and Y of shape (windows, length), int64: indices into `ALPHABET`, Y one character ahead.

    Raises:
        ArgumentError: for more windows than the text has, or a Python without its sources.

    >>> data = characters(length=16, train=20, test=10)
    >>> bool((data.train_x[:, 1:] == data.train_y[:, :-1]).all())
    True
    """
    length, train, test = count("length", length, 1), count("train", train, 1), count("test", test, 1)
    drawn = generator(seed)
    pairs = [
        _windows(_text(modules), length, number, part, drawn)
        for modules, number, part in ((_TRAIN, train, "train"), (_TEST, test, "test"))
    ]
    about = (
        f"Next character in windows of {length} from the standard library of Python "
        f"{platform.python_version()}, {len(ALPHABET)} classes, seed {seed}."
    )
    return make("characters", pairs, about, kind="sequence", classes=len(ALPHABET), labels=tuple(ALPHABET))


@lru_cache(maxsize=2)
def _text(modules: tuple[str, ...]) -> torch.Tensor:
    """Return the sources of modules, one after another, as indices into `ALPHABET`."""
    index = {character: place for place, character in enumerate(ALPHABET)}
    parts = []
    for module in modules:
        spec = importlib.util.find_spec(module)
        source = getattr(spec.loader, "get_source", lambda _: None)(module) if spec is not None else None
        if not source:
            raise ArgumentError(
                "data 'characters' reads Python's standard library, and this Python has no source of "
                f"{module!r}"
            )
        parts += [index.get(character, len(ALPHABET) - 1) for character in source]
    return torch.tensor(parts, dtype=torch.int64)


def _windows(
    text: torch.Tensor, length: int, number: int, part: str, drawn: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows that do not overlap, in random order, and the same one character ahead."""
    most = (len(text) - 1) // length
    if number > most:
        raise ArgumentError(
            f"{part}={number} windows of {length} characters do not fit into the text, which has {most}: "
            "ask for fewer or shorter ones"
        )
    starts = torch.randperm(most, generator=drawn)[:number, None] * length
    places = starts + torch.arange(length)
    return text[places], text[places + 1]
