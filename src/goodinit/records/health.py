"""The health report: measurements and the findings that follow from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from goodinit.errors import UnhealthyError
from goodinit.records.form import from_json_text, to_jsonable
from goodinit.records.plans import PlanRecord
from goodinit.records.showing import Shown
from goodinit.records.signals import AttentionSignal, JacobianSpectrum, LayerSignal, ParameterSignal

if TYPE_CHECKING:
    from goodinit.records.baseline import Baseline, SinceBaseline

__all__ = ["Finding", "Report", "fingerprint"]


def fingerprint(code: str, where: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that stand for a code and a set of layers: SHA-256 of both.

    >>> fingerprint("GI104", ("a", "b")) == fingerprint("GI104", ("b", "a"))
    True
    """
    text = json.dumps([code, sorted(set(where))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Finding:
    """One judgement: what is wrong, where, how strongly it was measured, and the cure.

    `severity` is ``"error"`` (the network cannot train like this), ``"warning"``, or
    ``"note"``: often intended, so worth knowing but no fault by itself.
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

    @property
    def fingerprint(self) -> str:
        """What identifies the finding from run to run: its code and layers, no numbers, in no order."""
        return fingerprint(self.code, self.where)


@dataclass(frozen=True)
class Report(Shown):
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
        """True where nothing was found but notes."""
        return not self._faults

    @property
    def _faults(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def assert_healthy(self) -> None:
        """Raise `UnhealthyError` with all errors and warnings, or return quietly.

        Raises:
            UnhealthyError: if there is any finding but notes.
        """
        if self._faults:
            lines = [f"{f.code} {f.title}: {f.cause} Cure: {f.cure}" for f in self._faults]
            raise UnhealthyError("\n".join([f"{self.model} is not healthy:", *lines]))

    def baseline(self, *, keep: Baseline | None = None) -> Baseline:
        """Return the baseline that accepts every finding of this report, to be saved beside the code.

        Args:
            keep: an earlier baseline, whose reasons stay with the findings that are still there.

        >>> Report("Net", "given", None, (), (), ()).baseline().findings
        ()
        """
        from goodinit.records.comparing import accepted

        return accepted(self, keep)

    def against(self, baseline: Baseline | str | Path) -> SinceBaseline:
        """Return which findings are new or worse since a baseline, which are known, and which are gone.

        Args:
            baseline: a `Baseline`, or the path of its file.

        Raises:
            ArgumentError: if the file cannot be read or is no baseline.
            WrongTypeError: for anything else.

        >>> report = Report("Net", "given", None, (), (), ())
        >>> report.against(report.baseline()).nothing_new
        True
        """
        from goodinit.records.comparing import against

        return against(self, baseline)

    def to_sarif(
        self,
        *,
        source: str | Path | None = None,
        line: int | None = None,
        since: SinceBaseline | None = None,
        docs: str | None = None,
    ) -> str:
        """Return the findings as a SARIF 2.1.0 log, the form that code scanning services read.

        Args:
            source: path of the file that defines the model, relative to the repository's root.
                GitHub shows only results that have one.
            line: in that file, from 1.
            since: from `against`; known findings are marked as unchanged and accepted.
            docs: address of the documentation's folder, for links to findings.
        """
        from goodinit.report import to_sarif

        return to_sarif(self, source=source, line=line, since=since, docs=docs)

    def to_json(self) -> str:
        """Return the report as JSON text; `Report.from_json` reads it back."""
        return json.dumps({"goodinit": "report", **to_jsonable(self)}, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Rebuild a report from `to_json`'s text."""
        return from_json_text(cls, text, "report")

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
