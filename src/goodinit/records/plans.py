"""Plans and verifications as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodinit.records.form import from_jsonable, to_jsonable

__all__ = ["PlanRecord", "RowCheck", "RowRecord", "Verification"]


@dataclass(frozen=True)
class RowRecord:
    """One row of a plan as plain data: which distribution fills a parameter, and why."""

    name: str
    shape: tuple[int, ...]
    initializer: str
    mean: float | None
    std: float | None
    fan_in: float | None
    fan_out: float | None
    why: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanRecord:
    """A plan as plain data, for rendering."""

    model: str
    recipe: str
    rows: tuple[RowRecord, ...]
    notes: tuple[str, ...] = ()

    def to_text(self, *, width: int | None = None) -> str:
        """Return the plan as plain text, what needs attention first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def to_html(self, path: str | Path) -> Path:
        """Write the plan as one HTML file that needs nothing else, and return its path.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        from goodinit.report import to_html

        return to_html(self, path)

    def _repr_html_(self) -> str:
        from goodinit.report import compact

        return compact(self)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)


@dataclass(frozen=True)
class RowCheck:
    """Does one parameter follow its row? `p_value` is None where the check is exact."""

    name: str
    passed: bool
    test: str
    p_value: float | None
    detail: str


@dataclass(frozen=True)
class Verification:
    """The outcome of `Plan.verify`.

    `false_alarm_rate` is the probability that weights which do follow the plan
    are reported as not following it, over all rows together.
    """

    checks: tuple[RowCheck, ...]
    false_alarm_rate: float

    @property
    def passed(self) -> bool:
        """True where every row passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[RowCheck, ...]:
        """The rows that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __bool__(self) -> bool:
        return self.passed

    def to_json(self) -> str:
        """Return the outcome as JSON text."""
        return json.dumps({"goodinit": "verification", **to_jsonable(self)}, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Verification:
        """Rebuild a verification from `to_json`'s text."""
        return from_jsonable(cls, json.loads(text))

    def to_text(self, *, width: int | None = None) -> str:
        """Return the outcome as plain text, failures first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def to_html(self, path: str | Path) -> Path:
        """Write the outcome as one HTML file that needs nothing else, and return its path.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        from goodinit.report import to_html

        return to_html(self, path)

    def _repr_html_(self) -> str:
        from goodinit.report import compact

        return compact(self)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)
