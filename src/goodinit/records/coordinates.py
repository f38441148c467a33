"""How the sizes of activations and of their updates depend on a network's width."""

from __future__ import annotations

import json
from dataclasses import dataclass

from goodinit.records.form import from_json_text, to_jsonable
from goodinit.records.health import Finding
from goodinit.records.showing import Shown

__all__ = ["CoordinateCheck", "CoordinateLayer"]


@dataclass(frozen=True)
class CoordinateLayer:
    """One layer over all widths. Sizes are root mean squares, geometric means over the seeds.

    A slope is the exponent s in size ∝ width**s, with its interval over the seeds; None where
    a size is zero or not finite at some width.

    Attributes:
        name: the layer's canonical name; `kind` its type.
        output: size of the output at the start, one for each width.
        change: size of the change of the output after the last step, one for each width.
        output_slope: exponent of `output`.
        output_interval: its interval.
        change_slope: exponent of `change`.
        change_interval: its interval.
    """

    name: str
    kind: str
    output: tuple[float, ...]
    change: tuple[float, ...]
    output_slope: float | None
    output_interval: tuple[float, float] | None
    change_slope: float | None
    change_interval: tuple[float, float] | None


@dataclass(frozen=True)
class CoordinateCheck(Shown):
    """The outcome of `goodinit.coordinate_check`.

    `losses` holds, for each width, the mean loss over the seeds before every step and after
    the last one. `confidence` is that of the intervals, `tolerance` the slope beyond which
    an interval counts as a dependence on width.
    """

    model: str
    optimizer: str
    lr: float | None
    steps: int
    seeds: int
    widths: tuple[int, ...]
    layers: tuple[CoordinateLayer, ...]
    losses: tuple[tuple[float, ...], ...]
    findings: tuple[Finding, ...]
    tolerance: float
    confidence: float

    @property
    def healthy(self) -> bool:
        """True where no layer's updates were found to depend on width."""
        return not self.findings

    def to_json(self) -> str:
        """Return the outcome as JSON text; `CoordinateCheck.from_json` reads it back."""
        return json.dumps({"goodinit": "coordinate_check", **to_jsonable(self)}, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> CoordinateCheck:
        """Rebuild an outcome from `to_json`'s text."""
        return from_json_text(cls, text, "coordinate_check")
