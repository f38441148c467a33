"""Plans and verifications as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from goodinit.records.form import from_json_text, to_jsonable
from goodinit.records.showing import Shown

__all__ = ["Announced", "PlanRecord", "RowCheck", "RowRecord", "Verification"]


@dataclass(frozen=True)
class Announced:
    """What a plan says beforehand that it cannot hold, with the predicted number.

    Attributes:
        what: the sentence.
        quantity: ``"layers"`` (for how many layers a signal stays within a factor of 3), ``"gradient"``
            (the factor by which the gradient's second moment changes over the chain), ``"correlation"``
            (at which two independent inputs end), ``"stream"`` (the second moment at which a
            residual stream ends that began at 1), or ``"not finite"`` (the share of Gaussian inputs
            whose result is not finite; 0 where only its second moment diverges).
        predicted: the number.
        depth: the number of layers or branches that it is about.
    """

    what: str
    quantity: str
    predicted: float
    depth: int


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
    announced: Announced | None = None


@dataclass(frozen=True)
class PlanRecord(Shown):
    """A plan as plain data, for rendering."""

    model: str
    recipe: str
    rows: tuple[RowRecord, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowCheck:
    """Does one parameter follow its row? `p_value` is None where the check is exact."""

    name: str
    passed: bool
    test: str
    p_value: float | None
    detail: str


@dataclass(frozen=True)
class Verification(Shown):
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
        return from_json_text(cls, text, "verification")
