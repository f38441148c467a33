"""Frozen records that travel between rooms, and their JSON form.

No thresholds and no drawing here: `signals` and `plans` make these, `report`
renders them, and a saved JSON file renders again later. The methods that show a
record (`Report.to_html`, printing) hand it to the `report` room when called.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from goodinit.errors import UnhealthyError

__all__ = [
    "Finding",
    "LayerSignal",
    "Moments",
    "ParameterSignal",
    "PlanRecord",
    "Report",
    "RowCheck",
    "RowRecord",
    "Verification",
    "from_jsonable",
    "to_jsonable",
]

_T = TypeVar("_T")

# JSON has no NaN or infinity, and they are just what a health report must carry.
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_jsonable(value: Any) -> Any:
    """Turn a record into plain JSON values; a non-finite float becomes its name as a string.

    >>> to_jsonable((1, float("inf")))
    [1, 'Infinity']
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def from_jsonable(kind: type[_T], value: Any) -> _T:
    """Rebuild a record of the given kind from what `to_jsonable` made of it."""
    import typing

    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: _revive(hints[key], item) for key, item in value.items() if key in fields})


def _revive(hint: Any, value: Any) -> Any:
    import types
    import typing

    if value is None:
        return None
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _revive(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_revive(args[0], item) for item in value)
        return tuple(_revive(kind, item) for kind, item in zip(args, value, strict=True))
    if origin is dict:
        return {key: _revive(args[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_jsonable(hint, value)  # type: ignore[arg-type]
    if hint is float:
        return _NON_FINITE[value] if isinstance(value, str) else float(value)
    return value


@dataclass(frozen=True)
class Moments:
    """Moments of one tensor over all its elements (population, not sample, moments).

    `second_moment` is E[x²]; `std` is √(E[x²] − mean²). Where the tensor holds
    non-finite values they are counted in `nonfinite` and left out of the moments.
    """

    count: int
    mean: float
    second_moment: float
    std: float
    nonfinite: int = 0


@dataclass(frozen=True)
class LayerSignal:
    """What one layer put out, and the gradient that came back to that output.

    One record per call of a layer, in order of execution; `index` counts from 0
    and `call` counts the calls of the same module. Shares are in [0, 1] or `None`
    where the question makes no sense for that layer. `dead` counts the units of a
    ReLU-like layer that are zero for the whole batch, `always_on` those that are
    nonzero wherever any unit is. `varying` is the part of the
    output's second moment that differs from sample to sample, `parametric` says
    whether the layer owns parameters, and `finite_input` (only where the output is
    not finite) whether its inputs were finite: if so, the fault began here.
    """

    index: int
    name: str
    kind: str
    call: int
    shape: tuple[int, ...]
    output: Moments
    gradient: Moments | None
    zeros: float
    units: int
    dead: int | None
    saturated: float | None
    always_on: int | None = None
    varying: float | None = None
    parametric: bool = False
    finite_input: bool | None = None


@dataclass(frozen=True)
class ParameterSignal:
    """One parameter's values and gradient; `gradient` is None where backward never reached it.

    `kind` is the type of the module that owns it, `zeros` the share of exact zeros,
    and `subnormal` the share of nonzero values too small to be normal numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    value: Moments
    gradient: Moments | None
    largest: float
    kind: str = ""
    zeros: float = 0.0
    subnormal: float = 0.0


@dataclass(frozen=True)
class Finding:
    """One judgement: what is wrong, where, how strongly it was measured, and the cure.

    `severity` is ``"error"`` (the network cannot train like this) or ``"warning"``.
    `effect` is the measured size in the unit that `measure` names, `interval` its
    uncertainty, `expected` what a healthy network of that width and depth would show.
    """

    code: str
    title: str
    severity: str
    where: tuple[str, ...]
    measure: str
    effect: float
    interval: tuple[float, float] | None
    expected: tuple[float, float] | None
    cause: str
    cure: str


@dataclass(frozen=True)
class Report:
    """The outcome of `goodinit.check`: measurements and what follows from them."""

    model: str
    batch: str
    loss: float | None
    layers: tuple[LayerSignal, ...]
    parameters: tuple[ParameterSignal, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """True where no finding was made."""
        return not self.findings

    def assert_healthy(self) -> None:
        """Raise `UnhealthyError` with all findings, or return quietly.

        Raises:
            UnhealthyError: if there is any finding.
        """
        if self.findings:
            lines = [f"{f.code} {f.title}: {f.cause} Cure: {f.cure}" for f in self.findings]
            raise UnhealthyError("\n".join([f"{self.model} is not healthy:", *lines]))

    def to_json(self) -> str:
        """Return the report as JSON text; `Report.from_json` reads it back."""
        return json.dumps({"goodinit": "report", **to_jsonable(self)}, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Rebuild a report from `to_json`'s text."""
        return from_jsonable(cls, json.loads(text))

    def to_text(self, *, width: int | None = None) -> str:
        """Return the report as plain text, what is wrong first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)


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

    def to_text(self, *, width: int | None = None) -> str:
        """Return the plan as plain text, what needs attention first."""
        from goodinit.report import to_text

        return to_text(self, width=width)

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

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)
