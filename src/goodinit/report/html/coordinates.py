"""A `CoordinateCheck` as a page: what depends on width, the sizes over widths, every exponent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from goodinit.records import CoordinateCheck, CoordinateLayer, Line, Picture
from goodinit.report.coordinates import exponent, verdict
from goodinit.report.html.cards import card
from goodinit.report.html.numbers import scientific
from goodinit.report.html.pictures import SERIES, picture
from goodinit.report.html.pieces import Column, Figure, Section, Table, Tile, thinned
from goodinit.report.words import count

__all__ = ["content"]


def content(check: CoordinateCheck, docs: str | None) -> dict[str, Any]:
    """Return what the page of a coordinate check holds."""
    tone, sentence = verdict(check)
    widths = ", ".join(f"{width:,}" for width in check.widths)
    rate = "" if check.lr is None else f" at {scientific(check.lr)}"
    slopes = [layer.change_slope for layer in check.layers if layer.change_slope is not None]
    tiles = [Tile("Tolerance", f"±{check.tolerance:g}", "exponent of width")]
    if slopes:
        tiles.insert(
            0, Tile("Exponents of updates", f"{min(slopes):.2f} to {max(slopes):.2f}".replace("-", "−"))
        )
    return {
        "kind": "coordinate check",
        "title": check.model,
        "tone": tone,
        "sentence": sentence,
        "facts": (
            f"{check.optimizer}{rate}, {count(check.steps, 'step')}",
            count(check.seeds, "seed"),
            f"widths {widths}",
        ),
        "tiles": tiles,
        "cards": [card(finding, docs) for finding in check.findings],
        "judged": True,
        "sections": [section for section in _sections(check) if not section.empty],
    }


def _sections(check: CoordinateCheck) -> list[Section]:
    return [
        Section(
            "widths",
            "Sizes over widths",
            "Widths",
            "Root mean squares; a level line means that one learning rate fits every width.",
            (
                _sizes(check, "change", "Change of the output", lambda layer: layer.change),
                _sizes(check, "output", "Output at the start", lambda layer: layer.output),
            )
            if check.layers
            else (),
        ),
        Section("losses", "Loss", "Loss", "Mean over the seeds.", _losses(check)),
        Section("layers", "Layers", "Layers", "", (), (_table(check),)),
    ]


def _sizes(
    check: CoordinateCheck, key: str, title: str, of: Callable[[CoordinateLayer], tuple[float, ...]]
) -> Figure:
    shown = thinned(check.layers, SERIES)
    widths = tuple(map(float, check.widths))
    pairs = [(layer, list(zip(widths, of(layer), strict=False))) for layer in shown]
    lines = tuple(
        Line(layer.name or check.model, tuple(x for x, _ in points), tuple(y for _, y in points))
        for layer, points in pairs
    )
    left = f" {len(shown)} of {len(check.layers)} layers are drawn; all are in the table below." * (
        len(shown) < len(check.layers)
    )
    slope = max(check.layers, key=lambda layer: abs(_slope(layer, key) or 0.0))
    steepest = scientific(round(_slope(slope, key) or 0.0, 2))
    summary = f"Steepest: '{slope.name or check.model}', as width to the power of {steepest}.{left}"
    return picture(Picture(key, title, summary, "width", "root mean square", True, True, lines))


def _slope(layer: CoordinateLayer, key: str) -> float | None:
    return layer.change_slope if key == "change" else layer.output_slope


def _losses(check: CoordinateCheck) -> tuple[Figure, ...]:
    curves = [(width, losses) for width, losses in zip(check.widths, check.losses, strict=False) if losses]
    if not curves:
        return ()
    lines = tuple(
        Line(f"width {width:,}", tuple(map(float, range(len(losses)))), losses)
        for width, losses in thinned(curves, SERIES)
    )
    ends = ", ".join(
        f"{scientific(losses[-1])} at width {width:,}" for width, losses in (curves[0], curves[-1])
    )
    return (picture(Picture("loss", "Loss by step", f"In the end {ends}.", "step", "loss", lines=lines)),)


def _table(check: CoordinateCheck) -> Table:
    columns = (
        Column("layer", "name"),
        Column("kind", "text"),
        Column("exponent of the change", "text"),
        Column("exponent of the output", "text"),
        *(Column(f"change at {width:,}") for width in check.widths),
    )
    rows = tuple(
        (
            layer.name or check.model,
            layer.kind,
            exponent(layer.change_slope, layer.change_interval),
            exponent(layer.output_slope, layer.output_interval),
            *(scientific(size) for size in (*layer.change, *[None] * len(check.widths))[: len(check.widths)]),
        )
        for layer in check.layers
    )
    return Table("layers", f"Exponents, with {check.confidence:.0%} intervals", columns, rows, search=True)
