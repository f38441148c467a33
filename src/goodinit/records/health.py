"""The health report: measurements and the findings that follow from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goodinit.errors import UnhealthyError
from goodinit.records.form import from_jsonable, to_jsonable
from goodinit.records.plans import PlanRecord
from goodinit.records.signals import AttentionSignal, JacobianSpectrum, LayerSignal, ParameterSignal

__all__ = ["Finding", "Report"]


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
    attention: tuple[AttentionSignal, ...] = ()
    jacobians: tuple[JacobianSpectrum, ...] = ()
    effective_depth: float | None = None
    plan: PlanRecord | None = None

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

    def to_html(self, path: str | Path, *, before: Report | None = None, docs: str | None = None) -> Path:
        """Write the report as one HTML file that needs nothing else, and return its path.

        Args:
            path: of the file; its folder must exist.
            before: an earlier report to compare with.
            docs: address of the documentation's folder, for links to findings.

        Raises:
            ArgumentError: if the file cannot be written.
        """
        from goodinit.report import to_html

        return to_html(self, path, before=before, docs=docs)

    def _repr_html_(self) -> str:
        from goodinit.report import compact

        return compact(self)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> Any:
        from goodinit.report import renderable

        return renderable(self)
