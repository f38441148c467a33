"""What an experiment is: a question, a measurement of three sizes, and what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from goodinit.errors import UnknownNameError, did_you_mean
from goodinit.records import Comparison, ExperimentResult, Fact, Picture, Sheet

__all__ = ["Experiment", "Found", "Size"]

Size = Literal["small", "default", "full"]


@dataclass(frozen=True)
class Found:
    """What one run measured; the fields are those of `ExperimentResult`."""

    answer: tuple[str, ...]
    facts: tuple[Fact, ...]
    settings: dict[str, str]
    textbook: str = ""
    pictures: tuple[Picture, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A ready experiment over the public API.

    Attributes:
        name: by which `goodinit lab run` knows it.
        title: a line for people; `question` the paragraph that asks.
        measure: runs it at a size: ``"small"`` for tests (seconds), ``"default"`` (under two
            minutes on two cores), ``"full"`` for the committed results.
        covers: what it reproduces, such as ``("S4.2",)``.
    """

    name: str
    title: str
    question: str
    measure: Callable[[Size], Found]
    covers: tuple[str, ...] = ()

    def run(self, size: Size = "default") -> ExperimentResult:
        """Measure, and return the question with its answer.

        The global random state is left as it was.

        Raises:
            UnknownNameError: for a size that is none.
        """
        if size not in get_args(Size):
            known = get_args(Size)
            raise UnknownNameError(
                f"size: must be one of {', '.join(known)}, found {size!r}{did_you_mean(str(size), known)}"
            )
        with torch.random.fork_rng(devices=[]):
            found = self.measure(size)
        versions = (
            f"torch {torch.__version__}, Python {sys.version.split()[0]}, {torch.get_num_threads()} threads"
        )
        return ExperimentResult(
            self.name,
            self.title,
            self.question,
            found.answer,
            found.textbook,
            size,
            found.settings,
            found.facts,
            found.pictures,
            found.sheets,
            found.comparisons,
            (*found.notes, versions),
        )
