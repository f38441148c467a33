"""What a page is built of: tables, plots, tiles and sections, as plain values that templates draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Column", "Figure", "Key", "Section", "Table", "Tile", "View", "thinned"]

_T = TypeVar("_T")
# Plotly's names of dashes as SVG writes them.
_DASHES = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4"}


@dataclass(frozen=True)
class Column:
    """A column's heading and how its cells are set: ``"text"``, ``"name"`` or ``"number"``."""

    label: str
    kind: str = "number"


@dataclass(frozen=True)
class Table:
    """Cells of text under headings; `caption` names it for those who cannot see it."""

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    search: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a band, a line with its dash, or a mark, in a colour of the palette."""

    label: str
    colour: str
    form: str
    dash: str


@dataclass(frozen=True)
class View:
    """One way to draw a figure: Plotly traces and layout.

    Colours are written as ``$name`` and become the page's when it is drawn. Names of
    layers stand unescaped in `text`, `name` and `ticktext`; the page escapes these.
    """

    label: str
    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A plot, the sentence that says what it shows, and its numbers as a table."""

    key: str
    title: str
    summary: str
    views: tuple[View, ...]
    table: Table | None = None
    note: str = ""
    wide: bool = False
    height: int = 320

    @property
    def legend(self) -> tuple[Key, ...]:
        """What the lines, bands and marks of the first view stand for."""
        return tuple(_key(trace) for trace in self.views[0].traces if trace.get("name"))


@dataclass(frozen=True)
class Tile:
    """One figure of the overview."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with figures and tables under it; `short` is its entry in the contents."""

    key: str
    title: str
    short: str
    lead: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def empty(self) -> bool:
        """True where there is nothing to show."""
        return not self.figures and not any(table.rows for table in self.tables)


def _key(trace: dict[str, Any]) -> Key:
    line, marker = trace.get("line", {}), trace.get("marker", {})
    mode = str(trace.get("mode", ""))
    if "fillcolor" in trace:
        return Key(trace["name"], str(trace["fillcolor"])[1:], "band", "")
    if "lines" in mode:
        return Key(trace["name"], str(line["color"])[1:], "line", _DASHES[line.get("dash", "solid")])
    form = {"x": "cross", "diamond-open": "diamond"}.get(marker.get("symbol", ""), "")
    form = form or ("triangle" if "triangle" in str(marker.get("symbol")) else "dot")
    return Key(trace["name"], str(marker["color"])[1:], form, "")


def thinned(items: Sequence[_T], limit: int) -> list[_T]:
    """Return at most `limit` items, evenly spaced, the first and the last among them.

    >>> thinned(range(100), 4)
    [0, 33, 66, 99]
    """
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]
