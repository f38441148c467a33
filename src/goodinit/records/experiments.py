"""What an experiment of the laboratory asked, measured and found, with its pictures as numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from goodinit.records.comparisons import Comparison, Interval
from goodinit.records.form import from_json_text, to_jsonable
from goodinit.records.showing import Shown
from goodinit.records.signals import Histogram, Moments

__all__ = ["ExperimentResult", "Fact", "Grid", "Line", "Picture", "Sheet", "Violin"]


@dataclass(frozen=True)
class Line:
    """A curve or row of points; `low` and `high` are the edges of its band, empty where it has none.

    `theory` marks what was computed and not measured; it is drawn dashed.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    theory: bool = False


@dataclass(frozen=True)
class Violin:
    """The distribution of one tensor's values; violins of one `group` stand beside each other."""

    label: str
    histogram: Histogram
    moments: Moments
    group: str = ""


@dataclass(frozen=True)
class Grid:
    """A heat map: one value for each row and column, rows from the bottom.

    Where there is a `middle`, such as 0 for a logarithm, colours go two ways from it.
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unit: str
    middle: float | None = None


@dataclass(frozen=True)
class Picture:
    """One plot: lines, violins or a grid.

    Attributes:
        key: its name within the experiment: letters, digits and hyphens.
        title: what it shows; `summary` the sentence that says what is to be seen.
        x: label of the horizontal axis; `y` of the vertical one.
        log_x: whether the horizontal axis is logarithmic; `log_y` the vertical one.
    """

    key: str
    title: str
    summary: str
    x: str = ""
    y: str = ""
    log_x: bool = False
    log_y: bool = False
    lines: tuple[Line, ...] = ()
    violins: tuple[Violin, ...] = ()
    grid: Grid | None = None


@dataclass(frozen=True)
class Sheet:
    """A table of text, with its caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Fact:
    """One figure that the experiment is about.

    Attributes:
        name: what it is, in words.
        measured: the figure with its interval.
        stated: what the textbook, tutorial or theory states; empty where nothing is stated.
        holds: whether the measurement agrees with that; None where nothing is stated.
    """

    name: str
    measured: Interval
    stated: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class ExperimentResult(Shown):
    """The outcome of one run of an experiment.

    Attributes:
        name: by which `goodinit lab run` knows it; `title` for people.
        question: the paragraph that asks; `answer` the sentences that were found, most important first.
        textbook: where a common claim is wrong, or right; empty where none is made.
        size: ``"small"``, ``"default"`` or ``"full"``.
        settings: seeds, passes, data, learning rates and the like, in words, by name.
        facts: the figures that the answer rests on.
        notes: versions, threads, what was left out and why.
    """

    name: str
    title: str
    question: str
    answer: tuple[str, ...]
    textbook: str
    size: str
    settings: dict[str, str]
    facts: tuple[Fact, ...]
    pictures: tuple[Picture, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def fact(self, name: str) -> Fact:
        """Return the fact of that name.

        Raises:
            KeyError: listing the names there are.
        """
        for each in self.facts:
            if each.name == name:
                return each
        raise KeyError(f"no fact {name!r}; there are {[each.name for each in self.facts]}")

    def to_json(self) -> str:
        """Return the outcome as JSON text; `ExperimentResult.from_json` reads it back."""
        return json.dumps({"goodinit": "experiment", **to_jsonable(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ExperimentResult:
        """Rebuild an outcome from `to_json`'s text."""
        return from_json_text(cls, text, "experiment")
