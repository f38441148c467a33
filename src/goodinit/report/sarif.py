"""Findings as a SARIF 2.1.0 log (OASIS standard of 2020): what code scanning services read."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

from goodinit.errors import ArgumentError
from goodinit.records import Finding, KnownFinding, Report, SinceBaseline, to_jsonable
from goodinit.report.links import PAGE, docs_address, link, section
from goodinit.report.rules import RULES
from goodinit.report.words import between, collapsed, number

__all__ = ["to_sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# The severities of findings are SARIF's own levels, gravest last.
_LEVELS: Final = ("note", "warning", "error")


def to_sarif(
    report: Report,
    *,
    source: str | Path | None = None,
    line: int | None = None,
    since: SinceBaseline | None = None,
    docs: str | None = None,
) -> str:
    """Return the findings of a report as SARIF text; equal reports give equal text.

    Layers are logical locations of kind ``module``, parameters of kind ``member``. Every result
    has the finding's fingerprint, so that a service knows it again in the next run.

    Args:
        report: what was found.
        source: path of the file that defines the model, relative to the repository's root;
            GitHub shows only results that have one.
        line: in that file, from 1.
        since: of the same report, from `Report.against`: known findings become unchanged and
            suppressed, worse ones updated, the others new.
        docs: address of the folder with the documentation pages; None takes the one that the
            installed package declares.

    Raises:
        ArgumentError: if the source is no relative path, or the line not positive.

    >>> log = json.loads(to_sarif(Report("Net", "given", None, (), (), ())))
    >>> log["version"], log["runs"][0]["results"]
    ('2.1.0', [])
    """
    place = _physical(source, line)
    address = docs if docs is not None else docs_address()
    codes = sorted({finding.code for finding in report.findings})
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "goodinit",
                "version": _version(),
                "rules": [_rule(code, report, address) for code in codes],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": _plain(note)}} for note in report.notes
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, report, codes, place, since) for finding in report.findings],
        "properties": {"model": report.model, "batch": report.batch, "versions": dict(report.versions)},
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, allow_nan=False)


def _version() -> str:
    try:
        return importlib.metadata.version("goodinit")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that nobody installed
        return "0"


def _physical(source: str | Path | None, line: int | None) -> dict[str, Any]:
    if source is None:
        return {}
    path = PurePath(source)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArgumentError(
            f"source: expected a path relative to the repository's root, such as 'models/net.py', "
            f"found {str(source)!r}"
        )
    if line is not None and line < 1:
        raise ArgumentError(f"line: counted from 1, found {line}")
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(path.as_posix())}}
    # A region is what GitHub puts its annotation on, and it asks for one.
    place["region"] = {"startLine": line or 1}
    return {"physicalLocation": place}


def _rule(code: str, report: Report, address: str | None) -> dict[str, Any]:
    found = [finding for finding in report.findings if finding.code == code]
    title = found[0].title
    # A code that this release does not know, in a report of a later one, explains itself.
    text = RULES.get(code) or f"{found[0].cause} Cure: {found[0].cure}"
    page = link(code, address)
    more = f"[{code} in the documentation]({page})" if page else f"See {code} in docs/{PAGE}."
    level = max((_level(finding) for finding in found), key=_LEVELS.index)
    rule: dict[str, Any] = {
        "id": code,
        "name": "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", title)),
        "shortDescription": {"text": _plain(title)},
        "fullDescription": {"text": _plain(text)},
        "help": {
            "text": _plain(f"{text} See {page or f'docs/{section(code)}'}."),
            "markdown": _braced(f"{_markdown(text)}\n\n{more}"),
        },
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": ["initialization"],
            # GitHub's own words for a level.
            "problem.severity": "recommendation" if level == "note" else level,
        },
    }
    if page:
        rule["helpUri"] = page
    return rule


def _level(finding: Finding) -> str:
    return finding.severity if finding.severity in _LEVELS else "warning"


def _result(
    finding: Finding, report: Report, codes: list[str], place: dict[str, Any], since: SinceBaseline | None
) -> dict[str, Any]:
    parameters = {parameter.name for parameter in report.parameters}
    size = f"{finding.measure}: {number(finding.effect)}"
    if finding.interval is not None:
        size += f" ({between(finding.interval)})"
    if finding.expected is not None:
        size += f"; healthy: {between(finding.expected)}"
    cause = finding.cause if finding.cause.endswith(".") else f"{finding.cause}."
    cure = finding.cure.rstrip(".")
    text = f"{cause} At {collapsed(finding.where)}. Measured: {size}. Cure: {cure}."
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "kind": "fail",
        "level": _level(finding),
        "message": {"text": _plain(text if finding.where else text.replace(" At .", "", 1))},
        "locations": [
            {
                **place,
                "logicalLocations": [
                    {
                        "name": name.rpartition(".")[2],
                        "fullyQualifiedName": name,
                        "kind": "member" if name in parameters else "module",
                    }
                    for name in dict.fromkeys(finding.where)
                ],
            }
        ],
        # GitHub reads only the second, in the form of a hash and a count.
        "partialFingerprints": {
            "goodinitFinding/v1": finding.fingerprint,
            "primaryLocationLineHash": f"{finding.fingerprint}:1",
        },
        "properties": to_jsonable(
            {
                "title": finding.title,
                "layers": finding.where,
                "measure": finding.measure,
                "effect": finding.effect,
                "interval": finding.interval,
                "expected": finding.expected,
                "cure": finding.cure,
            }
        ),
    }
    if since is not None:
        result.update(_state(finding, since))
    return result


def _state(finding: Finding, since: SinceBaseline) -> dict[str, Any]:
    entry: KnownFinding | None = next((entry for each, entry in since.known if each == finding), None)
    if entry is not None:
        why = entry.why or "accepted in the baseline"
        suppression = {"kind": "external", "status": "accepted", "justification": why}
        return {"baselineState": "unchanged", "suppressions": [suppression]}
    worse = any(each == finding for each, _ in since.worse)
    # Where one result is suppressed, the others must say that they are not (section 3.27.23).
    return {"baselineState": "updated" if worse else "new", "suppressions": []}


def _braced(text: str) -> str:
    """Double what SARIF would take for a placeholder (section 3.11.5)."""
    return text.replace("{", "{{").replace("}", "}}")


def _plain(text: str) -> str:
    """Return text in which nothing is a placeholder or, as ``[a](b)`` would be, a link (3.11.5, 3.11.6)."""
    return _braced(re.sub(r"\[(?=[^\]]*\]\()", r"\\[", " ".join(text.split())))


def _markdown(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&])", r"\\\1", text)
